#!/usr/bin/env bash
# Two nodes: namespaces of network, host name, System V IPC and mounts, with a wire
# between them. This script runs on the first, n1, and a command behind "${on_n2[@]}" on
# the second. A namespace goes with its last process: nothing of them is left.
#     test_two_nodes.sh           the test
#     test_two_nodes.sh on-n1     the same, when it is on n1
set -u

skip()
{
    echo "SKIPPED: two nodes: $*"
    exit 77
}

[ -x tests/two_nodes ] || skip "built without tests/two_nodes"
for tool in unshare nsenter ip; do
    command -v $tool >/dev/null || skip "there is no $tool"
done
if [ "${1-}" != on-n1 ]; then
    unshare -n -u -i -m true 2>/dev/null || skip "no right to make namespaces"
    exec unshare -n -u -i -m "$0" on-n1
fi

here=$PWD
manager=${RFAAS_MANAGER:-$here/rfaas-manager}
executor=${RFAAS_EXECUTOR:-$here/rfaas-executor}
patience=20 # seconds, for what takes less than one
limit=5.5   # seconds until a node that is cut off is missed, and a test's own delay
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
passed=0 failed=0 problems=0

# ---- the nodes -----------------------------------------------------------------------

node() # NAME: makes a node of the namespaces that it is called in
{
    hostname "$1" && mount -t tmpfs tmpfs /dev/shm &&
        mount --bind "$work/hosts" /etc/hosts && ip link set lo up
}

printf '127.0.0.1 localhost\n10.77.0.1 n1\n10.77.0.2 n2\n' >"$work/hosts"
export work
export -f node
# It ends with this script, whose end it reads.
coproc holder { exec unshare -n -u -i -m bash -c 'node n2 && echo $$ && exec cat'; }
on_n2=() # goes before a command
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
read -rt $patience n2 <&"${holder[0]}" &&
    on_n2=(nsenter -t "$n2" -n -u -i -m env -C "$here") && node n1 &&
    ip link add wire1 type veth peer name wire2 netns "$n2" &&
    ip addr add 10.77.0.1/24 dev wire1 && ip link set wire1 up &&
    "${on_n2[@]}" ip addr add 10.77.0.2/24 dev wire2 && "${on_n2[@]}" ip link set wire2 up ||
    skip "the namespaces can't be furnished"

# ---- looking -------------------------------------------------------------------------

problem()
{
    echo "    $*"
    problems=1
}

# until_true SECONDS COMMAND...: false when the time is over.
until_true()
{
    local end=$(("${EPOCHREALTIME/./}" + $(printf '%.0f' "${1}e6")))
    shift
    until "$@"; do
        [ "${EPOCHREALTIME/./}" -lt $end ] || return 1
        read -rt 0.05 <> <(:) # a pause without a process
    done
    return 0
}

says() # FILE PATTERN [SECONDS]
{
    until_true "${3-$patience}" grep -qs -- "$2" "$work/$1" && return
    problem "$1 doesn't say \"$2\" within ${3-$patience} s; it says:"
    sed 's/^/        /' "$work/$1"
    return 1
}

gone() # PID
{
    ! kill -0 "$1" 2>/dev/null
}

ends() # PID [SECONDS]
{
    until_true "${2-$patience}" gone "$1" && return
    problem "process $1 is still there after ${2-$patience} s"
    kill -9 "$1"
}

# ---- what runs -----------------------------------------------------------------------

# Manager and client on n1, executor on n2; the client has two workers there.
begin()
{
    rm -f "$work"/key "$work"/*.log
    "$manager" --listen tcp --key-file "$work/key" --log-level info \
        >"$work/manager.log" 2>&1 &
    manager_pid=$!
    says manager.log network_address= || return
    address=$(sed -n 's/.* network_address=//p' "$work/manager.log")
    [[ $address == tcp:10.77.0.1:* ]] || problem "the manager is at $address"
    "${on_n2[@]}" "$executor" --manager "n1:${address##*:}" --key-file "$work/key" \
        --cores 2 --log-level info >"$work/executor.log" 2>&1 &
    executor_pid=$!
    says manager.log 'joined: 2 cores .* on n2 at unix:.* tcp:10.77.0.2:' || return
}

client() # STEP
{
    tests/two_nodes "$1" "$address" "$work/key" >"$work/client.log" 2>&1 &
    client_pid=$!
}

end()
{
    kill "$manager_pid" 2>/dev/null
    wait "$manager_pid" "$executor_pid" "$client_pid"
    # Workers of an executor that couldn't end them have no parent to wait for.
    until_true $patience no_worker || problem "workers are left: $(pgrep -f -- --worker)"
}

no_worker()
{
    ! grep -lsz "^work=$work\$" /proc/[0-9]*/environ | cut -d/ -f3 |
        while read -r pid; do cat "/proc/$pid/comm"; done 2>/dev/null | grep -q rfaas-
}

