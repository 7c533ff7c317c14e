/* Leases that grow and shrink, and executors that are drained. */
#include "lease_recorder.h"

static void expect_part(uint64_t executor, uint64_t lease, uint32_t first,
                        uint32_t workers)
{
    const struct event *assigned = expect(ASSIGN, executor, workers);
    CHECK_EQUAL(assigned->lease, lease);
    CHECK_EQUAL(assigned->first, first);
}

/* The answer to the last change. */
static void expect_size(uint64_t owner, uint64_t lease, long workers)
{
    const struct event *granted = expect(GRANTED, owner, workers);
    CHECK_EQUAL(granted->lease, lease);
    CHECK_EQUAL(granted->call, calls);
}

/* ---- growing ------------------------------------------------------------------- */

static void test_grow(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2);
    resize(ALICE, lease, 3, 0);
    expect_part(1, lease, 2, 1);
    expect_size(ALICE, lease, 3);
    CHECK_EQUAL(free_cores(1), 1);
    join(2, 4);
    resize(ALICE, lease, 7, 0);
    expect_part(2, lease, 3, 4);
    expect_size(ALICE, lease, 7);
    resize(ALICE, lease, 7, 0); /* as it is */
    expect_size(ALICE, lease, 7);
    rfaas_leases_release(leases, ALICE, lease, now);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(next_event()->told, WITHDRAW);
    expect(ENDED, ALICE, RFAAS_LEASE_RELEASED);
    freed(1, lease);
    freed(2, lease);
    CHECK_EQUAL(free_cores(1), 4);
    CHECK_EQUAL(free_cores(2), 4);
    expect_nothing();
}

static void test_no_room(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2);
    resize(ALICE, lease, 5, 0);
    expect_refusal(ALICE, RFAAS_ERR_NO_RESOURCES, "asked for 3 workers (at least 3)");
    CHECK_EQUAL(free_cores(1), 2);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
    struct rfaas_lease_change some = {lease, ++calls, 5, 4, 0};
    rfaas_leases_resize(leases, ALICE, &some, now);
    expect_part(1, lease, 2, 2);
    expect_size(ALICE, lease, 4);
    some = (struct rfaas_lease_change){lease, ++calls, 9, 3, 0}; /* it has as many */
    rfaas_leases_resize(leases, ALICE, &some, now);
    expect_size(ALICE, lease, 4);
    expect_nothing();
}

static void test_growth_waits_its_turn(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2), large = ask(BOB, 3, 5);
    resize(ALICE, lease, 3, 3);
    uint64_t small = ask(CAROL, 1, 9);
    expect_nothing(); /* there is room for it, but Bob was first */
    resize(ALICE, lease, 4, 3);
    expect_refusal(ALICE, RFAAS_ERR_ARGUMENT, "resized already");
    now += 3 * (uint64_t)SECOND;
    rfaas_leases_advance(leases, now);
    expect_refusal(ALICE, RFAAS_ERR_NO_RESOURCES, "others wait before it");
    resize(ALICE, lease, 3, 9);
    now += 2 * (uint64_t)SECOND;
    rfaas_leases_advance(leases, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "asked for 3");
    expect_grant(CAROL, small, 1, 1);
    expect_part(1, lease, 2, 1);
    expect_size(ALICE, lease, 3);
    CHECK_EQUAL(rfaas_leases_state(leases, large), RFAAS_LEASE_OVER);
    expect_nothing();
}

static void test_lease_ends_while_growing(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    resize(ALICE, lease, 3, 60);
    expect_nothing();
    uint64_t next = ask(BOB, 1, 60);
    rfaas_leases_release(leases, ALICE, lease, now);
    expect_refusal(ALICE, RFAAS_ERR_CANCELLED, "has ended");
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    freed(1, lease);
    expect_grant(BOB, next, 1, 1);
    resize(ALICE, lease, 1, 0);
    expect_refusal(ALICE, RFAAS_ERR_LEASE_RELEASED, "is over");
}

/* ---- shrinking ----------------------------------------------------------------- */

