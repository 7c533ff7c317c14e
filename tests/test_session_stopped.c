/* An executor that is stopped while a lease is granted there: the connection to it is
 * underway, and nothing else waits for that. */
#include "session_pool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { BEHIND = 20, STOPPED = 1 /* its index among the executors */ };

static struct batch batch;
static rfaas_function *increment;
static rfaas_lease *lease; /* at the executor that runs */

/* Two executors. The first has `lease`, the second `cores` cores and is stopped. */
static void begin(const char *const settings[], int cores)
{
    pool_begin(1);
    increment = function_of("increment");
    lease = lease_of(1, settings);
    executor_start(cores);
    CHECK_EQUAL(kill(pool.executors[STOPPED], SIGSTOP), 0);
}

/* A lease there, granted but not active: the client is connecting. */
static rfaas_lease *lease_of_stopped(rfaas_session *session)
{
    rfaas_lease *other = NULL;
    CHECK_OK_FATAL(rfaas_lease_iacquire(session, 1, NULL, &other));
    double start = seconds_now();
    while (rfaas_lease_test(other) == RFAAS_IN_PROGRESS &&
           rfaas_lease_workers(other) == 0 && patient(start, PATIENCE_SECONDS))
        continue;
    CHECK_EQUAL(rfaas_lease_workers(other), 1);
    CHECK_EQUAL(rfaas_lease_test(other), RFAAS_IN_PROGRESS);
    return other;
}

/* What comes of it. */
static int outcome(rfaas_lease *other, double seconds)
{
    int status;
    double start = seconds_now();
    while ((status = rfaas_lease_test(other)) == RFAAS_IN_PROGRESS &&
           patient(start, seconds))
        continue;
    return status;
}

static void check_outcome(rfaas_lease *other, int status, const char *words)
{
    CHECK_STATUS(outcome(other, PATIENCE_SECONDS), status, words);
}

static void resume(void)
{
    CHECK_EQUAL(kill(pool.executors[STOPPED], SIGCONT), 0);
}

/* ---- others meanwhile ------------------------------------------------------------ */

static void test_kill_worker(void)
{
    rfaas_request *request;
    begin(SETTINGS("hot_timeout_us=-1"), 1);
    pid_t pid = worker_pid(lease, 0);
    CHECK_OK_FATAL(
        rfaas_invoke(lease, 0, function_of("forever"), NULL, 0, NULL, 0, &request));
    batch.count = 0;
    batch_add(&batch, lease, 0, increment, BEHIND, 0);
    double start = seconds_now(); /* it sleeps in the function only */
    while (process_state(pid, NULL) != 'S' && patient(start, PATIENCE_SECONDS))
        continue;
    rfaas_lease *other = lease_of_stopped(pool.session);

    start = seconds_now();
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_WORKER_LOST, "forever");
    CHECK(batch_wait(&batch, LOSS_SECONDS)); /* by its successor */
    double took = seconds_now() - start;
    if (took >= LOSS_SECONDS)
        printf("\n    took %.3f s", took);
    CHECK(took < LOSS_SECONDS);
    CHECK_EQUAL(batch_right(&batch, 0, BEHIND, 1), BEHIND);
    CHECK_EQUAL(process_state(pool.executors[STOPPED], NULL), 'T');

    resume();
    check_outcome(other, RFAAS_OK, "");
    CHECK(increments(increment, other, 0, 7));
    pool_end();
}

/* A short lease outlives the time that the connection may take, and the other ends with
 * an error that says why. */
static void test_stopped_too_long(void)
{
    begin(SETTINGS("lease_seconds=1"), 1);
    rfaas_lease *other = lease_of_stopped(pool.session);
    check_outcome(other, RFAAS_ERR_WORKER_LOST, "no answer within 5000 ms");
    rfaas_lease_release(other);
    CHECK_OK(rfaas_lease_test(lease));
    CHECK(increments(increment, lease, 0, 1));

    resume();
    other = lease_of(1, SETTINGS("wait_seconds=10"));
    CHECK(increments(increment, other, 0, 2));
    pool_end();
}

/* ---- what is said meanwhile ------------------------------------------------------ */

/* Functions and memories that come, or go, while the connection is underway are known
 * to the workers. */
