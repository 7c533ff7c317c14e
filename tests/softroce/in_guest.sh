#!/usr/bin/env bash
# in_guest.sh STATUS ARGUMENT: what tests/softroce/test_guest.sh runs in its guest, in the
# build tree. It prints what is to be found and ends with STATUS.
set -u
here=$(realpath "$(dirname "$0")")
echo "the argument is '$2'"
echo "to stderr" >&2
ibv_devinfo -d rxe0

if command -v ib_write_lat >/dev/null; then
    ib_write_lat -d rxe0 -x 1 -F -s 8 -n 1000 >/tmp/server 2>&1 &
    server=$!
    until ss -Hltn | grep -q ':18515 '; do # its port for clients
        kill -0 $server || break
        sleep 0.1
    done
    ib_write_lat -d rxe0 -x 1 -F -s 8 -n 1000 10.0.0.1
fi

if [ -x mpi_examples/01_hello ]; then
    "$here/../run-mpi.sh" 2 mpi_examples/01_hello
    echo "mpirun: $?"
fi

sleep 1000 & # it ends with the guest
echo "end of output"
exit "$1"
