#!/usr/bin/env bash
# tests/softroce/guest with two guests: RDMA between them, and the death of one is seen
# by the other.
set -u
here=$(realpath "$(dirname "$0")")
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=0 passed=0

check() # WHAT-IT-SHOWS COMMAND...
{
    local what=$1
    shift
    if "$@"; then
        echo "$what: passed"
        passed=$((passed + 1))
    else
        echo "$what: FAILED"
        failed=$((failed + 1))
    fi
}

said() # EXTENDED-PATTERN
{
    grep -Eq -- "$1" "$output"
}

"$here/guest" prepare || exit
if ! command -v ib_write_lat >/dev/null; then
    echo "SKIPPED: softroce: ib_write_lat is missing (perftest)"
    exit 77
fi
"$here/guest" pair -- "$here/in_pair.sh" A -- "$here/in_pair.sh" B >"$output" 2>&1
check "A's status is that of both" [ $? = 7 ]
check "A knows B by name" said '^A: guest-b is 10\.0\.0\.2$'
check "B writes for A" said '^A: B says: hello$'
check "ib_write_lat from one to the other" said '^A: ib_write_lat: 0$'
check "with its figures" said '^A: +8 +500 +[0-9.]+ '
check "writes are answered" said '^A: B answers$'
check "B is stopped at A's word" said '^A: B is stopped$'
check "A's writes are repeated then" said '^A: writes are repeated$'
check "B is heard no more" said '^A: packets from the dead: 0$'
check "B doesn't go on" eval "! said '^B: not stopped'"
if [ $failed != 0 ]; then
    cat "$output"
else
    grep -E '^A: +(#bytes.*typical|8 +500 )' "$output"
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
