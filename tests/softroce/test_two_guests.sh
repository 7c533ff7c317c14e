#!/usr/bin/env bash
# Two guests with a wire: ranks and manager in one, an executor in the other, between them
# RDMA. Invocations cross from kernel to kernel, until the other machine stops dead.
set -u
here=$(realpath "$(dirname "$0")")
output=$(mktemp)
trap 'rm -f "$output"' EXIT

skip()
{
    echo "SKIPPED: two guests: $*"
    exit 77
}

[ -x tests/mpi_guests ] || skip "built without MPI or CUnit"
[ -f tests/functions.so ] || skip "there is no tests/functions.so"
ldd rfaas-executor .libs/rfaas-executor 2>/dev/null | grep -q libibverbs ||
    skip "built without verbs"
"$here/guest" prepare || exit

status=0
"$here/guest" pair --memory 1024 --timeout 100 -- "$here/in_two_guests.sh" A -- \
    "$here/in_two_guests.sh" B >"$output" 2>&1 || status=$?
if [ $status != 0 ]; then
    sed 's/^A: \( *tests  \)/\1/' "$output" # CUnit's count, for who counts
    echo "exit status $status"
    exit 1
fi
grep ' missed B after ' "$output"
sed -n 's/^A: \( *\(suites\|tests\) .*\)/\1/p' "$output"