static void test_told_later(void)
{
    enum { SIZE = 3 << 20 };
    unsigned char *early, *in, *out;
    rfaas_request *request;
    struct rfaas_usage usage;
    begin(NULL, 1);
    CHECK_OK_FATAL(rfaas_alloc(pool.session, SIZE, (void **)&early));
    rfaas_lease *other = lease_of_stopped(pool.session);
    rfaas_function *echo = function_of("echo");
    CHECK_OK_FATAL(rfaas_alloc(pool.session, SIZE, (void **)&in));
    CHECK_OK_FATAL(rfaas_alloc(pool.session, SIZE, (void **)&out));
    CHECK_OK(rfaas_free(pool.session, early));
    CHECK_OK(rfaas_lease_usage(other, &usage));
    resume();
    check_outcome(other, RFAAS_OK, "");
    memset(in, 5, SIZE);
    CHECK_OK_FATAL(rfaas_invoke(other, 0, echo, in, SIZE, out, SIZE, &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    CHECK_EQUAL(memcmp(in, out, SIZE), 0);
    pool_end();
}

/* ---- ends meanwhile -------------------------------------------------------------- */

static void test_release(void)
{
    begin(NULL, 2);
    rfaas_lease *released = lease_of_stopped(pool.session);
    rfaas_lease *kept = lease_of_stopped(pool.session);
    double start = seconds_now();
    rfaas_lease_release(released);
    CHECK(seconds_now() - start < LOSS_SECONDS);
    CHECK(increments(increment, lease, 0, 1));
    resume();
    check_outcome(kept, RFAAS_OK, "");
    CHECK(increments(increment, kept, 0, 2));
    rfaas_lease *next = lease_of(1, SETTINGS("wait_seconds=10")); /* its core */
    CHECK(increments(increment, next, 0, 3));
    pool_end();
}

static void test_close(void)
{
    begin(NULL, 1);
    rfaas_session *session = session_open();
    lease_of_stopped(session);
    double start = seconds_now();
    rfaas_session_close(session);
    CHECK(seconds_now() - start < LOSS_SECONDS);
    resume();
    rfaas_lease *next = lease_of(1, SETTINGS("wait_seconds=10"));
    CHECK(increments(increment, next, 0, 1));
    pool_end();
}

static void test_kill_stopped(void)
{
    begin(NULL, 1);
    rfaas_lease *other = lease_of_stopped(pool.session);
    CHECK_EQUAL(kill(pool.executors[STOPPED], SIGKILL), 0);
    int status = outcome(other, LOSS_SECONDS);
    CHECK(status == RFAAS_ERR_WORKER_LOST || status == RFAAS_ERR_LEASE_REVOKED);
    CHECK(increments(increment, lease, 0, 1));
    pool_end();
}

static void test_stop_manager(void)
{
    begin(NULL, 1);
    rfaas_lease *other = lease_of_stopped(pool.session);
    manager_end();
    int status = outcome(other, LOSS_SECONDS);
    CHECK(status == RFAAS_ERR_MANAGER || status == RFAAS_ERR_LEASE_REVOKED);
    double start = seconds_now();
    rfaas_lease_release(other);
    CHECK(seconds_now() - start < LOSS_SECONDS);
    resume();
    pool_end();
}

/* ---- a worker that is never started ---------------------------------------------- */

/* The lease grows at an executor that is stopped, and known to the client. */
static void test_late(void)
{
    enum { START_SECONDS = 30 };
    rfaas_request *request;
    pool_begin(2);
    increment = function_of("increment");
    lease = lease_of(1, NULL);
    /* From now on the worker knows the memory: the executor would have to tell it. */
    CHECK(increments(increment, lease, 0, 1));
    CHECK_EQUAL(kill(pool.executors[0], SIGSTOP), 0);
    double start = seconds_now();
    CHECK_OK(rfaas_lease_resize(lease, 2, NULL));
    CHECK_OK_FATAL(rfaas_invoke(lease, 1, increment, NULL, 0, NULL, 0, &request));
    int status;
    while ((status = rfaas_test(&request, NULL)) == RFAAS_IN_PROGRESS &&
           patient(start, START_SECONDS + PATIENCE_SECONDS))
        continue;
    CHECK_STATUS(status, RFAAS_ERR_WORKER_LOST,
                 "worker 1: not started within 30 s: the executor on ");
    double took = seconds_now() - start;
    CHECK(took >= START_SECONDS && took < START_SECONDS + LOSS_SECONDS);
    CHECK_OK(rfaas_lease_test(lease));
    CHECK(increments(increment, lease, 0, 1)); /* its own deadline is over, too */
    CHECK_EQUAL(kill(pool.executors[0], SIGCONT), 0);
    CHECK_STATUS(rfaas_invoke(lease, 1, increment, NULL, 0, NULL, 0, &request),
                 RFAAS_OK, "");
    CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_WORKER_LOST, "is lost");
    pool_end();
}

static const struct test tests[] = {
    {"a worker elsewhere that is killed is seen at once", test_kill_worker},
    {"an executor that stays stopped fails its lease and no other",
     test_stopped_too_long},
    {"what is said before the connection is there arrives", test_told_later},
    {"a lease released while connecting leaves its core", test_release},
    {"a session closed while connecting leaves nothing", test_close},
    {"an executor killed while it is connected to is seen at once", test_kill_stopped},
    {"a worker that is never started is given up", test_late},
    {"a manager that stops while an executor is connected to", test_stop_manager},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: stopped", tests, argc, argv);
}
