#!/usr/bin/env bash
# The scripts that measure the applications: with small sizes, what they write, what they
# say when something is wrong. Runs in the top build directory, srcdir set.
set -u
bench=$(realpath "${srcdir:-.}/bench")
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
export RFAAS_CORES=2 # workers on any machine

passed=0 failed=0
check() # NAME COMMAND...
{
    local case_name=$1
    shift
    rm -rf "$scratch/out"
    mkdir "$scratch/out"
    if "$@"; then
        passed=$((passed + 1))
        echo "ok: $case_name"
    else
        failed=$((failed + 1))
        echo "FAILED: $case_name"
        head -n 20 "$scratch/printed"
    fi
}

measure() # SCRIPT [ARGUMENT...]
{
    local script=$1
    shift
    "$bench/$script" --output "$scratch/out" "$@" >"$scratch/printed" 2>&1
}

# Rows of as many numbers as there are names of columns, all above 0 or "-".
good_data() # SCRIPT ROWS
{
    awk -v rows="$2" '/^#/ { columns = NF - 1; next }
        NF != columns { bad = 1 }
        { for (i = 1; i <= NF; i++) if ($i != "-" && !($i >= 0)) bad = 1; n++ }
        END { exit bad || n != rows || columns < 2 }' "$scratch/out/$1.dat"
}

measured() # SCRIPT ROWS [ARGUMENT...]
{
    local script=$1 rows=$2
    shift 2
    measure "$script" "$@" && good_data "$script" "$rows" || return 1
    if command -v gnuplot >/dev/null; then
        grep -q '</svg>' "$scratch/out/$script.svg"
    else
        grep -q 'no gnuplot' "$scratch/printed"
    fi
}

without_gnuplot()
{
    GNUPLOT=$scratch/none measure matmul --sizes 16 --repeat 1 && good_data matmul 1 &&
        [ "$(ls "$scratch/out")" = matmul.dat ] && grep -q 'no gnuplot' "$scratch/printed"
}

refused() # STATUS PATTERN SCRIPT [ARGUMENT...]
{
    local expected=$1 pattern=$2 status
    shift 2
    measure "$@"
    status=$?
    [ $status = "$expected" ] && grep -q -e "$pattern" "$scratch/printed" &&
        [ ! -e "$scratch/out/$1.svg" ]
}

elsewhere()
{
    (cd "$scratch" && refused 1 'run it in a build tree' jacobi)
}

check 'Jacobi' measured jacobi 2 --sizes '64 96' --steps 2
check 'Jacobi, 2 ranks' measured jacobi 1 --sizes 128 --steps 2 --ranks 2
check 'matrix multiplication' measured matmul 2 --sizes '16 36' --repeat 1
check 'quadrature' measured quadrature 2 --workers '1 2' --peaks 12
check 'Black-Scholes' measured blackscholes 2 --workers '1 2' --options 5000 --repeat 2
check 'without gnuplot' without_gnuplot
check 'an unknown option' refused 2 '^Usage: jacobi' jacobi --peaks 1
check 'an option without a value' refused 2 '^Usage: matmul' matmul --sizes
check 'no such directory' refused 1 'none: no such directory' jacobi \
    --output "$scratch/none"
check 'not in a build tree' elsewhere
check 'a program that fails' refused 1 'failed: ./mpi_examples/05_jacobi' jacobi --sizes 8

echo "$passed passed, $failed failed"
[ $failed = 0 ]
