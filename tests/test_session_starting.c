/* Leases that end while they start: released, or their executor or manager killed. */
#include "session_pool.h"

#include <signal.h>
#include <stdio.h>

/* A moment of a lease's way from the request to its last worker's readiness, a
 * different one in each round. */
static rfaas_lease *lease_that_starts(rfaas_session *session, int workers, int round)
{
    rfaas_lease *lease = NULL;
    CHECK_OK_FATAL(rfaas_lease_iacquire(session, workers, NULL, &lease));
    double start = seconds_now();
    while (seconds_now() - start < round * 0.0015)
        rfaas_lease_test(lease);
    return lease;
}

static void test_release_at_start(void)
{
    for (int close = 0; close < 2; close++) {
        pool_begin(2);
        for (int round = 0; round < 20; round++) {
            rfaas_session *session = session_open();
            rfaas_lease *lease = lease_that_starts(session, 2, round);
            if (!close)
                rfaas_lease_release(lease);
            rfaas_session_close(session);
        }
        rfaas_lease_release(lease_of(2, SETTINGS("wait_seconds=10")));
        pool_end();
    }
}

/* That it comes to an end, with one of these. */
static void check_lease_fails(rfaas_lease *lease, const int expected[], int count)
{
    int status, found = 0;
    double start = seconds_now();
    while ((status = rfaas_lease_test(lease)) >= 0 && patient(start, LOSS_SECONDS))
        continue;
    for (int i = 0; i < count; i++)
        found += status == expected[i];
    if (found != 1)
        printf("\n    %d: %s", status, rfaas_last_error());
    CHECK_EQUAL(found, 1);
    CHECK(rfaas_last_error()[0] != '\0');
    rfaas_lease_release(lease);
}

static void test_kill_executor_at_start(void)
{
    static const int expected[] = {RFAAS_ERR_NO_RESOURCES, RFAAS_ERR_WORKER_LOST,
                                   RFAAS_ERR_LEASE_REVOKED};
    for (int round = 0; round < 10; round++) {
        pool_begin(3);
        rfaas_lease *lease = lease_that_starts(pool.session, 3, round);
        CHECK_EQUAL(kill(pool.executors[0], SIGKILL), 0);
        check_lease_fails(lease, expected, 3);
        pool_end();
    }
}

static void test_kill_manager_at_start(void)
{
    /* Its executor goes with it, which may be seen first. */
    static const int expected[] = {RFAAS_ERR_MANAGER, RFAAS_ERR_LEASE_REVOKED,
                                   RFAAS_ERR_WORKER_LOST};
    for (int round = 0; round < 10; round++) {
        pid_t manager_pid;
        pool_begin_with_program(2, &manager_pid);
        rfaas_lease *lease = lease_that_starts(pool.session, 2, round);
        CHECK_EQUAL(kill(manager_pid, SIGKILL), 0);
        check_lease_fails(lease, expected, 3);
        pool_end();
    }
}

static const struct test tests[] = {
    {"a lease released while it starts leaves nothing", test_release_at_start},
    {"an executor killed while a lease starts ends it", test_kill_executor_at_start},
    {"a manager killed while a lease starts ends it", test_kill_manager_at_start},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: starting", tests, argc, argv);
}
