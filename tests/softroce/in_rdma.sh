#!/usr/bin/env bash
# in_rdma.sh: what tests/softroce/test_rdma.sh runs in its guest, in the build tree, with
# verbs between ranks and workers. Two lists of programs run beside each other, one for
# each core. Of a program that passes the count is printed; of another, everything.
# Whatever fails makes the status 1.
set -u
here=$(realpath "$(dirname "$0")")
export RFAAS_TRANSPORT=verbs RFAAS_TEST_SLOWNESS=5
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
limit=150 # seconds for a program
lock=/tmp/lock

# Automake's word for skipped, 77, is no success: everything is there in a guest.
run() # NAME COMMAND...
{
    local name=$1 output status=0 begin=$SECONDS
    shift
    output=$(mktemp /tmp/output.XXXXXX)
    timeout --kill-after=5 $limit "$@" >"$output" 2>&1 </dev/null || status=$?
    {
        flock 9
        if [ $status = 0 ]; then
            echo "---- $name: passed, $((SECONDS - begin)) s"
            grep -E '^ +(suites|tests) |^SKIPPED: ' "$output"
        else
            echo "---- $name: FAILED, status $status, $((SECONDS - begin)) s"
            cat "$output"
            touch /tmp/failed
        fi
    } 9>$lock
    rm "$output"
}

unit() # NAME [PART-OF-A-TEST'S-NAME]
{
    [ ! -x "tests/test_$1" ] || run "$*" "tests/test_$1" "${@:2}"
}

mpi() # NAME
{
    [ ! -x "tests/test_mpi_$1" ] || run "mpi_$1" "$here/../run-mpi.sh" 2 "tests/test_mpi_$1"
}

# The program compares its prices with those in its input.
black_scholes()
{
    local program=parsec_blackscholes/blackscholes
    "$program" --generate 5000 /tmp/options &&
        "$here/../run-mpi.sh" 2 "$program" --offload 0.5 /tmp/options /tmp/prices &&
        [ "$(wc -l </tmp/prices)" = 5001 ]
}

example() # NAME
{
    [ ! -x "mpi_examples/$1" ] || run "$1" "$here/../run-mpi.sh" 2 "mpi_examples/$1"
}

first()
{
    unit verbs
    unit session_verbs
    unit session_faults
    unit session_killed
}

second()
{
    unit transport
}

export -f black_scholes
first &
second &
wait
[ ! -e /tmp/failed ]
