#!/usr/bin/env bash
# in_two_guests.sh A|B: what tests/softroce/test_two_guests.sh runs in its guests, in the
# build tree. A: ranks, with the manager, and an executor with one core. B: an executor
# with three, which joins from outside.
set -u
here=$(realpath "$(dirname "$0")")
shared=/run/shared
port=4711
export RFAAS_TEST_SLOWNESS=5 RFAAS_KEY_FILE=$shared/key
# An MPI over UCX would take the device for its own messages, and aborts on Soft-RoCE.
export UCX_TLS=sm,tcp,self

wait_for() # FILE: until the other has made it
{
    until [ -e "$shared/$1" ]; do
        sleep 0.2
    done
}

executor() # CORES
{
    wait_for pool
    exec ./rfaas-executor --manager "guest-a:$port" --key-file $shared/key --cores "$1"
}

guest_a()
{
    cp tests/functions.so /tmp/functions.so # a place that B hasn't
    export RFAAS_TEST_FUNCTIONS=/tmp/functions.so
    (umask 077 && printf '%s\n' "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >$shared/key)
    (executor 1) &
    export RFAAS_LISTEN=guest-a:$port RFAAS_EXECUTORS=none
    exec "$here/../run-mpi.sh" 2 tests/mpi_guests
}

case $1 in
A) guest_a ;;
B) executor 3 ;;
esac
