/* Leases of a client: granted, refused, waited for, renewed, given back. */
#include "session_pool.h"

#include <signal.h>
#include <string.h>

/* ---- more than there are --------------------------------------------------------- */

static void check_refused(int workers, const char *const settings[], double at_least,
                          double at_most)
{
    rfaas_lease *lease = NULL;
    double start = seconds_now();
    CHECK_STATUS(rfaas_lease_acquire(pool.session, workers, settings, &lease),
                 RFAAS_ERR_NO_RESOURCES, "");
    double took = seconds_now() - start;
    CHECK(lease == NULL);
    CHECK(rfaas_last_error()[0] != '\0');
    CHECK(took >= at_least && took < at_most);
}

static void test_too_many(void)
{
    pool_begin(2);
    check_refused(3, NULL, 0, 5);
    check_refused(3, SETTINGS("wait_seconds=0.3"), 0.3, 10);
    check_refused(9, SETTINGS("min_workers=3"), 0, 5);
    check_refused(9, SETTINGS("min_workers=3", "wait_seconds=0.2"), 0.2, 10);
    check_refused(2, SETTINGS("cores_per_worker=2"), 0, 5);
    check_refused(1, SETTINGS("cores_per_worker=3"), 0, 5);
    check_refused(1, SETTINGS("memory_per_worker=1024G"), 0, 5);
    rfaas_lease *one = lease_of(1, NULL);
    check_refused(2, NULL, 0, 5);
    rfaas_lease_release(one);
    pool_end();
}

static void test_fewer(void)
{
    pool_begin(2);
    rfaas_function *increment = function_of("increment");
    rfaas_lease *lease = lease_of(5, SETTINGS("min_workers=1"));
    CHECK_EQUAL(rfaas_lease_workers(lease), 2);
    CHECK(increments(increment, lease, 0, 1) && increments(increment, lease, 1, 2));
    rfaas_lease_release(lease);
    lease = lease_of(1, SETTINGS("cores_per_worker=2"));
    CHECK(increments(increment, lease, 0, 1));
    check_refused(1, NULL, 0, 5); /* it has both cores */
    pool_end();
}

/* ---- waiting --------------------------------------------------------------------- */

/* Tests the lease until it is no longer being acquired. */
static int await_lease(rfaas_lease *lease)
{
    int status;
    double start = seconds_now();
    while ((status = rfaas_lease_test(lease)) == RFAAS_IN_PROGRESS)
        if (!patient(start, PATIENCE_SECONDS))
            break;
    return status;
}

/* Whether it is still being acquired after a while. */
static bool still_waits(rfaas_lease *lease)
{
    double start = seconds_now();
    while (rfaas_lease_test(lease) == RFAAS_IN_PROGRESS)
        if (!patient(start, 0.1))
            return true;
    return false;
}

static void test_waiting(void)
{
    rfaas_lease *second = NULL, *third = NULL;
    pool_begin(2);
    rfaas_function *increment = function_of("increment");
    rfaas_lease *first = lease_of(2, NULL);
    const char *const *settings = SETTINGS("wait_seconds=60");
    CHECK_OK_FATAL(rfaas_lease_iacquire(pool.session, 2, settings, &second));
    CHECK_OK_FATAL(rfaas_lease_iacquire(pool.session, 1, settings, &third));
    CHECK(still_waits(second) && still_waits(third));
    CHECK(increments(increment, first, 1, 1));
    rfaas_lease_release(first);
    CHECK_EQUAL(await_lease(second), RFAAS_OK);
    CHECK(still_waits(third)); /* in order */
    CHECK(increments(increment, second, 1, 2));
    rfaas_lease_release(second);
    CHECK_EQUAL(await_lease(third), RFAAS_OK);
    CHECK(increments(increment, third, 0, 3));
    rfaas_lease_release(third);
    pool_end();
}

