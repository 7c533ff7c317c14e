#!/usr/bin/env bash
# in_rdma.sh faults|sessions: what tests/softroce/test_rdma.sh runs in its guest, in the
# build tree, with verbs between ranks and workers. One after the other: what polls would
# slow others down more than they'd gain. Of a program that passes the count is printed; of
# another, everything. Whatever fails makes the status 1.
set -u
here=$(realpath "$(dirname "$0")")
export RFAAS_TRANSPORT=verbs RFAAS_TEST_SLOWNESS=5
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
limit=180 # seconds for a program
failed=0

# Automake's word for skipped, 77, is no success: everything is there in a guest.
run() # NAME COMMAND...
{
    local name=$1 output status=0 begin=$SECONDS
    shift
    output=$(mktemp /tmp/output.XXXXXX)
    if [ "$(type -t "$1")" = function ]; then
        "$@"
    else
        timeout --kill-after=5 $limit "$@"
    fi >"$output" 2>&1 </dev/null || status=$?
    if [ $status = 0 ]; then
        echo "---- $name: passed, $((SECONDS - begin)) s"
        grep -E '^ +(suites|tests) |^SKIPPED: ' "$output" || echo "1 passed, 0 failed"
    else
        echo "---- $name: FAILED, status $status, $((SECONDS - begin)) s"
        cat "$output"
        grep -Eq '^ +tests ' "$output" || echo "0 passed, 1 failed"
        failed=1
    fi
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

# The program compares its prices with those in its input. A worker for each rank has
# priced half of the options.
# shellcheck disable=SC2317 # it is run's to call
black_scholes()
{
    local program=parsec_blackscholes/blackscholes report=/tmp/report
    "$program" --generate 5000 /tmp/options || return
    RFAAS_CORES=2 "$here/../run-mpi.sh" 2 "$program" /tmp/options /tmp/prices |
        tee "$report"
    [ "${PIPESTATUS[0]}" = 0 ] && [ "$(wc -l </tmp/prices)" = 5001 ] &&
        grep -q 'workers priced 0.500' "$report"
}

example() # NAME
{
    [ ! -x "mpi_examples/$1" ] || run "$1" "$here/../run-mpi.sh" 2 "mpi_examples/$1"
}

# Ranks poll enough for two cores: their workers sleep at once, which halves the time.
workers_sleep()
{
    export RFAAS_HOT_TIMEOUT_US=0
}

faults()
{
    unit verbs
    unit transport
    unit transport_bounds
    unit transport_peers
    unit transport_sleep
    unit session_verbs
    unit session_buffers
    unit session_faults
    unit session_killed
    workers_sleep
    [ ! -x parsec_blackscholes/blackscholes ] || run blackscholes black_scholes
    example 01_hello
    mpi calls
    mpi losses
}

sessions()
{
    unit session_starting
    unit session_stopped
    unit session_libraries
    unit session_leases
    unit session_resizes
    workers_sleep
    example 04_errors
    mpi requests
}

case $1 in
faults) faults ;;
sessions) sessions ;;
*) exit 2 ;;
esac
exit $failed
