#!/bin/sh
# Tests of parsec_blackscholes/blackscholes: prices, generated inputs, bad inputs and
# arguments, what becomes of the output file, workers that fail.
#
# Environment: MPIEXEC, MPIEXEC_FLAGS and CC as from make; BLACKSCHOLES, the program
# (default: the one of this build). Runs in the top build directory, srcdir set.
# Exit status: 0; 1 if a case has failed; 77 if there is nothing to test.

srcdir=${srcdir:-.}
program=$(realpath "${BLACKSCHOLES:-parsec_blackscholes/blackscholes}")
shipped=$(realpath "$srcdir/parsec_blackscholes/options_600.txt")
mpiexec=${MPIEXEC:-mpirun.openmpi}
export LC_ALL=C
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# A worker for each of up to four ranks, however few cores there are.
export RFAAS_CORES=4
# MPI itself leaks.
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_leaks=0}"

skip() {
    echo "skipped: $1"
    exit 77
}
[ -x "$program" ] || skip "the program is not built"
command -v "${mpiexec%% *}" >/dev/null || skip "there is no $mpiexec"
case ${MPIEXEC_FLAGS-unset}$($mpiexec --version 2>&1) in
unset*OpenRTE* | unset*'Open MPI'* | unset*PRRTE*) MPIEXEC_FLAGS=--oversubscribe ;;
esac
mpiexec="$mpiexec ${MPIEXEC_FLAGS-}"

