/* How leases end, and when their cores come back. */
#include "lease_recorder.h"

/* ---- the ends of a lease ------------------------------------------------------- */

static void test_release(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    CHECK_EQUAL(rfaas_leases_release(leases, ALICE, lease, now), RFAAS_OK);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ENDING);
    CHECK_EQUAL(free_cores(1), 0); /* its processes still run */
    CHECK_EQUAL(freed(1, lease), RFAAS_OK);
    CHECK_EQUAL(free_cores(1), 2);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_OVER);
    expect_nothing();
}

static void test_credit_once(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2), other = ask(BOB, 1, 0);
    expect_grant(BOB, other, 1, 1);
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(rfaas_leases_release(leases, ALICE, lease, now), RFAAS_OK);
    expect_end(ALICE, 1, RFAAS_LEASE_RELEASED);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(freed(1, lease), RFAAS_OK);
        CHECK_EQUAL(free_cores(1), 3);
    }
    CHECK_EQUAL(rfaas_leases_release(leases, ALICE, lease, now), RFAAS_OK);
    expect_nothing();
}

static void test_release_after_expiry(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    now += 10 * (uint64_t)SECOND;
    CHECK_EQUAL(rfaas_leases_release(leases, ALICE, lease, now), RFAAS_OK);
    expect_end(ALICE, 1, RFAAS_LEASE_EXPIRED);
    expect_nothing();
    freed(1, lease);
    CHECK_EQUAL(free_cores(1), 2);
}

static void test_ending_keeps_others_waiting(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2), next = ask(BOB, 2, 60);
    rfaas_leases_advance(leases, now + 10 * (uint64_t)SECOND);
    expect_end(ALICE, 1, RFAAS_LEASE_EXPIRED);
    expect_nothing();
    freed(1, lease);
    expect_grant(BOB, next, 1, 2);
}

static void test_foreign_release(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    CHECK_EQUAL(rfaas_leases_release(leases, BOB, lease, now), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_leases_release(leases, BOB, 0, now), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_leases_release(leases, BOB, lease + 1, now), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_leases_renew(leases, BOB, lease, SECOND, now),
                RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
    expect_nothing();
}

static void test_renewal(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2);
    now += 10 * (uint64_t)SECOND - 1;
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now), RFAAS_OK);
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), now + SECOND);
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, 0, now), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, UINT64_MAX, now),
                RFAAS_ERR_ARGUMENT);
    now += SECOND - 1;
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now), RFAAS_OK);
    expect_nothing();
    now += SECOND; /* the edge: too late, whether the timer has come or not */
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now),
                RFAAS_ERR_LEASE_EXPIRED);
    expect_end(ALICE, 1, RFAAS_LEASE_EXPIRED);
    freed(1, lease);
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now),
                RFAAS_ERR_LEASE_RELEASED); /* forgotten: over, whatever ended it */
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_OVER);
    expect_nothing();
}

static void test_renewal_of_ended(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 2, 2), waiting = ask(ALICE, 1, 5);
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, waiting, SECOND, now),
                RFAAS_ERR_ARGUMENT);
    rfaas_leases_release(leases, ALICE, lease, now);
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now),
                RFAAS_ERR_LEASE_RELEASED);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ENDING);
}

static void test_deadline_order(void)
{
    static const unsigned char seconds[] = {9, 3, 7, 3, 1, 8};
    begin();
    join(1, 6);
    for (int i = 0; i < 6; i++) {
        struct rfaas_lease_request request = want(ALICE, 1, 0);
        request.duration = seconds[i] * (uint64_t)SECOND;
        expect_grant(ALICE, rfaas_leases_request(leases, &request, now), 1, 1);
    }
    uint64_t start = now, ends[] = {1, 3, 7, 8, 9};
    for (int i = 0; i < 5; i++) {
        now = rfaas_leases_next_deadline(leases);
        CHECK_EQUAL((now - start) / SECOND, ends[i]);
        rfaas_leases_advance(leases, now);
    }
    CHECK_EQUAL(skip_events(), 12);
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), RFAAS_LEASES_NEVER);
}

static void test_owner_gone(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2);
    ask(ALICE, 4, 9);
    uint64_t next = ask(BOB, 2, 9);
    rfaas_leases_owner_gone(leases, ALICE, now);
    expect_end(ALICE, 1, RFAAS_LEASE_CLIENT_LOST);
    expect_refusal(ALICE, RFAAS_ERR_CANCELLED, "gone");
    expect_grant(BOB, next, 1, 2);
    CHECK_EQUAL(free_cores(1), 0);
    freed(1, lease);
    CHECK_EQUAL(free_cores(1), 2);
    rfaas_leases_owner_gone(leases, ALICE, now);
    expect_nothing();
}

static void test_owner_gone_when_due(void)
{
    begin();
    leased(BOB, 1, 4, 2);
    ask(CAROL, 4, 1);
    ask(ALICE, 2, 9); /* would be the first in the queue now */
    now += SECOND;
    rfaas_leases_owner_gone(leases, ALICE, now);
    expect_refusal(ALICE, RFAAS_ERR_CANCELLED, "gone");
    expect_refusal(CAROL, RFAAS_ERR_NO_RESOURCES, "2 free of 4");
    expect_nothing();
}

static void test_stop(void)
{
    begin();
    uint64_t lease = leased(ALICE, 1, 4, 2);
    ask(BOB, 4, 9);
    ask(CAROL, 1, 9);
    rfaas_leases_stop(leases);
    expect_end(ALICE, 1, RFAAS_LEASE_REVOKED);
    expect_refusal(BOB, RFAAS_ERR_MANAGER, "stops");
    expect_refusal(CAROL, RFAAS_ERR_MANAGER, "stops");
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_renew(leases, ALICE, lease, SECOND, now),
                RFAAS_ERR_LEASE_REVOKED);
}

