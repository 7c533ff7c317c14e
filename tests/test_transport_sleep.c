/* What every transport promises to those who sleep until something comes. */
#include "transport_pair.h"

#include "base/clock.h"
#include "rfaas.h"
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROOM = 4096 };

static struct pair pair;

static bool readable(struct rfaas_device *device, int timeout_ms)
{
    struct pollfd ready = {.fd = transport->descriptor(device), .events = POLLIN};
    return poll(&ready, 1, timeout_ms) == 1;
}

static void test_arm(void)
{
    struct rfaas_completion c;
    pair_open(&pair, 4, 64, ROOM);
    CHECK(!readable(pair.b.device, 0));
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(transport->arm(pair.b.device), RFAAS_IN_PROGRESS);
        CHECK(!readable(pair.b.device, 0));
        CHECK_EQUAL(transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 1),
                    RFAAS_OK);
        CHECK(readable(pair.b.device, 10000));
        transport->disarm(pair.b.device);
        CHECK_EQUAL(transport->arm(pair.b.device), RFAAS_OK); /* poll first */
        CHECK(receive(pair.b.device, &c));
        transport->disarm(pair.b.device); /* not armed: no harm */
    }
    CHECK_EQUAL(transport->arm(pair.b.device), RFAAS_IN_PROGRESS);
    transport->disarm(pair.b.device);
    CHECK_EQUAL(transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 1), RFAAS_OK);
    CHECK(receive(pair.b.device, &c));
    pair_close(&pair);
}

static uint32_t rounds, races; /* see main */

static bool ping_pong(const struct side *side, bool first)
{
    struct rfaas_completion c;
    for (uint32_t i = 0; i < rounds; i++) {
        if (first &&
            transport->write(side->endpoint, NULL, 0, NULL, 0, 0, i) != RFAAS_OK)
            return false;
        if (!receive_asleep(side->device, &c) || c.immediate != i)
            return false;
        if (!first &&
            transport->write(side->endpoint, NULL, 0, NULL, 0, 0, i) != RFAAS_OK)
            return false;
    }
    return true;
}

static bool be_the_other(struct pair *p)
{
    return ping_pong(&p->b, false);
}

static void test_wake(void)
{
    pair_open(&pair, 1, 64, ROOM);
    struct peer peer = peer_start(be_the_other, &pair);
    bool right = ping_pong(&pair.a, true);
    CHECK(right);
    if (!right)
        peer_kill(&peer);
    CHECK(peer_end(&peer));
    pair_close(&pair);
}

/* Shared with the peer: the round that may begin, the round whose message is written. */
static struct race {
    _Atomic uint32_t begun, written;
} * race;

static bool await_round(_Atomic uint32_t *counter, uint32_t round)
{
    uint64_t end = rfaas_clock_ns() + 20000000000;
    for (unsigned turn = 1; atomic_load(counter) < round; turn++) {
        if (turn % 256 != 0)
            continue;
        sched_yield(); /* the other may need this core */
        if (rfaas_clock_ns() > end)
            return false;
    }
    return true;
}

/* So that writing meets arming at each of its moments. */
static void dawdle(uint32_t turns)
{
    for (volatile uint32_t i = 0; i < turns; i++)
        continue;
}

static bool write_in_races(struct pair *p)
{
    for (uint32_t i = 1; i <= races; i++) {
        if (!await_round(&race->begun, i))
            return false;
        dawdle(i % 61);
        if (transport->write(p->b.endpoint, NULL, 0, NULL, 0, 0, i) != RFAAS_OK)
            return false;
        atomic_store(&race->written, i);
    }
    return true;
}

/* Goes to sleep while the message is written: when it is, the sleeper has either seen
 * it or been woken. */
static bool arm_in_race(struct rfaas_device *device, uint32_t round)
{
    struct rfaas_completion c;
    atomic_store(&race->begun, round);
    dawdle(round % 199);
    bool asleep = transport->arm(device) == RFAAS_IN_PROGRESS;
    bool right =
        await_round(&race->written, round) && (!asleep || readable(device, 10000));
    if (asleep)
        transport->disarm(device);
    return right && receive(device, &c) && c.immediate == round;
}

static void test_races(void)
{
    bool right = true;
    race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    CHECK_FATAL(race != MAP_FAILED);
    pair_open(&pair, 1, 64, ROOM);
    struct peer peer = peer_start(write_in_races, &pair);
    for (uint32_t i = 1; i <= races && right; i++)
        right = arm_in_race(pair.a.device, i);
    CHECK(right);
    if (!right)
        peer_kill(&peer);
    CHECK_EQUAL(peer_end(&peer), right);
    pair_close(&pair);
    munmap(race, sizeof *race);
}

static const struct test tests[] = {
    {"an armed device's descriptor tells what comes, and only that", test_arm},
    {"a sleeper is woken by each message", test_wake},
    {"no message is missed on the way to sleep", test_races},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    /* Where a machine is slow, its emulated devices are slower still. */
    double most = test_slowness() * test_slowness();
    rounds = (uint32_t)(20000 / most);
    races = (uint32_t)(100000 / most);
    return transports_main(tests, argc, argv);
}