scratch=$(mktemp -d) || exit 1
job=
clean_up() {
    [ -z "$job" ] || kill "$job" 2>/dev/null
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# ---- tools ----

passed=0 failed=0

# check NAME COMMAND...: one case; it passes if the command succeeds.
check() {
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok: $name"
    else
        failed=$((failed + 1))
        echo "FAILED: $name (exit status $status)"
        head -n 20 "$scratch/stdout" "$scratch/stderr" 2>/dev/null | sed 's/^/    /'
    fi
}

# fresh: an empty directory, $dir, in which files that shouldn't be there are seen.
fresh() {
    dir=$scratch/case
    rm -rf "$dir"
    mkdir "$dir"
    input=$dir/in output=$dir/out
}

only_files() { # NAME...
    [ "$(ls -A "$dir" | tr '\n' ' ')" = "${*:+$* }" ]
}

# alone ARGUMENT...: runs the program without mpirun. Open MPI then starts ten times as
# fast if it needn't be ready to start more processes and to reach them.
alone() {
    OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self \
        timeout 60 "$program" "$@"
}

# launch RANKS ARGUMENT...: runs the program; leaves stdout, stderr and $status. With 0
# ranks it runs alone.
status=0
launch() {
    ranks=$1
    shift
    if [ "$ranks" -eq 0 ]; then
        alone "$@"
    else
        timeout 60 $mpiexec -n "$ranks" "$program" "$@"
    fi >"$scratch/stdout" 2>"$scratch/stderr" </dev/null
    status=$?
    return $status
}

# refused RANKS STATUS PATTERN ARGUMENT...: with that exit status and one message, which
# matches; the old output is still there, and no new file.
refused() {
    ranks=$1 expected=$2 pattern=$3
    shift 3
    echo old >"$output"
    before=$(ls -A "$dir")
    launch "$ranks" "$@"
    [ $status -eq "$expected" ] && one_message "$pattern" &&
        [ "$(cat "$output")" = old ] && [ "$(ls -A "$dir")" = "$before" ]
}

one_message() { # PATTERN
    [ "$(grep -c "^${program##*/}: " "$scratch/stderr")" -eq 1 ] &&
        grep "^${program##*/}: " "$scratch/stderr" | grep -q -e "$1"
}

silent() {
    [ ! -s "$scratch/stderr" ]
}

reported() { # LINE-BEGINS-WITH EXTENDED-PATTERN
    grep -Eq "^$1 +$2" "$scratch/stdout"
}

# right_prices INPUT OUTPUT: in PARSEC's format and close to the reference prices.
right_prices() {
    awk 'NR == FNR { line[FNR] = $0; lines = FNR; next }
         FNR == 1 { if ($0 != line[1]) bad = "count " $0; next }
         !/^-?[0-9]+\.[0-9]+$/ || length($0) - index($0, ".") != 18 {
             bad = "not a number with 18 decimals: " $0 }
         { split(line[FNR], f, " "); d = $0 - f[9]
           if (d < 0) d = -d
           if (d > 1e-4 * f[2]) bad = "option " FNR - 1 ": " $0 " is not " f[9] }
         END { if (FNR != lines) bad = FNR " lines"
               if (bad) { print "    " bad; exit 1 } }' "$1" "$2"
}

# with LINE FIELD VALUE: the shipped input with one field replaced.
with() {
    awk -v line="$1" -v field="$2" -v value="$3" \
        'NR == line { $field = value } { print }' "$shipped"
}

# ---- prices ----

prices() { # RANKS OPTION...
    fresh
    launch "$@" "$shipped" "$output" && only_files out &&
        right_prices "$shipped" "$output" && reported options '600$' &&
        reported ranks "$1\$" && reported 'price alone' '[0-9.]+ ms' &&
        reported 'price hybrid' '[0-9.]+ ms' && reported speed-up '[0-9]' &&
        reported 'largest error' '[0-9.]+e-0[5-9] '
}

same_prices() {
    prices "$@" && cmp "$output" "$scratch/reference"
}

check '600 options, 1 rank' prices 1
cp "$output" "$scratch/reference"
check 'nothing but the report is printed' silent
check '600 options, 2 ranks' same_prices 2
check '600 options, 4 ranks' same_prices 4
check 'without workers' same_prices 2 --offload 0
check 'none are missed then' silent
check 'by workers only' same_prices 1 --offload 1
check 'workers have priced all' reported schedule 'static +workers priced 1\.000'
check 'half by workers, 3 times' same_prices 4 --offload 0.5 --repeat 3
check 'workers have priced half' reported schedule 'static +workers priced 0\.50'
check 'as workers are free' same_prices 2 --schedule dynamic
check 'so that both end together' same_prices 2 --schedule model --repeat 3
check 'that is told' reported schedule 'model +workers priced [01]\.'
check 'the median is told' reported 'price alone' '.* median of 3'
transfers() {
    same_prices 1 --transfer --repeat 3 &&
        reported 'transfer floor' '[0-9.]+ ms +median of 3'
}
check 'transfers by themselves' transfers
check 'more workers than there are' same_prices 1 --workers 1000
check 'they are reported' one_message 'warning: only [0-9]* of 1000 workers are free'

lines_of() { # RANKS LINES: the first lines of the shipped file, stdin: what becomes of them
    fresh
    { echo "$2"; sed "1d;$(($2 + 1))q" "$shipped"; } >"$dir/lines"
    shift 2
    "$@" <"$dir/lines" >"$input"
    launch "$ranks" "$input" "$output" && right_prices "$dir/lines" "$output"
}
ranks=4
check 'fewer options than ranks' lines_of 4 2 cat
ranks=2
check 'last line without an end' lines_of 2 3 head -c -1
check 'lines that end in CR LF' lines_of 2 30 sed 's/$/\r/'
check 'tabs and many blanks' lines_of 2 30 sed 's/ /\t   /g'

limits() { # what is left of the formula: what exercising the option is worth
    fresh
    printf '5\n50 40 0 0 0 1 C 0 10\n50 40 0 0 .2 0 C 0 10\n50 4e1 0 0 0 0 P 0 0\n' >"$input"
    printf '40 40 0 0 0 0 C 0 0\n+30 40.0 0 -0 0 1 P 0. 10\n' >>"$input"
    launch 1 "$input" "$output" && right_prices "$input" "$output"
}
check 'no volatility, no time' limits

# ---- generated inputs ----

generated() { # N RANKS
    fresh
    launch "$2" --generate "$1" "$input" && only_files in && silent &&
        awk -v n="$1" 'NR == FNR { if (FNR > 1) line[FNR - 2] = $0; next }
            FNR == 1 ? $0 != n : $0 != line[(FNR - 2) % 600] { bad = 1 }
            END { exit bad || FNR != n + 1 }' "$shipped" "$input"
}
check 'generate 1' generated 1 0
check 'generate 599' generated 599 0
check 'generate 600' generated 600 0
check 'generate 50001, 4 ranks' generated 50001 4
cp "$input" "$scratch/large"

large() { # RANKS: several chunks for each worker
    fresh
    launch "$1" --repeat 2 "$scratch/large" "$output" && silent &&
        right_prices "$scratch/large" "$output" && reported options '50001$'
}
check '50001 options, 1 rank' large 1

generated_from() {
    fresh
    { echo 2; sed -n '5,6p' "$shipped" | head -c -1; } >"$input"
    launch 0 --generate 3 --from "$input" "$output" &&
        { echo 3; sed -n '5p;6p' "$shipped"; sed -n '5p' "$shipped"; } | cmp - "$output"
}
check 'generate from another file' generated_from

# ---- bad inputs ----

# bad NAME RANKS PATTERN COMMAND...: the command's output is the input, the message FILE
# and what matches.
bad() {
    case_name=$1 case_ranks=$2 case_pattern=$3
    shift 3
    fresh
    "$@" >"$input"
    check "$case_name" refused "$case_ranks" 1 "$input$case_pattern" "$input" "$output"
}

fresh
check 'missing input' refused 2 1 "$input: cannot open: No such file" "$input" "$output"
mkdir "$input"
check 'directory as input' refused 0 1 \
    "$input: expected a regular file, found a directory" "$input" "$output"
rmdir "$input"
check 'device as input' refused 0 1 '/dev/null: expected a regular' /dev/null "$output"

number='expected the number of options, 1 to 2147483647, found'
bad 'empty input' 0 ':1: expected the number of options, found an empty file' true
bad 'count too large' 2 ':602: expected option 601 of 700, found the end' with 1 1 700
bad 'count too small' 4 ':601: expected the end of the file.*1 more' with 1 1 599
bad 'count of 10^12' 0 ":1: $number \"1000000000000\"" with 1 1 1000000000000
bad 'count of 26 digits' 0 ":1: $number \"9999" with 1 1 99999999999999999999999999
bad 'largest count' 0 ':602: expected option 601 of 2147483647' with 1 1 2147483647
bad 'count of 0' 0 ":1: $number \"0\"" with 1 1 0
bad 'negative count' 0 ":1: $number \"-600\"" with 1 1 -600
bad 'letters as count' 0 ":1: $number \"abc\"" with 1 1 abc
bad 'two counts' 0 ':1: expected the end of the line, found "7"' with 1 1 '600 7'
bad 'nothing but a count' 0 ':2: expected option 1 of 600, found the end' echo 600
bad 'letters as spot price' 0 ':17: expected a spot price above 0, found "abc"' \
    with 17 1 abc
bad 'spot price of 0' 0 ':2: expected a spot price above 0, found "0"' with 2 1 0
bad 'too large for a float' 0 ':2: expected a spot price.*"1e99"' with 2 1 1e99
bad 'hexadecimal' 0 ':2: expected a spot price.*"0x10"' with 2 1 0x10
bad 'decimal comma' 0 ':2: expected a spot price.*"1,5"' with 2 1 1,5
bad 'negative strike price' 0 ':2: expected a strike price above 0.*"-40"' with 2 2 -40
bad 'strike price of 0' 0 ':2: expected a strike price above 0.*"0.0"' with 2 2 0.0
bad 'NaN as rate' 0 ':2: expected an interest rate, found "nan"' with 2 3 nan
bad 'a dividend rate' 0 ':2: expected a dividend rate of 0.*"0.1"' with 2 4 0.1
bad 'negative volatility' 0 ':2: expected a volatility of at least 0, found "-0.2"' \
    with 2 5 -0.2
bad 'NaN as volatility' 0 ':2: expected a volatility.*"NaN"' with 2 5 NaN
bad 'infinite volatility' 0 ':2: expected a volatility.*"inf"' with 2 5 inf
bad 'negative time' 0 ':2: expected a time of at least 0, found "-1"' with 2 6 -1
bad 'type X' 0 ':2: expected C or P, found "X"' with 2 7 X
bad 'type CP' 0 ':2: expected C or P, found "CP"' with 2 7 CP
bad 'dividends' 0 ':2: expected dividends of 0.*"1"' with 2 8 1
bad 'letters as reference price' 0 ':2: expected a reference price.*"x"' with 2 9 x
bad 'a field too few' 0 ':2: expected a reference.*found the end of the line' with 2 9 ''
bad 'a field too many' 0 ':2: expected the end of the line, found "x"' with 2 10 x
bad 'an empty line' 0 ':300: expected a spot.*found the end of the line' \
    sed '300s/.*//' "$shipped"
bad 'an error in the last line' 4 ':601: expected a time.*"x"' with 601 6 x
bad 'errors for two ranks' 2 ':100: .*"x"' sed '100s/.*/x/;500s/.*/y/' "$shipped"

filled() { # COUNT CHARACTER: one line of so many
    echo 1
    head -c "$1" /dev/zero | tr '\0' "$2"
}
bad 'a line of 3 MB' 0 ':2: expected a line of less than 1 MiB' filled 3000000 ' '
bad 'a number of 100,000 digits' 0 ':2: expected a spot.*"11111*\.\.\."' filled 100000 1
bad 'a program as input' 0 ":1: $number \"?ELF" cat "$(command -v ls)"
bad 'binary line' 0 ':2: expected a spot price above 0, found "?????\[1m"' \
    printf '1\n\001\002\377\000\033[1m\n'

wrong_reference() { # all is done, but the exit status tells
    fresh
    with 50 9 99 >"$input"
    launch 2 "$input" "$output"
    [ $status -eq 1 ] && cmp "$output" "$scratch/reference" &&
        one_message "$input:50: .* differs from the reference price 99 by" &&
        reported 'largest error' '[0-9.]+ .* of the strike'
}
check 'a price that is not the reference price' wrong_reference

fresh
echo 3 >"$input"
check 'generate from a bad file' refused 2 1 "$input:2: expected option 1 of 3" \
    --generate 10 --from "$input" "$output"

# ---- bad arguments ----

usage() { # PATTERN ARGUMENT...
    pattern=$1
    shift
    fresh
    check "arguments: $*" refused "${usage_ranks:-0}" 2 "$pattern" "$@"
    check 'usage is shown once' eval '[ "$(grep -c ^Usage: "$scratch/stderr")" -eq 1 ]'
}

for value in 1.5 -0.1 nan abc ''; do
    usage '--offload: expected a fraction from 0 to 1' --offload "$value" in out
done
usage '--schedule: expected static, dynamic or model' --schedule guided in out
for value in 0 -1 abc 99999999999999999999; do
    usage '--workers: expected a number from 1' --workers "$value" in out
done
usage '--repeat: expected a number from 1' --repeat 0 in out
for value in 0 2147483648 1e6; do
    usage '--generate: expected a number from 1 to 2147483647' --generate "$value" out
done
usage_ranks=4
usage 'expected INPUT and OUTPUT'
usage_ranks=
usage 'expected OUTPUT' in
usage 'third: expected no further argument' in out third
usage 'expected FILE' --generate 5
usage 'second: expected no further argument' --generate 5 first second
usage '--from: expected together with --generate' --from in in out
usage '--wrong: no such option' --wrong in out
usage '-x: no such option' -xo 0.5 in out
usage '--offload: expected a value' in out --offload

helps() { # OPTION EXTENDED-PATTERN
    launch 2 "$1" && silent && [ "$(grep -Ec "$2" "$scratch/stdout")" -eq 1 ]
}
check '--help' helps --help '^Usage: blackscholes'
check '--version' helps --version "^blackscholes .*${PACKAGE_VERSION:-[0-9]}"

# ---- the output file ----

fresh
check 'output in a missing directory' refused 0 1 \
    "$dir/no/out: cannot create: No such file" "$shipped" "$dir/no/out"
check 'directory as output' refused 0 1 "$dir: cannot write: Is a directory" \
    "$shipped" "$dir"
check 'empty output name' refused 0 1 ': cannot create: No such file' "$shipped" ''
check 'full disk' refused 2 1 '/dev/full: cannot write: No space' "$shipped" /dev/full
check 'full disk, generated' refused 0 1 '/dev/full: cannot write: No space' \
    --generate 1000 /dev/full

replaced() {
    fresh
    echo old >"$output"
    chmod 640 "$output"
    ln -s out "$dir/link"
    launch 2 "$shipped" "$dir/link" && [ -L "$dir/link" ] && only_files link out &&
        cmp "$output" "$scratch/reference" && [ "$(stat -c %a "$output")" = 640 ]
}
check 'the file behind a link is replaced' replaced

long_name() {
    fresh
    name_250=$(printf '%0250d' 0)
    launch 0 "$shipped" "$dir/$name_250" && only_files "$name_250" &&
        cmp "$dir/$name_250" "$scratch/reference"
}
check 'output with a name of 250 characters' long_name

to_stdout() { # mpirun may make a terminal of it
    fresh
    launch 1 "$shipped" /dev/stdout && grep -q '^speed-up' "$scratch/stderr" &&
        tr -d '\r' <"$scratch/stdout" | cmp - "$scratch/reference"
}
check 'prices to stdout, report to stderr' to_stdout

to_null() {
    fresh
    launch 0 "$shipped" /dev/null && only_files && [ -c /dev/null ] &&
        reported speed-up '[0-9]'
}
check 'prices to /dev/null' to_null

# ---- the twin with OpenMP ----

twin_prices() { # ARGUMENT...
    fresh
    launch 0 "$@" "$shipped" "$output" && only_files out && silent &&
        cmp "$output" "$scratch/reference" && reported 'price openmp' '[0-9.]+ ms'
}

twin_large() {
    fresh
    launch 0 --threads 3 --repeat 2 "$scratch/large" "$output" &&
        right_prices "$scratch/large" "$output" && reported threads '3$' &&
        reported 'price openmp' '.* median of 2'
}

twin_wrong_reference() {
    fresh
    with 50 9 99 >"$input"
    launch 0 "$input" "$output"
    [ $status -eq 1 ] && cmp "$output" "$scratch/reference" &&
        one_message "$input:50: .* differs from the reference price 99 by"
}

test_twin() {
    check 'OpenMP: as many threads as it likes' twin_prices
    check 'OpenMP: 1 thread' twin_prices --threads 1
    check 'OpenMP: more threads than chunks' twin_prices --threads 7
    check 'OpenMP: 50001 options, 3 threads' twin_large
    check 'OpenMP: a price that is not the reference price' twin_wrong_reference
    bad 'OpenMP: a bad input' 0 ':17: expected a spot price above 0, found "abc"' \
        with 17 1 abc
    check 'OpenMP: full disk' refused 0 1 '/dev/full: cannot write: No space' \
        "$shipped" /dev/full
    usage '--threads: expected a number from 1 to' --threads 0 in out
    usage 'expected OUTPUT' in
    usage '--offload: no such option' --offload 0.5 in out
}
whole=$program program=${program}_openmp
[ ! -x "$program" ] || test_twin
program=$whole

# ---- the end before its time ----

# The processes that have an unfinished file in $dir open, with a name or without.
writers() {
    for process in /proc/[0-9]*; do
        ls -l "$process/fd" 2>/dev/null | grep -Eq "> $dir/.*(tmp|\(deleted\))\$" &&
            echo "${process#/proc/}"
    done
}

# The workers among the descendants of process $job.
workers() {
    cat /proc/[0-9]*/stat 2>/dev/null |
        sed 's/^\([0-9]*\) (\(.*\)) . \([0-9]*\) .*/\1 \3 \2/' |
        awk -v job="$job" '{ parent[$1] = $2; name[$1] = $3 }
            END { for (p in name) if (name[p] ~ /^rfaas-worker/) {
                      for (q = p; q in parent && q != job; ) q = parent[q]
                      if (q == job) print p } }'
}

eventually() { # COMMAND...: until it succeeds, at most 50 seconds
    for attempt in $(seq 500); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

is_writing() { [ -n "$(writers)" ]; }
none_is_writing() { [ -z "$(writers)" ]; }
has_workers() { [ -n "$(workers)" ]; }

# start ARGUMENT...: in the background, as $job.
start() {
    fresh
    echo old >"$output"
    timeout 60 $mpiexec -n 1 "$program" "$@" "$scratch/large" "$output" \
        >"$scratch/stdout" 2>"$scratch/stderr" </dev/null &
    job=$!
}

finish() {
    wait "$job"
    status=$?
    job=
    return $status
}

interrupted() { # SIGNAL [rank]: to mpirun, or to the rank that writes
    start --repeat 1000000
    eventually is_writing
    kill -"$1" $(if [ -n "$2" ]; then writers; else echo "$job"; fi)
    finish # with whatever mpirun says then, but not by its time limit
    [ $status -ne 124 ] && eventually none_is_writing && only_files out &&
        [ "$(cat "$output")" = old ]
}
check 'interrupted by SIGTERM' interrupted TERM
check 'interrupted by SIGINT' interrupted INT
check 'the rank killed' interrupted KILL rank

# ---- workers that fail ----

# Not every kill costs an invocation: one that no worker has begun runs on the next.
workers_killed() {
    start --repeat 3000
    for kill in 1 2 3 4 5 6 7 8; do
        eventually has_workers || break
        kill -KILL $(workers) 2>/dev/null && killed=$kill
    done
    finish && right_prices "$scratch/large" "$output" && only_files out &&
        [ "${killed:-0}" -ge 1 ] &&
        { silent || one_message 'warning: a worker failed: '; }
}
check 'workers killed again and again' workers_killed

# The program takes the function library that lies beside it.
function_of() { # BODY PATTERN [OPTION...]
    body=$1 pattern=$2
    shift 2
    fresh
    mkdir "$dir/bin"
    cp "$program" "$dir/bin/blackscholes"
    printf '#include <rfaas_function.h>\n#include <stdlib.h>\n%s\n' "$body" >"$dir/f.c"
    ${CC:-cc} -shared -fPIC -I"$srcdir/include" -o "$dir/bin/libblackscholes.so" \
        "$dir/f.c" || return 1
    whole=$program program=$dir/bin/blackscholes
    launch 2 "$@" "$shipped" "$output"
    program=$whole
    [ $status -eq 0 ] && right_prices "$shipped" "$output" &&
        one_message "$pattern" && reported schedule 'static +workers priced 0\.000'
}
check 'a function that returns an error' function_of \
    'RFAAS_FUNCTION(blackscholes_price) { (void)call; return 7; }' \
    'warning: a worker failed: .*returned 7'
check 'a function that writes too little' function_of \
    'RFAAS_FUNCTION(blackscholes_price) { call->out_size = call->out_capacity / 2; return 0; }' \
    'warning: a worker failed: .*bytes'
check 'a library without the function' function_of \
    'RFAAS_FUNCTION(something_else) { (void)call; return 0; }' \
    'warning: no function for the workers'
check 'a function that crashes' function_of \
    'RFAAS_FUNCTION(blackscholes_price) { (void)call; abort(); }' \
    'warning: a worker failed: ' --offload 1

# ---- the progress bar ----

# The output is a pipe that nobody reads at first, so the run takes a while.
slow_run() { # COMMAND...
    fresh
    mkfifo "$output"
    { sleep 1.5; cat; } <"$output" >/dev/null &
    job=$!
    "$@" >"$scratch/stdout" 2>"$scratch/stderr"
    status=$?
    finish && [ -p "$output" ]
}

shows_bar() {
    slow_run script -qec "$* '$program' --generate 50000 '$scratch/case/out'" /dev/null &&
        grep -q 'generate  *\[##*  *\]' "$scratch/stdout"
}

shows_none() {
    slow_run alone --generate 50000 "$scratch/case/out" && silent &&
        [ ! -s "$scratch/stdout" ]
}
check 'no progress bar without a terminal' shows_none
if command -v script >/dev/null; then
    check 'a progress bar on a terminal' shows_bar
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
