# What the scripts that measure the applications have in common; they source it.
# They run in a build tree, write NAME.dat and, with gnuplot, NAME.svg.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables of those that source it

set -euo pipefail
export LC_ALL=C
name=${0##*/}

fail()
{
    echo "$name: $*" >&2
    exit 1
}

# read_options NAMES ARGUMENT...: an argument --NAME VALUE sets the variable NAME, one of
# those or `output`. $usage is the help.
read_options()
{
    local option names=" $1 output "
    output=.
    shift
    while [ $# -gt 0 ]; do
        option=${1#--}
        if [ "$1" = --help ]; then
            echo "$usage"
            exit 0
        fi
        if [[ $1 != --* || $names != *" $option "* || $# = 1 || -z $2 ]]; then
            echo "$usage" >&2
            exit 2
        fi
        printf -v "$option" %s "$2"
        shift 2
    done
}

# One rank on a core of its own each, workers on the others, unless MPIEXEC_FLAGS says
# otherwise.
set_up()
{
    [ -x rfaas-executor ] || fail "run it in a build tree, after make"
    [ -d "$output" ] || fail "$output: no such directory"
    mpiexec=$(sed -n 's/^MPIEXEC = //p' Makefile)
    [ -n "$mpiexec" ] || fail "this build has no MPI"
    mpiexec+=" ${MPIEXEC_FLAGS---map-by core --bind-to core}"
    export RFAAS_EXECUTOR=${RFAAS_EXECUTOR-$PWD/rfaas-executor}
    if [ "$(id -u)" = 0 ]; then # Open MPI wants root to say twice that this is meant
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    data=$output/$name.dat
}

# run RANKS PROGRAM [ARGUMENT...]: leaves the report for `value`. Programs compare their
# results themselves and fail if they are wrong. With 0 ranks there is no mpirun. On a
# terminal it tells what it runs, until it is done.
run()
{
    local ranks=$1 launcher=
    shift
    [ "$ranks" = 0 ] || launcher="$mpiexec -n $ranks"
    [ ! -t 2 ] || printf '%.79s\r' "${launcher:+$launcher }$*" >&2
    $launcher "$@" >"$work/report" 2>"$work/errors" </dev/null || {
        cat "$work/report" "$work/errors" >&2
        fail "failed: $*"
    }
    [ ! -t 2 ] || printf '%79s\r' '' >&2
    cat "$work/errors" >&2 # warnings
}

value() # FIELD...: the numbers that stand behind them in the report
{
    local field found=()
    for field; do
        found+=("$(sed -n "s/^$field \{1,\}\([^ ]*\).*/\1/p" "$work/report")")
        [ -n "${found[-1]}" ] || fail "the report has no '$field'"
    done
    echo "${found[*]}"
}

begin_data() # COLUMN...
{
    printf '# %s, %s cores\n' "$(date -u +%Y-%m-%dT%H:%MZ)" "$(nproc)" >"$data"
    printf '# %s\n' "$*" >>"$data"
    echo "$*"
}

add_data() # VALUE...
{
    echo "$*" | tee -a "$data"
}

# plot: gnuplot's commands come from stdin, and find the data as `data`.
plot()
{
    local gnuplot=${GNUPLOT-gnuplot}
    if ! command -v "$gnuplot" >/dev/null; then
        cat >/dev/null
        echo "$name: no gnuplot, so no plot; the data are in $data"
        return
    fi
    {
        echo "set terminal svg size 900,500 background 'white'"
        echo "set output '$output/$name.svg'"
        echo "data = '$data'"
        echo "set datafile missing '-'"
        echo "set grid; set key outside bottom center horizontal"
        cat
    } >"$work/plot"
    "$gnuplot" "$work/plot" || fail "gnuplot failed"
    echo "$name: $data, $output/$name.svg"
}

powers_of_two() # LIMIT: 1 2 4 ... up to it, at least 1
{
    local i
    for ((i = 1; i == 1 || i <= $1; i *= 2)); do
        printf '%d ' $i
    done
}

# measure_sizes TITLE PROGRAM [ARGUMENT...]: the program for each of $sizes, on $ranks
# ranks; speed-up against size, beside what the transfer floor allows.
measure_sizes()
{
    local size row title=$1
    shift
    begin_data size alone_ms hybrid_ms transfer_ms speed_up bound
    for size in $sizes; do
        run "$ranks" "$@" -n "$size"
        row=$(value alone hybrid 'transfer floor' speed-up bound)
        add_data "$size $row"
    done
    plot <<END
set title '$title'
set xlabel 'size'; set ylabel 'speed-up against ranks alone'
set logscale x 2; set xrange [${sizes%% *} / 1.2:$size * 1.2]; set yrange [0:2.2]
plot data using 1:6 with linespoints title 'at most, with this transfer', \
    data using 1:5 with linespoints title 'half by workers', \
    1 with lines dashtype 2 title 'ranks alone', \
    1.8 with lines dashtype 3 title '1.8'
END
}
