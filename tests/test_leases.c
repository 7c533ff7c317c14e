/* Requests for leases: granted, refused, waiting, placed. */
#include "lease_recorder.h"

/* ---- granted and refused ------------------------------------------------------- */

static void test_grant(void)
{
    begin();
    join(7, 4);
    expect_nothing();
    uint64_t lease = ask(ALICE, 3, 0);
    CHECK_EQUAL(expect(ASSIGN, 7, 3)->lease, lease);
    const struct event *granted = expect(GRANTED, ALICE, 3);
    CHECK_EQUAL(granted->lease, lease);
    CHECK_EQUAL(granted->call, calls);
    CHECK_EQUAL(granted->token, ~calls);
    CHECK_EQUAL(last_part_count, 1);
    CHECK_EQUAL(last_parts[0].executor, 7);
    CHECK_EQUAL(free_cores(7), 1);
}

static void test_refusal_text(void)
{
    begin();
    leased(ALICE, 1, 4, 2);
    ask(BOB, 5, 0);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES,
                   "asked for 5 workers (at least 5) of 1 core; 2 free of 4 on 1 "
                   "executor");
    struct rfaas_lease_request big = want(BOB, 1, 0);
    big.memory_per_worker = 3 << 20;
    rfaas_leases_request(leases, &big, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES,
                   "; 0 free of 1 on 1 executor, short of "
                   "memory (3145728 bytes each)");
    struct rfaas_lease_request wide = want(BOB, 1, 0);
    wide.cores_per_worker = 3;
    rfaas_leases_request(leases, &wide, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES,
                   "1 worker (at least 1) of 3 cores; 0 free of 1 on 1 executor");
    CHECK_EQUAL(free_cores(1), 2);
    expect_nothing();
}

static void test_no_executor(void)
{
    begin();
    ask(ALICE, 1, 0);
    expect_refusal(ALICE, RFAAS_ERR_NO_RESOURCES, "0 free of 0 on 0 executors");
}

static void test_min_workers(void)
{
    begin();
    leased(ALICE, 1, 4, 1);
    struct rfaas_lease_request some = want(BOB, 8, 0);
    some.min_workers = 4;
    rfaas_leases_request(leases, &some, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "8 workers (at least 4)");
    some.min_workers = 3;
    uint64_t lease = rfaas_leases_request(leases, &some, now);
    expect_grant(BOB, lease, 1, 3);
    CHECK_EQUAL(free_cores(1), 0);
}

static void refuse_bad(struct rfaas_lease_request request, const char *text)
{
    rfaas_leases_request(leases, &request, now);
    expect_refusal(BOB, RFAAS_ERR_ARGUMENT, text);
    expect_nothing();
}

static void test_bad_requests(void)
{
    begin();
    join(1, 4);
    struct rfaas_lease_request good = want(BOB, 2, 0), bad = good;
    bad.workers = 0;
    refuse_bad(bad, "no workers");
    bad = good, bad.min_workers = 3;
    refuse_bad(bad, "2 workers, but at least 3");
    bad = good, bad.cores_per_worker = 0;
    refuse_bad(bad, "without a core");
    bad = good, bad.duration = 0;
    refuse_bad(bad, "not 0 ns");
    bad = good, bad.duration = UINT64_MAX;
    refuse_bad(bad, "not 18446744073709551615 ns");
    bad = good, bad.wait = RFAAS_LEASE_TIME_MAX + 1;
    refuse_bad(bad, "waits at most");
    CHECK_EQUAL(free_cores(1), 4);
}

static void test_huge_requests(void)
{
    begin();
    join(1, 4);
    struct rfaas_lease_request huge = want(BOB, UINT32_MAX, 0);
    huge.cores_per_worker = UINT32_MAX;
    huge.memory_per_worker = UINT64_MAX;
    rfaas_leases_request(leases, &huge, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "0 free of 0 on 1 executor");
    struct rfaas_lease_request many = want(BOB, UINT32_MAX, 0);
    many.min_workers = 1;
    many.duration = RFAAS_LEASE_TIME_MAX;
    expect_grant(BOB, rfaas_leases_request(leases, &many, now), 1, 4);
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), now + RFAAS_LEASE_TIME_MAX);
}

