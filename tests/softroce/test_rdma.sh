#!/usr/bin/env bash
# The library on RDMA, in a guest: tests of transports, sessions and MPI programs, and
# Black-Scholes. See in_rdma.sh. On an idle machine it takes about four minutes.
# time-limit: 480
set -u
here=$(realpath "$(dirname "$0")")

skip()
{
    echo "SKIPPED: RDMA: $*"
    exit 77
}

[ -x tests/test_transport ] || skip "built without CUnit"
ldd rfaas-executor .libs/rfaas-executor 2>/dev/null | grep -q libibverbs ||
    skip "built without verbs"
"$here/guest" prepare || exit
exec "$here/guest" run --memory 2048 --timeout 420 "$here/in_rdma.sh"