/* A lease that isn't wanted any more keeps nobody waiting. */
static void test_release_while_waiting(void)
{
    rfaas_lease *waiting = NULL;
    pool_begin(2);
    rfaas_lease *first = lease_of(1, NULL);
    CHECK_OK_FATAL(
        rfaas_lease_iacquire(pool.session, 2, SETTINGS("wait_seconds=60"), &waiting));
    CHECK(still_waits(waiting));
    CHECK_STATUS(rfaas_lease_renew(waiting, 1), RFAAS_ERR_ARGUMENT, "isn't granted");
    rfaas_lease_release(waiting);
    rfaas_lease *second = lease_of(1, SETTINGS("wait_seconds=1"));
    rfaas_lease_release(second);
    rfaas_lease_release(first);
    rfaas_lease_release(lease_of(2, NULL));
    pool_end();
}

static void test_close_while_waiting(void)
{
    rfaas_lease *waiting = NULL;
    pool_begin(1);
    rfaas_session *other = session_open();
    rfaas_lease *first = lease_of(1, NULL);
    CHECK_OK_FATAL(
        rfaas_lease_iacquire(other, 1, SETTINGS("wait_seconds=60"), &waiting));
    rfaas_session_close(other);
    rfaas_lease_release(first);
    rfaas_lease_release(lease_of(1, NULL));
    pool_end();
}

/* ---- time ------------------------------------------------------------------------ */

/* As long as invocations end, however many there always are; and when there is none. */
static void test_renewal(void)
{
    static struct batch batch;
    pool_begin(3);
    rfaas_function *increment = function_of("increment"), *work = function_of("work");
    rfaas_lease *busy = lease_of(1, SETTINGS("lease_seconds=1"));
    rfaas_lease *idle = lease_of(1, SETTINGS("lease_seconds=1"));
    rfaas_lease *shorter = lease_of(1, NULL);
    CHECK_OK(rfaas_lease_renew(shorter, 0.5));
    batch.count = 0;
    batch_add(&batch, busy, 0, work, 30, 100000); /* 3 seconds */
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, 30, 0), 30);
    CHECK_OK(rfaas_lease_test(idle));
    CHECK(increments(increment, busy, 0, 1));
    CHECK(increments(increment, idle, 0, 2));
    CHECK(increments(increment, shorter, 0, 3));
    CHECK_OK(rfaas_lease_renew(idle, 600));
    pool_end();
}

/* ---- giving back ----------------------------------------------------------------- */

static void test_again_and_again(void)
{
    pool_begin(2);
    rfaas_function *increment = function_of("increment");
    for (int32_t i = 0; i < 50; i++) {
        rfaas_lease *lease = lease_of(2, NULL); /* without waiting */
        CHECK_EQUAL(rfaas_lease_workers(lease), 2);
        CHECK(increments(increment, lease, i % 2, i));
        rfaas_lease_release(lease);
    }
    pool_end();
}

/* By the lease's release, by the session's end, and by both. */
static void test_credit_once(void)
{
    pool_begin(2);
    for (int i = 0; i < 3; i++) {
        rfaas_session *other = session_open();
        rfaas_lease *released = NULL, *left = NULL;
        CHECK_OK_FATAL(rfaas_lease_acquire(other, 1, NULL, &released));
        CHECK_OK_FATAL(rfaas_lease_acquire(other, 1, NULL, &left));
        rfaas_lease_release(released);
        rfaas_session_close(other);
        rfaas_lease *both = lease_of(2, SETTINGS("wait_seconds=10"));
        check_refused(1, NULL, 0, 5);
        rfaas_lease_release(both);
    }
    pool_end();
}

