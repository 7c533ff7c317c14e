#!/bin/sh
# run-mpi.sh RANKS PROGRAM [ARGUMENT...]: what mpirun needs on a development machine.
# MPIEXEC and MPIEXEC_FLAGS come from make.
set -u
ranks=$1
shift

# Open MPI doesn't let root run programs without being told twice.
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# MPI itself leaks; in builds with AddressSanitizer that isn't ours to report.
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_leaks=0}"
exec ${MPIEXEC:-mpirun} ${MPIEXEC_FLAGS-} -n "$ranks" "$@" </dev/null
