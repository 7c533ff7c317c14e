#!/usr/bin/env bash
# Runs each program of mpi_examples with two ranks, in its folder of the build tree.
set -u
run_mpi=$(realpath "${srcdir:-.}/tests/run-mpi.sh")
cd mpi_examples || exit 99

failed=0
run() # EXAMPLE [ARGUMENT...]
{
    local example=$1 status
    shift
    echo "---- $example $*"
    "$run_mpi" 2 "./$example" "$@"
    status=$?
    if [ $status != 0 ]; then
        echo "$example $*: exit status $status"
        failed=1
    fi
}

# Workers for both ranks on any machine; 01 to 04 see to it themselves.
for example in [0-9][0-9]_*; do
    case $example in
    *.*) ;; # objects and function libraries
    05_jacobi | 06_matmul) RFAAS_CORES=2 run "$example" ;;
    07_quadrature) RFAAS_CORES=4 run "$example" -w 2 ;;
    08_openmp)
        export OMP_NUM_THREADS=3
        run "$example" funneled
        run "$example" multiple
        ;;
    *) run "$example" ;;
    esac
done
exit $failed