/* What is outstanding ends, and the worker with it, before the call returns. */
static void check_outstanding(bool close)
{
    static struct batch batch;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=4"));
    rfaas_function *work = function_of("work");
    pid_t pid = worker_pid(lease, 0);
    batch.count = 0;
    batch_add(&batch, lease, 0, work, 64, 1000000);
    double start = seconds_now();
    if (close)
        session_end(); /* requests go along */
    else
        rfaas_lease_release(lease);
    CHECK(process_ends(pid, 0));
    if (!close) {
        CHECK(batch_wait(&batch, 0));
        CHECK_EQUAL(batch_count(&batch, 0, 64, RFAAS_ERR_LEASE_RELEASED), 64);
        CHECK(strstr(batch.texts[0], "released") &&
              strstr(batch.texts[63], "released"));
        rfaas_lease_release(lease_of(1, NULL));
    }
    CHECK(seconds_now() - start < LOSS_SECONDS);
    pool_end();
}

static void test_release_outstanding(void)
{
    check_outstanding(false);
}

static void test_close_outstanding(void)
{
    check_outstanding(true);
}

static void test_two_clients(void)
{
    rfaas_lease *mine, *theirs = NULL;
    pool_begin(2);
    rfaas_session *other = session_open();
    rfaas_function *increment = function_of("increment"), *foreign;
    CHECK_OK_FATAL(rfaas_function_load(other, functions_path(), "increment", &foreign));
    mine = lease_of(1, NULL);
    CHECK_OK_FATAL(rfaas_lease_acquire(other, 1, NULL, &theirs));
    CHECK(worker_pid(mine, 0) > 1);
    CHECK(increments(increment, mine, 0, 1) && increments(foreign, theirs, 0, 2));
    rfaas_session_close(other);
    CHECK(increments(increment, mine, 0, 3));
    pool_end();
}

/* ---- executors come and go ------------------------------------------------------- */

static void test_executors(void)
{
    rfaas_lease *lease = NULL;
    pool_begin(1);
    rfaas_function *increment = function_of("increment");
    CHECK_OK_FATAL(
        rfaas_lease_iacquire(pool.session, 2, SETTINGS("wait_seconds=5"), &lease));
    CHECK(still_waits(lease));
    pid_t second = executor_start(1);
    CHECK_EQUAL(await_lease(lease), RFAAS_OK);
    CHECK_EQUAL(rfaas_lease_workers(lease), 2);
    pid_t pids[2] = {worker_pid(lease, 0), worker_pid(lease, 1)};
    CHECK(increments(increment, lease, 0, 1) && increments(increment, lease, 1, 2));

    kill(second, SIGTERM);
    CHECK(process_ends(second, PATIENCE_SECONDS));
    int lost = 0;
    double start = seconds_now();
    do /* until the client has heard of it */
        lost =
            !increments(increment, lease, 0, 3) + !increments(increment, lease, 1, 3);
    while (lost == 0 && patient(start, LOSS_SECONDS));
    CHECK_EQUAL(lost, 1); /* the other's worker goes on */
    CHECK_EQUAL(process_ends(pids[0], 0) + process_ends(pids[1], 0), 1);
    CHECK_EQUAL(rfaas_lease_workers(lease), 2);
    for (int32_t i = 0; i < 10; i++) /* nobody sends it there any more */
        CHECK(increments(increment, lease, RFAAS_ANY_WORKER, i));
    rfaas_lease_release(lease);
    check_refused(2, NULL, 0, 5);
    rfaas_lease_release(lease_of(1, NULL));
    pool_end();
}

static const struct test tests[] = {
    {"more workers than there are, or are free, are refused in time", test_too_many},
    {"fewer workers than asked for are granted when that is enough", test_fewer},
    {"leases are waited for in order", test_waiting},
    {"a lease released while it waits keeps nobody waiting",
     test_release_while_waiting},
    {"a session closed while it waits keeps nobody waiting", test_close_while_waiting},
    {"leases are renewed while their client lives", test_renewal},
    {"50 leases of all cores one after the other are granted", test_again_and_again},
    {"cores are given back once", test_credit_once},
    {"a release ends what is outstanding", test_release_outstanding},
    {"a session's end ends what is outstanding", test_close_outstanding},
    {"two clients share the pool and don't disturb each other", test_two_clients},
    {"an executor joins and leaves a running pool", test_executors},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: leases", tests, argc, argv);
}
