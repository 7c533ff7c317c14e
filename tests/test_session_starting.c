/* Leases that end while they start: released, or their executor or manager killed; and
 * workers that don't get ready. */
#include "session_pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- workers that don't get ready ------------------------------------------------ */

static char starts[64]; /* a file with a byte for each */

/* What the first `count` workers do when they load the library. */
static void begin_with_starts(const char *what, int count)
{
    char variable[128];
    snprintf(starts, sizeof starts, "/tmp/rfaas-starts.XXXXXX");
    int fd = mkstemp(starts);
    CHECK_FATAL(fd >= 0);
    close(fd);
    snprintf(variable, sizeof variable, "%s %d %s", what, count, starts);
    setenv("RFAAS_TEST_STARTS", variable, 1);
    pool_begin(1);
    unsetenv("RFAAS_TEST_STARTS");
}

static void end_with_starts(int count)
{
    struct stat st = {0};
    CHECK_EQUAL(stat(starts, &st), 0);
    CHECK_EQUAL(st.st_size, count);
    unlink(starts);
    pool_end();
}

static void test_crashes_at_start(void)
{
    begin_with_starts("abort", 2);
    rfaas_function *increment = function_of("increment");
    rfaas_lease *lease = lease_of(1, NULL);
    CHECK(increments(increment, lease, 0, 1));
    end_with_starts(3);
}

/* Three times in a row; the lease, without a worker, is none, and its core is free. */
static void test_no_start(void)
{
    rfaas_lease *lease = NULL;
    begin_with_starts("abort", 3);
    rfaas_function *increment = function_of("increment");
    double start = seconds_now();
    CHECK_STATUS(rfaas_lease_acquire(pool.session, 1, NULL, &lease),
                 RFAAS_ERR_WORKER_LOST, "Aborted");
    CHECK(seconds_now() - start < LOSS_SECONDS);
    CHECK(lease == NULL);
    lease = lease_of(1, NULL);
    CHECK(increments(increment, lease, 0, 1));
    end_with_starts(4);
}

/* The limit is 10 seconds. */
static void test_hangs_at_start(void)
{
    begin_with_starts("hang", 1);
    rfaas_function *increment = function_of("increment");
    double start = seconds_now();
    rfaas_lease *lease = lease_of(1, NULL);
    double took = seconds_now() - start;
    CHECK(took >= 10 && took < 10 + LOSS_SECONDS);
    CHECK(increments(increment, lease, 0, 1));
    end_with_starts(2);
}

static const struct test tests[] = {
    {"a lease released while it starts leaves nothing", test_release_at_start},
    {"an executor killed while a lease starts ends it", test_kill_executor_at_start},
    {"a manager killed while a lease starts ends it", test_kill_manager_at_start},
    {"a worker that crashes as it starts is started again", test_crashes_at_start},
    {"a worker that never starts is given up", test_no_start},
    {"a worker that hangs as it starts is replaced", test_hangs_at_start},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: starting", tests, argc, argv);
}
