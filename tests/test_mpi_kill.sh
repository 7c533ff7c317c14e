#!/usr/bin/env bash
# kill -9 of ranks: those that live on get their answers within two seconds, and of the
# dead nothing remains: no process, no file, no entry of /dev/shm. What the programs do
# stands in mpi_victim.c.
set -u
run_mpi=$(realpath "${srcdir:-.}/tests/run-mpi.sh")
victim=$(realpath tests/mpi_victim)
manager=${RFAAS_MANAGER:-$(realpath rfaas-manager)}
executor=${RFAAS_EXECUTOR:-$(realpath rfaas-executor)}
patience=30 # seconds, for what takes less than one on an idle machine
passed=0 failed=0

# ---- looking -------------------------------------------------------------------------

# Processes that were started with the current mark.
processes()
{
    grep -lsz "^RFAAS_TEST_KILL=$RFAAS_TEST_KILL\$" /proc/[0-9]*/environ |
        cut -d/ -f3 | while read -r pid; do
        case $(ps -o stat= -o comm= -p "$pid") in
        "" | Z* | *test_mpi_kill* | *bash* | *grep*) ;;
        *) echo "$pid" ;;
        esac
    done
}

# MPI's own session directories and files are MPI's to remove.
files()
{
    find "$TMPDIR" /dev/shm -mindepth 1 -user "$(id -u)" ! -path '*/ompi.*' \
        ! -name 'vader_segment*' ! -name 'mpich_*' ! -path "$work*" 2>/dev/null | sort
}

# until_true COMMAND...: false when patience is over.
until_true()
{
    local tries
    for ((tries = 0; tries < patience * 20; tries++)); do
        "$@" && return
        read -rt 0.05 <> <(:) # a pause without a process
    done
    return 1
}

nothing_remains()
{
    [ -z "$(processes)" ] && [ "$(files)" = "$files_before" ]
}

# ---- jobs ----------------------------------------------------------------------------

work=$(mktemp -d)
trap 'kill -9 $(processes) 2>/dev/null; rm -rf "$work"' EXIT

# start NAME RANKS ARGUMENT...: runs it in the background until all its ranks are ready.
start()
{
    local name=$1 ranks=$2
    shift 2
    "$run_mpi" "$ranks" "$victim" "$@" >"$work/$name" 2>&1 &
    until_true is_ready "$name" "$ranks" && return
    problem "$name: not ready"
    show "$name"
    return 1
}

is_ready()
{
    [ -f "$work/$1" ] && [ "$(grep -c '^ready ' "$work/$1")" = "$2" ]
}

show()
{
    sed 's/^/        /' "$work/$1"
}

pid_of() # NAME RANK
{
    awk -v rank="$2" '$1 == "ready" && $2 == rank { print $3 }' "$work/$1"
}

address_of() # NAME
{
    awk '$1 == "ready" { print $4; exit }' "$work/$1"
}

problem()
{
    echo "    $*"
    problems=1
}

# A job that lives on ends well.
ends_well() # NAME PID-OF-MPIRUN
{
    wait "$2" && return
    problem "$1: exit status $?"
    show "$1"
}

# ---- tests ---------------------------------------------------------------------------

test_client_rank()
{
    start job 2 stay || return
    kill -9 "$(pid_of job 1)"
    wait
}

test_rank_0()
{
    start job 2 stay || return
    kill -9 "$(pid_of job 0)"
    wait
}

test_all_ranks()
{
    start job 2 stay || return
    kill -9 "$(pid_of job 0)" "$(pid_of job 1)"
    wait
}

test_manager_of_others()
{
    start host 1 stay || return
    start guest 2 watch "$(address_of host)" "$(pid_of host 0)" || return
    local guest=$!
    kill -9 "$(pid_of host 0)"
    ends_well guest $guest
    wait
}

test_manager_program()
{
    "$manager" >"$work/manager" 2>&1 &
    local manager_pid=$! address
    until_true grep -qs '^manager_address=' "$work/manager" || problem "no manager"
    address=$(sed 's/^manager_address=//; s/ .*//' "$work/manager")
    "$executor" --manager "$address" --cores 2 --ready-fd 5 5>"$work/executor" &
    until_true grep -qs ready "$work/executor" || problem "no executor"
    start guest 2 watch "$address" "$manager_pid" || return
    local guest=$!
    kill -9 $manager_pid
    ends_well guest $guest
    wait
} 2>/dev/null # the shell's own word that a job was killed

test_client_of_others()
{
    start host 1 serve "$work/go" || return
    local host=$!
    start guest 1 occupy "$(address_of host)" || return
    kill -9 "$(pid_of guest 0)"
    touch "$work/go"
    ends_well host $host
    wait
}

run() # FUNCTION WHAT-IT-SHOWS
{
    export RFAAS_TEST_KILL=$$.$1
    problems=0
    rm -f "$work"/*
    files_before=$(files)
    "$1"
    [ $problems = 0 ] || kill -9 $(processes)
    until_true nothing_remains || problem "left behind: $(
        processes | while read -r pid; do tr '\0' ' ' <"/proc/$pid/cmdline"; done
        comm -13 <(echo "$files_before") <(files)
    )"
    if [ $problems = 0 ]; then
        echo "$2: passed"
        passed=$((passed + 1))
    else
        echo "$2: FAILED"
        failed=$((failed + 1))
    fi
}

: "${TMPDIR:=/tmp}"
run test_client_rank "a client rank is killed"
run test_rank_0 "the rank with the manager is killed"
run test_all_ranks "all ranks are killed"
run test_manager_of_others "the rank with the manager of another job is killed"
run test_manager_program "rfaas-manager is killed"
run test_client_of_others "a client of another job's manager is killed"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
