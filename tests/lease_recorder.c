#include "lease_recorder.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rfaas_leases *leases;
uint64_t now;
uint64_t calls;
struct rfaas_lease_part last_parts[16];
size_t last_part_count;

static struct event *events;
static size_t event_count, event_room, event_next;

static struct event *add_event(enum told told, uint64_t who, uint64_t lease, long value)
{
    if (event_count == event_room) {
        event_room = event_room ? 2 * event_room : 64;
        events = realloc(events, event_room * sizeof *events);
        if (!events)
            abort();
    }
    struct event *event = &events[event_count++];
    *event = (struct event){.told = told, .who = who, .lease = lease, .value = value};
    return event;
}

static void on_assign(const struct rfaas_lease_grant *grant,
                      const struct rfaas_lease_part *part, void *arg)
{
    (void)arg;
    struct event *event =
        add_event(ASSIGN, part->executor, grant->lease, part->workers);
    event->part = part->part;
    event->first = part->first;
    event->workers = part->workers;
}

static void on_withdraw(uint32_t executor, uint64_t lease, uint64_t part,
                        enum rfaas_lease_end reason, void *arg)
{
    (void)arg;
    add_event(WITHDRAW, executor, lease, reason)->part = part;
}

static void on_retire(uint32_t executor, uint64_t part, uint32_t keep, void *arg)
{
    (void)arg;
    add_event(RETIRE, executor, 0, keep)->part = part;
}

static void on_granted(const struct rfaas_lease_grant *grant, void *arg)
{
    (void)arg;
    last_part_count = grant->part_count;
    for (size_t i = 0; i < grant->part_count; i++) {
        if (i < sizeof last_parts / sizeof *last_parts)
            last_parts[i] = grant->parts[i];
    }
    struct event *event =
        add_event(GRANTED, grant->request->owner, grant->lease, grant->workers);
    event->call = grant->call;
    event->token = grant->request->token;
}

static void on_refused(uint64_t owner, uint64_t call, int status, const char *reason,
                       void *arg)
{
    (void)arg;
    struct event *event = add_event(REFUSED, owner, 0, status);
    event->call = call;
    snprintf(event->text, sizeof event->text, "%s", reason);
}

static void on_part_lost(uint64_t owner, uint64_t lease, uint32_t first,
                         uint32_t workers, void *arg)
{
    (void)arg;
    add_event(PART_LOST, owner, lease, first)->workers = workers;
}

static void on_ended(uint64_t owner, uint64_t lease, enum rfaas_lease_end reason,
                     void *arg)
{
    (void)arg;
    add_event(ENDED, owner, lease, reason);
}

void begin(void)
{
    static const struct rfaas_leases_calls recorder = {
        .assign = on_assign,
        .withdraw = on_withdraw,
        .retire = on_retire,
        .granted = on_granted,
        .refused = on_refused,
        .part_lost = on_part_lost,
        .ended = on_ended,
    };
    rfaas_leases_free(leases);
    leases = NULL;
    event_count = event_next = 0;
    now = 5 * (uint64_t)SECOND;
    CHECK_FATAL(rfaas_leases_new(&recorder, NULL, &leases) == RFAAS_OK);
}

int recorder_end(int status)
{
    rfaas_leases_free(leases);
    free(events);
    return status;
}

const struct event *next_event(void)
{
    static const struct event nothing;
    return event_next < event_count ? &events[event_next++] : &nothing;
}

size_t skip_events(void)
{
    size_t skipped = event_count - event_next;
    event_next = event_count;
    return skipped;
}

const struct event *expect(enum told told, uint64_t who, long value)
{
    const struct event *event = next_event();
    CHECK_EQUAL(event->told, told);
    CHECK_EQUAL(event->who, who);
    CHECK_EQUAL(event->value, value);
    return event;
}

void expect_nothing(void)
{
    CHECK_EQUAL(skip_events(), 0);
}

void expect_grant(uint64_t owner, uint64_t lease, uint32_t executor, long workers)
{
    CHECK_EQUAL(expect(ASSIGN, executor, workers)->lease, lease);
    CHECK_EQUAL(expect(GRANTED, owner, workers)->lease, lease);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
}

void expect_refusal(uint64_t owner, int status, const char *text)
{
    const struct event *event = expect(REFUSED, owner, status);
    if (!strstr(event->text, text)) {
        printf("\n    \"%s\" lacks \"%s\"\n", event->text, text);
        CHECK(false);
    }
}

void expect_end(uint64_t owner, uint32_t executor, enum rfaas_lease_end reason)
{
    expect(WITHDRAW, executor, reason);
    expect(ENDED, owner, reason);
}

void join(uint32_t id, uint32_t cores)
{
    struct rfaas_executor_offer offer = {
        id, cores, (uint64_t)cores << 20, {"unix:@x", "", "node", ""}};
    CHECK_EQUAL(rfaas_leases_join(leases, &offer, now), RFAAS_OK);
}

struct rfaas_lease_request want(uint64_t owner, uint32_t workers, uint64_t wait_seconds)
{
    calls++;
    return (struct rfaas_lease_request){.owner = owner,
                                        .call = calls,
                                        .token = ~calls,
                                        .workers = workers,
                                        .cores_per_worker = 1,
                                        .memory_per_worker = 1 << 20,
                                        .duration = 10 * (uint64_t)SECOND,
                                        .wait = wait_seconds * SECOND};
}

uint64_t ask(uint64_t owner, uint32_t workers, uint64_t wait_seconds)
{
    struct rfaas_lease_request request = want(owner, workers, wait_seconds);
    return rfaas_leases_request(leases, &request, now);
}

uint64_t leased(uint64_t owner, uint32_t executor, uint32_t cores, uint32_t workers)
{
    join(executor, cores);
    uint64_t lease = ask(owner, workers, 0);
    expect_grant(owner, lease, executor, workers);
    return lease;
}

int freed(uint32_t executor, uint64_t lease)
{
    int status = RFAAS_ERR_ARGUMENT;
    for (size_t i = 0; i < event_count; i++) {
        const struct event *event = &events[i];
        if (event->told == ASSIGN && event->who == executor && event->lease == lease)
            status = freed_but(executor, event->part, 0);
    }
    return status;
}

int freed_but(uint32_t executor, uint64_t part, uint32_t left)
{
    return rfaas_leases_freed(leases, executor, part, left, now);
}

void resize(uint64_t owner, uint64_t lease, uint32_t workers, uint64_t wait_seconds)
{
    const struct rfaas_lease_change change = {.lease = lease,
                                              .call = ++calls,
                                              .workers = workers,
                                              .wait = wait_seconds * SECOND};
    rfaas_leases_resize(leases, owner, &change, now);
}

long free_cores(uint32_t executor)
{
    uint32_t cores;
    uint64_t memory;
    if (rfaas_leases_free_of(leases, executor, &cores, &memory) != RFAAS_OK)
        return -1;
    CHECK_EQUAL(memory, (uint64_t)cores << 20);
    return cores;
}
