#!/usr/bin/env bash
# tests/softroce/guest with one guest: RDMA and MPI work there, output and statuses come
# through, and a guest that fails is an error and leaves nothing.
set -u
here=$(realpath "$(dirname "$0")")
guest=$here/guest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() # WHAT-IT-SHOWS COMMAND...
{
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "$what: passed"
        passed=$((passed + 1))
    else
        echo "$what: FAILED"
        sed 's/^/        /' "$work/said"
        failed=$((failed + 1))
    fi
}

# run STATUS ARGUMENT...: `guest run` ends so; its output stays in $work/output.
run()
{
    local expected=$1 status=0
    shift
    "$guest" run "$@" >"$work/output" 2>&1 || status=$?
    [ $status = "$expected" ] && return
    echo "status $status, expected $expected"
    cat "$work/output"
    return 1
}

said() # EXTENDED-PATTERN
{
    grep -Eq -- "$1" "$work/output" && return
    echo "not found: $1"
    cat "$work/output"
    return 1
}

# Nothing of `guest` is left: its directory goes last.
nothing_remains()
{
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        compgen -G "${TMPDIR:-/tmp}/rfaas-guest.*" >/dev/null || return 0
        sleep 0.1
    done
    echo "still there:" "${TMPDIR:-/tmp}"/rfaas-guest.*
    return 1
}

killed_outright()
{
    local pid
    "$guest" run sleep 60 &
    pid=$!
    until compgen -G "${TMPDIR:-/tmp}/rfaas-guest.*/A/console" >/dev/null; do
        kill -0 $pid || return
        sleep 0.1
    done
    kill -KILL $pid
    wait $pid
    nothing_remains
} 2>/dev/null # the shell's own word that a job was killed

"$guest" prepare || exit

check "a command with status 42" run 42 "$here/in_guest.sh" 42 'a  b'
check "its arguments" said "^the argument is 'a  b'$"
check "what it prints" said '^end of output$'
check "its errors" said '^to stderr$'
check "rxe0 is active" said '^[[:space:]]*state:[[:space:]]*PORT_ACTIVE'
check "packets of 4 KiB" said '^[[:space:]]*active_mtu:[[:space:]]*4096'
if command -v ib_write_lat >/dev/null; then
    check "ib_write_lat" said '^ *8 +[0-9]+ +[0-9.]+ '
    grep -A 1 'typical' "$work/output"
else
    echo "SKIPPED: ib_write_lat is missing (perftest)"
fi
if [ -x mpi_examples/01_hello ]; then
    check "mpirun with two ranks" said '^mpirun: 0$'
else
    echo "SKIPPED: mpirun in a guest: there is no mpi_examples/01_hello"
fi
check "a guest that panics, of too little memory" run 99 --memory 80 true
check "it is said" said '^guest: guest A died$'
check "with the reason" said 'Kernel panic'
check "a guest that isn't done in time" run 99 --timeout 2 sleep 60
check "it is said" said '^guest: .*2 seconds$'
check "nothing remains" nothing_remains
check "nor after kill -9" killed_outright
echo "$passed passed, $failed failed"
[ $failed = 0 ]