static void test_shrink(void)
{
    begin();
    join(1, 2);
    join(2, 3);
    uint64_t lease = ask(ALICE, 5, 0); /* 0-2 on the second, 3-4 on the first */
    expect_part(2, lease, 0, 3);
    expect_part(1, lease, 3, 2);
    expect(GRANTED, ALICE, 5);
    resize(ALICE, lease, 2, 0);
    uint64_t first = expect(RETIRE, 2, 2)->part, second = expect(RETIRE, 1, 0)->part;
    expect_size(ALICE, lease, 2);
    CHECK_EQUAL(free_cores(1) + free_cores(2), 0); /* their processes still run */
    resize(ALICE, lease, 1, 0);
    CHECK_EQUAL(expect(RETIRE, 2, 1)->part, first);
    expect_size(ALICE, lease, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(freed_but(2, first, 2), RFAAS_OK);
        CHECK_EQUAL(free_cores(2), 1);
        CHECK_EQUAL(freed_but(1, second, 0), RFAAS_OK);
        CHECK_EQUAL(free_cores(1), 2);
    }
    freed_but(2, first, 1);
    CHECK_EQUAL(free_cores(2), 2);
    expect_nothing();
    rfaas_leases_release(leases, ALICE, lease, now);
    expect_end(ALICE, 2, RFAAS_LEASE_RELEASED);
    freed_but(2, first, 0);
    CHECK_EQUAL(free_cores(2), 3);
}

static void test_shrunk_cores_go_to_who_waits(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2), next = ask(BOB, 1, 9);
    resize(ALICE, lease, 1, 0);
    uint64_t part = expect(RETIRE, 1, 1)->part;
    expect_size(ALICE, lease, 1);
    resize(ALICE, lease, 2, 0); /* too late; it waits for cores that come back */
    freed_but(1, part, 1);
    expect_grant(BOB, next, 1, 1);
    expect_refusal(ALICE, RFAAS_ERR_NO_RESOURCES, "asked for 1 worker");
    expect_nothing();
}

static void test_shrunk_and_grown(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    resize(ALICE, lease, 1, 0);
    uint64_t part = expect(RETIRE, 1, 1)->part;
    expect_size(ALICE, lease, 1);
    resize(ALICE, lease, 2, 0);
    expect_nothing(); /* the core is coming back */
    freed_but(1, part, 1);
    expect_part(1, lease, 1, 1);
    expect_size(ALICE, lease, 2);
    CHECK_EQUAL(free_cores(1), 0);
    rfaas_leases_leave(leases, 1, now);
    expect(PART_LOST, ALICE, 0);
    expect(PART_LOST, ALICE, 1);
    expect(ENDED, ALICE, RFAAS_LEASE_REVOKED);
    expect_nothing();
}

static void test_only_lost_ones_stay(void)
{
    begin();
    join(1, 2);
    join(2, 1);
    uint64_t lease = ask(ALICE, 3, 0);
    skip_events();
    rfaas_leases_leave(leases, 1, now); /* 0 and 1 */
    CHECK_EQUAL(expect(PART_LOST, ALICE, 0)->workers, 2);
    resize(ALICE, lease, 2, 0);
    expect(RETIRE, 2, 0);
    expect_size(ALICE, lease, 2);
    expect_nothing(); /* it may be at something still */
    freed(2, lease);
    expect(ENDED, ALICE, RFAAS_LEASE_REVOKED);
    expect_nothing();
}

static void test_bad_changes(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2), waiting = ask(BOB, 2, 9);
    resize(ALICE, lease, 0, 0);
    expect_refusal(ALICE, RFAAS_ERR_ARGUMENT, "no workers");
    struct rfaas_lease_change bad = {lease, ++calls, 2, 3, 0};
    rfaas_leases_resize(leases, ALICE, &bad, now);
    expect_refusal(ALICE, RFAAS_ERR_ARGUMENT, "2 workers, but at least 3");
    bad = (struct rfaas_lease_change){lease, ++calls, 3, 0, RFAAS_LEASE_TIME_MAX + 1};
    rfaas_leases_resize(leases, ALICE, &bad, now);
    expect_refusal(ALICE, RFAAS_ERR_ARGUMENT, "waits at most");
    resize(BOB, lease, 1, 0);
    expect_refusal(BOB, RFAAS_ERR_ARGUMENT, "not the client's");
    resize(BOB, waiting, 1, 0);
    expect_refusal(BOB, RFAAS_ERR_ARGUMENT, "not the client's");
    expect_nothing();
}

/* ---- draining ------------------------------------------------------------------ */

