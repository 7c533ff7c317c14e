#!/usr/bin/env bash
# in_pair.sh A|B: what tests/softroce/test_pair.sh runs in its two guests. Each prints
# what is to be found.
set -u
shared=/run/shared

# One of perftest's, with its connection made over TCP: with rdma_cm it may come too early
# for its own server.
measure() # PROGRAM ARGUMENT...
{
    local program=$1
    shift
    "$program" -d rxe0 -x 1 -F "$@"
}

# wait_for FILE: until the other has made it.
wait_for()
{
    until [ -e "$shared/$1" ]; do
        sleep 0.1
    done
}

# Clients don't wait for their server: makes FILE when it listens.
announce() # FILE
{
    until ss -Hltn | grep -q ':18515 '; do
        sleep 0.1
    done
    touch "$shared/$1"
}

counter() # NAME
{
    cat "/sys/class/infiniband/rxe0/ports/1/hw_counters/$1"
}

await_counter() # NAME VALUE: for ten seconds
{
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [ "$(counter "$1")" -lt "$2" ] || return 0
        sleep 0.1
    done
    return 1
}

# Many writes are under way when B stops: from then on they are repeated and nothing is
# heard. There is no error: perftest asks for the highest number of retries, 7, which
# Soft-RoCE takes for endless.
write_until_death()
{
    local heard
    measure ib_write_bw -s 4096 -n 1000000 guest-b &
    await_counter rcvd_pkts $(($(counter rcvd_pkts) + 100)) && echo "B answers"
    touch $shared/stop-B
    while [ -e $shared/stop-B ]; do
        sleep 0.1
    done
    echo "B is stopped"
    sleep 0.2 # for what is still on the wire
    heard=$(counter rcvd_pkts)
    await_counter completer_retry_err $(($(counter completer_retry_err) + 5)) &&
        echo "writes are repeated"
    echo "packets from the dead: $(($(counter rcvd_pkts) - heard))"
    kill $!
}

guest_a()
{
    echo "guest-b is $(getent hosts guest-b | cut -d' ' -f1)"
    wait_for latency
    echo "B says: $(cat $shared/hello)"
    measure ib_write_lat -s 8 -n 500 guest-b
    echo "ib_write_lat: $?"
    wait_for bandwidth
    write_until_death
    exit 7
}

guest_b()
{
    echo hello >$shared/hello
    announce latency &
    measure ib_write_lat -s 8 -n 500
    wait
    announce bandwidth &
    measure ib_write_bw -s 4096 -n 1000000
    sleep 5
    echo "not stopped"
}

case $1 in
A) guest_a ;;
B) guest_b ;;
esac