static void test_limit(void)
{
    begin();
    for (int i = 0; i < RFAAS_LEASES_MAX; i++)
        ask(ALICE, 1, 1);
    expect_nothing();
    ask(BOB, 1, 1);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "keeps no more than 65536");
    rfaas_leases_owner_gone(leases, ALICE, now);
    CHECK_EQUAL(skip_events(), RFAAS_LEASES_MAX);
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), RFAAS_LEASES_NEVER);
}

/* ---- placement ----------------------------------------------------------------- */

static void test_smallest_gap(void)
{
    begin();
    join(1, 8);
    join(2, 2);
    join(3, 4);
    expect_grant(ALICE, ask(ALICE, 2, 0), 2, 2);
    expect_grant(ALICE, ask(ALICE, 3, 0), 3, 3);
    expect_grant(ALICE, ask(ALICE, 8, 0), 1, 8);
}

static void test_few_executors(void)
{
    begin();
    join(1, 2);
    join(2, 4);
    join(3, 2);
    join(4, 1);
    ask(ALICE, 7, 0);
    CHECK_EQUAL(last_part_count, 3);
    CHECK(last_parts[0].executor == 2 && last_parts[0].workers == 4);
    CHECK(last_parts[1].executor == 1 && last_parts[1].workers == 2);
    CHECK(last_parts[2].executor == 4 && last_parts[2].workers == 1);
    CHECK_EQUAL(free_cores(3), 2);
}

static void test_wide_workers(void)
{
    begin();
    join(1, 3);
    join(2, 5);
    struct rfaas_lease_request pairs = want(ALICE, 3, 0);
    pairs.cores_per_worker = 2;
    pairs.memory_per_worker = 2 << 20;
    rfaas_leases_request(leases, &pairs, now);
    expect(ASSIGN, 2, 2);
    expect(ASSIGN, 1, 1);
    expect(GRANTED, ALICE, 3);
    CHECK_EQUAL(free_cores(1), 1);
    CHECK_EQUAL(free_cores(2), 1);
}

/* ---- the queue ----------------------------------------------------------------- */

static void test_fair_queue(void)
{
    begin();
    uint64_t first = leased(ALICE, 1, 4, 4), ids[100];
    for (int i = 0; i < 100; i++) /* every third one wants all */
        ids[i] = ask(BOB, i % 3 == 0 ? 4 : 1, 1000);
    expect_nothing();
    rfaas_leases_release(leases, ALICE, first, now);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    freed(1, first);
    for (int i = 0; i < 100;) {
        int together = i % 3 == 0 ? 1 : 2; /* a large one waits for all to end */
        if (i + together > 100)
            together = 100 - i;
        for (int k = 0; k < together; k++)
            expect_grant(BOB, ids[i + k], 1, i % 3 == 0 ? 4 : 1);
        expect_nothing();
        for (int k = 0; k < together; k++) {
            rfaas_leases_release(leases, BOB, ids[i + k], now);
            expect_end(BOB, 1, RFAAS_LEASE_RELEASED);
            freed(1, ids[i + k]);
        }
        i += together;
    }
    CHECK_EQUAL(free_cores(1), 4);
}

static void test_no_overtaking(void)
{
    begin();
    leased(ALICE, 1, 4, 2);
    uint64_t large = ask(BOB, 3, 5);
    ask(CAROL, 1, 0);
    expect_refusal(CAROL, RFAAS_ERR_NO_RESOURCES,
                   "2 free of 4 on 1 executor, but others wait before it");
    uint64_t small = ask(CAROL, 1, 50);
    expect_nothing();
    now += 5 * (uint64_t)SECOND;
    rfaas_leases_advance(leases, now);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES,
                   "2 free of 4 on 1 executor; waited 5 s");
    expect_grant(CAROL, small, 1, 1);
    CHECK_EQUAL(rfaas_leases_state(leases, large), RFAAS_LEASE_OVER);
}

static void test_late_timer(void)
{
    begin();
    leased(ALICE, 1, 4, 2);
    ask(BOB, 3, 2);
    uint64_t small = ask(CAROL, 1, 3);
    now += 4 * (uint64_t)SECOND;
    rfaas_leases_advance(leases, now);
    expect(REFUSED, BOB, RFAAS_ERR_NO_RESOURCES);
    expect_grant(CAROL, small, 1, 1);
}

static void test_wait_runs_out(void)
{
    begin();
    leased(ALICE, 1, 1, 1);
    ask(BOB, 1, 3);
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), now + 3 * (uint64_t)SECOND);
    rfaas_leases_advance(leases, now + 3 * (uint64_t)SECOND - 1);
    expect_nothing();
    rfaas_leases_advance(leases, now + 3 * (uint64_t)SECOND);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "waited 3 s");
}