static void test_drain_moves(void)
{
    begin();
    join(1, 2);
    uint64_t lease = ask(ALICE, 2, 0);
    skip_events();
    join(2, 4);
    rfaas_leases_drain(leases, 1, now);
    expect_part(2, lease, 0, 2);
    CHECK_EQUAL(expect(GRANTED, ALICE, 2)->call, 0);
    ask(BOB, 3, 0); /* 2 are free: the drained one's don't count, even later */
    expect_nothing();
    freed(1, lease);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "2 free of 4 on 1 executor");
    rfaas_leases_leave(leases, 1, now);
    rfaas_leases_drain(leases, 1, now); /* it isn't there any more */
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
}

static void test_drain_without_room(void)
{
    begin();
    join(1, 3);
    uint64_t lease = ask(ALICE, 3, 0);
    skip_events();
    join(2, 1);
    rfaas_leases_drain(leases, 1, now);
    expect_part(2, lease, 0, 1);
    expect(GRANTED, ALICE, 3);
    expect_nothing(); /* what runs goes on */
    freed(1, lease);
    CHECK_EQUAL(expect(PART_LOST, ALICE, 1)->workers, 2);
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
}

static void test_drain_of_the_only_one(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    rfaas_leases_drain(leases, 1, now);
    expect_nothing();
    now += 5 * (uint64_t)SECOND;
    rfaas_leases_advance(leases, now);
    expect(PART_LOST, ALICE, 0);
    expect_nothing(); /* what runs goes on */
    rfaas_leases_leave(leases, 1, now);
    expect(ENDED, ALICE, RFAAS_LEASE_REVOKED);
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_OVER);
    leased(ALICE, 2, 2, 2);
}

static void test_moves_come_first(void)
{
    begin();
    join(1, 2);
    struct rfaas_lease_request patient = want(ALICE, 2, 20);
    uint64_t lease = rfaas_leases_request(leases, &patient, now);
    uint64_t next = ask(BOB, 1, 60);
    skip_events();
    rfaas_leases_drain(leases, 1, now);
    freed(1, lease);
    expect_nothing(); /* it waits for as long as it would have waited at first */
    join(2, 1);
    expect_part(2, lease, 0, 1);
    CHECK_EQUAL(expect(GRANTED, ALICE, 2)->call, 0);
    expect_nothing();
    resize(ALICE, lease, 1, 0); /* nothing has to move any more */
    expect_size(ALICE, lease, 1);
    join(3, 1);
    expect_grant(BOB, next, 3, 1);
    expect_nothing();
}

/* ---- what there is ------------------------------------------------------------- */

static void check_stats(uint32_t executors, uint64_t cores, uint64_t in_use,
                        uint32_t queued)
{
    struct rfaas_leases_stats stats = rfaas_leases_stats(leases);
    CHECK_EQUAL(stats.executors, executors);
    CHECK_EQUAL(stats.cores, cores);
    CHECK_EQUAL(stats.leased, in_use);
    CHECK_EQUAL(stats.queued, queued);
}

static void test_stats(void)
{
    begin();
    check_stats(0, 0, 0, 0);
    uint64_t lease = leased(ALICE, 1, 4, 3);
    join(2, 2);
    ask(BOB, 9, 60);
    resize(ALICE, lease, 9, 60);
    check_stats(2, 6, 3, 2);
    rfaas_leases_drain(leases, 2, now);
    check_stats(1, 4, 3, 2);
    rfaas_leases_release(leases, ALICE, lease, now);
    check_stats(1, 4, 3, 1);
    freed(1, lease);
    check_stats(1, 4, 0, 1);
}

static const struct test tests[] = {
    {"a lease grows by the next numbers, wherever there is room", test_grow},
    {"without room it stays as it is, or gets what it is content with", test_no_room},
    {"growth waits its turn, and overtakes nobody", test_growth_waits_its_turn},
    {"a lease that ends doesn't grow any more", test_lease_ends_while_growing},
    {"the highest numbers retire, and are credited once", test_shrink},
    {"cores given back go to who waited first", test_shrunk_cores_go_to_who_waits},
    {"what shrinks can grow again at once", test_shrunk_and_grown},
    {"a lease of which only lost workers stay ends", test_only_lost_ones_stay},
    {"bad changes are refused", test_bad_changes},
    {"a drained executor's workers get successors elsewhere", test_drain_moves},
    {"those for whom there is no room are lost when they have finished",
     test_drain_without_room},
    {"a lease ends with its only executor", test_drain_of_the_only_one},
    {"who has to move comes before who waits", test_moves_come_first},
    {"what there is and who waits can be asked", test_stats},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return recorder_end(test_main("lease resizes", tests, argc, argv));
}
