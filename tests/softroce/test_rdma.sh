#!/usr/bin/env bash
# test_rdma.sh [PART]: the library on RDMA, in a guest: tests of transports, of faults and
# MPI programs, and Black-Scholes; or another part of in_rdma.sh. On an idle machine it
# takes about four minutes.
# time-limit: 480
set -u
part=${1-faults}
here=$(realpath "$(dirname "$0")")

skip()
{
    echo "SKIPPED: RDMA: $*"
    exit 77
}

[ -x tests/test_transport ] || skip "built without CUnit"
ldd rfaas-executor .libs/rfaas-executor 2>/dev/null | grep -q libibverbs ||
    skip "built without verbs"
! ./config.status --config 2>/dev/null | grep -q -e '--enable-sanitizer=[^n]' ||
    skip "built with a sanitizer, which takes too long in an emulated machine"
"$here/guest" prepare || exit
exec "$here/guest" run --memory 2048 --timeout 420 "$here/in_rdma.sh" "$part"