static void test_taken_back(void)
{
    begin();
    leased(ALICE, 1, 2, 1);
    ask(BOB, 2, 100);
    uint64_t large = calls;
    uint64_t small = ask(CAROL, 1, 100);
    rfaas_leases_withdraw(leases, CAROL, large, now); /* not hers */
    expect_nothing();
    rfaas_leases_withdraw(leases, BOB, large, now);
    expect_refusal(BOB, RFAAS_ERR_CANCELLED, "released");
    expect_grant(CAROL, small, 1, 1);
}

static void test_cores_coming_back(void)
{
    begin();
    uint64_t first = leased(ALICE, 1, 2, 2);
    rfaas_leases_release(leases, ALICE, first, now);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    uint64_t next = ask(BOB, 2, 0);
    expect_nothing();
    freed(1, first);
    expect_grant(BOB, next, 1, 2);
}

static void test_too_few_coming_back(void)
{
    begin();
    uint64_t first = leased(ALICE, 1, 2, 1);
    ask(CAROL, 1, 0);
    skip_events();
    rfaas_leases_release(leases, ALICE, first, now);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    ask(BOB, 2, 0);
    expect_nothing();
    freed(1, first);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "1 free of 2");
}

static void test_not_coming_back(void)
{
    begin();
    uint64_t first = leased(ALICE, 1, 2, 2);
    rfaas_leases_release(leases, ALICE, first, now);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    ask(BOB, 2, 0);
    expect_nothing();
    rfaas_leases_advance(leases, now + 2 * (uint64_t)SECOND);
    expect_refusal(BOB, RFAAS_ERR_NO_RESOURCES, "0 free of 2");
}

static void test_join_moves_queue(void)
{
    begin();
    uint64_t one = ask(ALICE, 3, 9), two = ask(BOB, 1, 9), three = ask(BOB, 2, 9);
    join(1, 2);
    expect_nothing();
    join(2, 2);
    expect(ASSIGN, 1, 2);
    expect(ASSIGN, 2, 1);
    CHECK_EQUAL(expect(GRANTED, ALICE, 3)->lease, one);
    expect_grant(BOB, two, 2, 1);
    expect_nothing();
    join(3, 2);
    expect_grant(BOB, three, 3, 2);
}

static void test_release_while_waiting(void)
{
    begin();
    leased(ALICE, 1, 2, 1);
    uint64_t large = ask(BOB, 2, 9), small = ask(CAROL, 1, 9);
    CHECK_EQUAL(rfaas_leases_release(leases, BOB, large, now), RFAAS_OK);
    expect_refusal(BOB, RFAAS_ERR_CANCELLED, "released");
    expect_grant(CAROL, small, 1, 1);
}

static const struct test tests[] = {
    {"a request that fits is granted at once, the executor told first", test_grant},
    {"a refusal says what was asked for, what is free and what exists",
     test_refusal_text},
    {"without an executor a request that doesn't wait is refused", test_no_executor},
    {"min_workers allows fewer, as many as are free", test_min_workers},
    {"bad requests are refused as such", test_bad_requests},
    {"huge numbers neither overflow nor fit", test_huge_requests},
    {"more requests than the limit are refused", test_limit},
    {"a lease goes into the smallest gap that takes it", test_smallest_gap},
    {"a lease that fits no executor is spread over as few as possible",
     test_few_executors},
    {"a worker's cores and memory are of one executor", test_wide_workers},
    {"a long queue is served in order, large requests too", test_fair_queue},
    {"nobody overtakes a request that waits", test_no_overtaking},
    {"a timer that comes late costs no second request its grant", test_late_timer},
    {"a request is refused when its wait runs out, not before", test_wait_runs_out},
    {"a request that waits can be taken back, and the queue moves", test_taken_back},
    {"who doesn't wait gets the cores that are being given back",
     test_cores_coming_back},
    {"it is refused when they have come back and are too few",
     test_too_few_coming_back},
    {"it is refused when they don't come back within 2 s", test_not_coming_back},
    {"an executor that joins moves the queue", test_join_moves_queue},
    {"a request that is taken back lets the next one in", test_release_while_waiting},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return recorder_end(test_main("leases", tests, argc, argv));
}