static void test_ids(void)
{
    begin();
    join(1, 1);
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t lease = ask(ALICE, 1, 0);
        CHECK(lease > last);
        last = lease;
        if (i % 2)
            continue;
        rfaas_leases_release(leases, ALICE, lease, now);
        freed(1, lease);
        ask(BOB, 2, 0); /* refused */
    }
}

/* ---- executors go -------------------------------------------------------------- */

static void test_part_lost(void)
{
    begin();
    join(1, 2);
    join(2, 2);
    uint64_t lease = ask(ALICE, 4, 0);
    skip_events();
    rfaas_leases_leave(leases, 1, now);
    const struct event *lost = expect(PART_LOST, ALICE, 0);
    CHECK(lost->lease == lease && lost->workers == 2);
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ACTIVE);
    CHECK_EQUAL(free_cores(1), -1);
    rfaas_leases_leave(leases, 2, now);
    expect(PART_LOST, ALICE, 2);
    expect(ENDED, ALICE, RFAAS_LEASE_REVOKED);
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_OVER);
    CHECK_EQUAL(rfaas_leases_release(leases, ALICE, lease, now), RFAAS_OK);
    rfaas_leases_leave(leases, 2, now);
    expect_nothing();
}

static void test_leave_while_ending(void)
{
    begin();
    join(1, 2);
    join(2, 2);
    uint64_t lease = ask(ALICE, 4, 0);
    rfaas_leases_release(leases, ALICE, lease, now);
    skip_events();
    freed(2, lease);
    CHECK_EQUAL(free_cores(2), 2);
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_ENDING);
    rfaas_leases_leave(leases, 1, now);
    expect_nothing(); /* the owner knows already that it has ended */
    CHECK_EQUAL(rfaas_leases_state(leases, lease), RFAAS_LEASE_OVER);
    CHECK_EQUAL(freed(2, lease), RFAAS_OK);
    CHECK_EQUAL(free_cores(2), 2);
    CHECK_EQUAL(freed(1, lease), RFAAS_ERR_ARGUMENT);
}

static void test_leave_when_due(void)
{
    begin();
    leased(BOB, 1, 4, 2);
    ask(CAROL, 4, 1);
    uint64_t next = ask(ALICE, 2, 9); /* would be the first in the queue now */
    now += SECOND;
    rfaas_leases_leave(leases, 1, now);
    expect(PART_LOST, BOB, 0);
    expect(ENDED, BOB, RFAAS_LEASE_REVOKED);
    expect_refusal(CAROL, RFAAS_ERR_NO_RESOURCES, "0 free of 0 on 0 executors");
    expect_nothing();
    CHECK_EQUAL(rfaas_leases_state(leases, next), RFAAS_LEASE_REQUESTED);
}

static void test_part_given_up(void)
{
    begin();
    join(1, 2);
    join(2, 2);
    uint64_t lease = ask(ALICE, 4, 0), next = ask(BOB, 2, 9);
    skip_events();
    freed(2, lease);
    expect(PART_LOST, ALICE, 2);
    expect_grant(BOB, next, 2, 2);
    freed(2, lease); /* not Bob's */
    CHECK_EQUAL(free_cores(2), 0);
    freed(1, lease);
    expect(PART_LOST, ALICE, 0);
    expect(ENDED, ALICE, RFAAS_LEASE_REVOKED);
    CHECK_EQUAL(free_cores(1), 2);
}

static void test_bad_executors(void)
{
    begin();
    join(1, 2);
    struct rfaas_executor_offer offer = {1, 2, 0, {"unix:@x", "", "node", ""}};
    CHECK_EQUAL(rfaas_leases_join(leases, &offer, now), RFAAS_ERR_ARGUMENT);
    offer = (struct rfaas_executor_offer){2, 0, 0, {"unix:@x", "", "node", ""}};
    CHECK_EQUAL(rfaas_leases_join(leases, &offer, now), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(freed_but(1, 0, 0), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(freed_but(1, 99, 0), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(freed_but(9, 1, 0), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(free_cores(1), 2);
    expect_nothing();
}

static const struct test tests[] = {
    {"cores come back when the executor says so, not on release", test_release},
    {"cores are credited once however often a lease is released and freed",
     test_credit_once},
    {"a release after the expiry ends nothing again", test_release_after_expiry},
    {"cores of a lease that is ending are not granted",
     test_ending_keeps_others_waiting},
    {"nobody else can release or renew a lease", test_foreign_release},
    {"a lease can be renewed until its last nanosecond", test_renewal},
    {"what is not active can't be renewed", test_renewal_of_ended},
    {"leases end in the order of their deadlines", test_deadline_order},
    {"the leases and requests of a client that goes end", test_owner_gone},
    {"nothing is granted to a client that goes", test_owner_gone_when_due},
    {"a manager that stops revokes leases and refuses who wait", test_stop},
    {"lease numbers are never used again", test_ids},
    {"an executor that goes takes its part, the last one the lease", test_part_lost},
    {"an executor that goes while a lease is ending credits nothing twice",
     test_leave_while_ending},
    {"nothing is granted on an executor that goes", test_leave_when_due},
    {"a part that its executor frees by itself is lost to its owner",
     test_part_given_up},
    {"executors without cores, twice the same or unknown are refused",
     test_bad_executors},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return recorder_end(test_main("lease ends", tests, argc, argv));
}