# ---- tests ---------------------------------------------------------------------------

test_refused()
{
    begin || return
    client session
    says client.log 'executor on n2: .*nobody there.*needs the transport verbs: '
    ends "$client_pid"
    end
}

# One kernel, so the Unix socket is tried first; that nobody is there is no delay.
test_reached()
{
    begin || return
    client leases
    says client.log '^ready 1$' 3
    says manager.log 'lease 1: 2 workers on n2' 1
    kill "$client_pid"
    says executor.log 'has gone'
    end
}

test_killed()
{
    begin || return
    client leases
    says client.log '^ready 1$' || return
    kill -9 "$executor_pid"
    says client.log "^gone 1: .*executor on n2 can't be reached any more" 2
    says client.log '^ended: ' 2
    says manager.log 'executor .* on n2) has gone' 1
    end
}

test_cut()
{
    begin || return
    client leases
    says client.log '^ready 1$' || return
    ip link set wire1 down
    says client.log "^gone 1: .*executor on n2 can't be reached any more" $limit
    says client.log '^ended: ' 1
    says manager.log 'executor .* on n2) has gone' 1
    ends "$executor_pid" $limit
    ip link set wire1 up
    end
}

# A node that has no manager any more.
test_cut_before_connecting()
{
    begin || return
    "${on_n2[@]}" ip link set wire2 down
    client leases
    says client.log '^\(gone 1: \|ended: \)' 10
    ends "$executor_pid" 10
    "${on_n2[@]}" ip link set wire2 up
    kill "$client_pid" 2>/dev/null
    end
}

# mpirun starts its daemon on n2 by this script: rsh HOST COMMAND...
test_mpirun()
{
    cat >"$work/rsh" <<EOF
#!/bin/sh
shift
exec ${on_n2[*]@Q} sh -c "\$*"
EOF
    chmod +x "$work/rsh"
    OMPI_MCA_btl=self,vader,tcp timeout $((3 * patience)) \
        ${MPIEXEC:-mpirun} --mca plm_rsh_agent "$work/rsh" \
        --mca plm_rsh_no_tree_spawn 1 --bind-to none -H n1:2,n2:1 -n 3 \
        tests/mpi_nodes >"$work/mpirun.log" 2>&1 </dev/null ||
        problem "mpirun: exit status $?"
    says mpirun.log '^rank 0 on n1: right$' 0 &&
        says mpirun.log '^rank 1 on n1: right$' 0 &&
        says mpirun.log '^rank 2 on n2: right$' 0
}

run() # FUNCTION WHAT-IT-SHOWS
{
    problems=0
    "$1"
    if [ $problems = 0 ]; then
        echo "$2: passed"
        passed=$((passed + 1))
    else
        echo "$2: FAILED"
        failed=$((failed + 1))
    fi
}

run test_refused "a session without a transport between nodes is told so"
run test_reached "an executor on another node is reached, whatever its kernel"
run test_killed "its end is told at once"
run test_cut "a cut wire is noticed in 5 seconds, on both nodes"
run test_cut_before_connecting "so is one that is cut before the client has called"
if [ ! -x tests/mpi_nodes ]; then
    echo "SKIPPED: mpirun over two nodes: built without MPI"
elif ! ${MPIEXEC:-mpirun} --version 2>/dev/null | grep -q open-mpi; then
    echo "SKIPPED: mpirun over two nodes: not Open MPI's"
else
    run test_mpirun "mpirun over two nodes needs nothing more"
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
