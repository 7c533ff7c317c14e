/* Leases that change their size and executors that are drained, while invocations are
 * outstanding. */
#include "session_pool.h"

#include <signal.h>
#include <string.h>

static struct batch batch;

/* ---- resizing -------------------------------------------------------------------- */

static void check_all_workers(rfaas_lease *lease, int workers)
{
    rfaas_function *increment = function_of("increment");
    CHECK_EQUAL(rfaas_lease_workers(lease), workers);
    for (int i = 0; i < workers; i++)
        CHECK(increments(increment, lease, i, i));
    rfaas_function_free(increment);
}

static void test_grow_and_shrink(void)
{
    pool_begin(4);
    rfaas_lease *lease = lease_of(1, NULL);
    pid_t stays = worker_pid(lease, 0);
    for (int round = 0; round < 3; round++) {
        CHECK_OK(rfaas_lease_resize(lease, 4, NULL));
        check_all_workers(lease, 4);
        pid_t goes = worker_pid(lease, 3);
        CHECK_OK(rfaas_lease_resize(lease, 2, NULL));
        CHECK(process_ends(goes, PATIENCE_SECONDS));
        check_all_workers(lease, 2);
        CHECK_OK(rfaas_lease_resize(lease, 2, NULL));
        CHECK_OK(rfaas_lease_resize(lease, 1, NULL));
    }
    CHECK_EQUAL(worker_pid(lease, 0), stays);
    CHECK_STATUS(rfaas_lease_resize(lease, 5, NULL), RFAAS_ERR_NO_RESOURCES,
                 "asked for 4 workers (at least 4)");
    CHECK_EQUAL(rfaas_lease_workers(lease), 1);
    CHECK_OK(rfaas_lease_resize(lease, 9, SETTINGS("min_workers=3")));
    check_all_workers(lease, 4);
    CHECK_OK(rfaas_lease_renew(lease, 60));
    pool_end();
}

static void test_nothing_lost(void)
{
    enum { COUNT = 400 };
    pool_begin(4);
    rfaas_lease *lease = lease_of(2, NULL);
    rfaas_function *increment = function_of("increment");
    batch.count = 0;
    for (int i = 0; i < 8; i++) {
        batch_add(&batch, lease, RFAAS_ANY_WORKER, increment, COUNT / 8, i * 1000);
        CHECK_OK(rfaas_lease_resize(lease, 1 + i % 4, SETTINGS("wait_seconds=9")));
    }
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, COUNT, 1), COUNT);
    struct rfaas_usage usage;
    CHECK_OK(rfaas_lease_usage(lease, &usage));
    CHECK_EQUAL(usage.invocations, COUNT);
    CHECK_EQUAL(usage.failures, 0);
    pool_end();
}

/* Of the one that goes: what runs and what was sent ends with results, what waits for
 * it alone doesn't. */
static void test_numbered(void)
{
    enum { SENT = 2, COUNT = 8 };
    pool_begin(2);
    rfaas_lease *lease = lease_of(2, SETTINGS("slots=2"));
    rfaas_function *work = function_of("work");
    CHECK(worker_pid(lease, 1) > 0);
    batch.count = 0;
    batch_add(&batch, lease, 1, work, COUNT, 100000);
    CHECK_OK(rfaas_lease_resize(lease, 1, NULL));
    CHECK_STATUS(rfaas_invoke(lease, 1, work, NULL, 0, NULL, 0, &batch.requests[COUNT]),
                 RFAAS_ERR_ARGUMENT, "worker 1 is not in 0..0");
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_count(&batch, 0, SENT, RFAAS_OK), SENT);
    CHECK_EQUAL(batch_count(&batch, SENT, COUNT - SENT, RFAAS_ERR_WORKER_LOST),
                COUNT - SENT);
    CHECK(strstr(batch.texts[SENT], "worker 1 isn't in the lease any more") != NULL);
    /* What the worker that has gone has used still counts. */
    struct rfaas_usage usage;
    double start = seconds_now();
    do
        CHECK_OK(rfaas_lease_usage(lease, &usage));
    while (usage.execute_ns < SENT * 100000000ull && patient(start, PATIENCE_SECONDS));
    CHECK(usage.execute_ns >= SENT * 100000000ull);
    pool_end();
}

static void test_waits_for_cores(void)
{
    pool_begin(2);
    rfaas_lease *first = lease_of(1, NULL), *second = lease_of(1, NULL);
    CHECK_STATUS(rfaas_lease_resize(first, 2, SETTINGS("wait_seconds=0.05")),
                 RFAAS_ERR_NO_RESOURCES, "waited 0.05 s");
    rfaas_lease_release(second);
    CHECK_OK(rfaas_lease_resize(first, 2, SETTINGS("wait_seconds=30")));
    check_all_workers(first, 2);
    pool_end();
}

static void test_onto_another_executor(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    executor_start(2); /* it joins a pool that is in use */
    CHECK_OK(rfaas_lease_resize(lease, 3, NULL));
    check_all_workers(lease, 3);
    CHECK_OK(rfaas_lease_resize(lease, 1, NULL));
    CHECK_OK(rfaas_lease_resize(lease, 3, NULL));
    check_all_workers(lease, 3);
    pool_end();
}

static void test_bad_sizes(void)
{
    pool_begin(2);
    rfaas_lease *lease = lease_of(1, NULL), *waiting;
    CHECK_STATUS(rfaas_lease_resize(NULL, 1, NULL), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_lease_resize(lease, 0, NULL), RFAAS_ERR_ARGUMENT, "not 0");
    CHECK_STATUS(rfaas_lease_resize(lease, 65537, NULL), RFAAS_ERR_ARGUMENT, "65536");
    CHECK_STATUS(rfaas_lease_resize(lease, 2, SETTINGS("min_workers=3")),
                 RFAAS_ERR_ARGUMENT, "min_workers=3 of 2");
    CHECK_STATUS(rfaas_lease_resize(lease, 2, SETTINGS("wait_seconds=no")),
                 RFAAS_ERR_ARGUMENT, "wait_seconds");
    CHECK_OK(
        rfaas_lease_iacquire(pool.session, 2, SETTINGS("wait_seconds=60"), &waiting));
    CHECK_STATUS(rfaas_lease_resize(waiting, 1, NULL), RFAAS_ERR_ARGUMENT,
                 "isn't granted");
    manager_end();
    CHECK(rfaas_lease_resize(lease, 2, NULL) == RFAAS_ERR_MANAGER ||
          rfaas_lease_test(lease) < 0);
    pool_end();
}

/* ---- statistics ------------------------------------------------------------------ */

static void check_stats(uint64_t executors, uint64_t cores, uint64_t leased,
                        uint64_t queued)
{
    struct rfaas_pool_stats stats;
    CHECK_OK_FATAL(rfaas_pool_stats(pool.session, &stats));
    CHECK_EQUAL(stats.executors, executors);
    CHECK_EQUAL(stats.cores, cores);
    CHECK_EQUAL(stats.leased, leased);
    CHECK_EQUAL(stats.queued, queued);
}

static void test_stats(void)
{
    struct rfaas_pool_stats stats;
    pool_begin(3);
    check_stats(1, 3, 0, 0);
    rfaas_lease *lease = lease_of(2, NULL), *waiting;
    CHECK_OK(
        rfaas_lease_iacquire(pool.session, 2, SETTINGS("wait_seconds=60"), &waiting));
    check_stats(1, 3, 2, 1);
    executor_start(1);
    check_stats(2, 4, 4, 0);
    rfaas_lease_release(waiting);
    rfaas_lease_release(lease);
    CHECK_STATUS(rfaas_pool_stats(NULL, &stats), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_pool_stats(pool.session, NULL), RFAAS_ERR_ARGUMENT, "NULL");
    manager_end();
    CHECK_STATUS(rfaas_pool_stats(pool.session, &stats), RFAAS_ERR_MANAGER,
                 "statistics");
    pool_end();
}

/* ---- draining -------------------------------------------------------------------- */

/* The first executor's process is told to end; it has to, by itself. */
static void drain_first(void)
{
    CHECK_EQUAL(kill(pool.executors[0], SIGTERM), 0);
}

static void check_first_ended(void)
{
    CHECK(process_ends(pool.executors[0], PATIENCE_SECONDS));
}

static void test_drain_moves(void)
{
    enum { COUNT = 40 };
    pool_begin(2);
    rfaas_lease *lease = lease_of(2, SETTINGS("slots=2"));
    rfaas_function *work = function_of("work"), *increment = function_of("increment");
    pid_t before = worker_pid(lease, 0);
    executor_start(2);
    batch.count = 0;
    batch_add(&batch, lease, 0, work, COUNT / 2, 20000);
    batch_add(&batch, lease, RFAAS_ANY_WORKER, work, COUNT / 2, 20000);
    drain_first();
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, COUNT, 0), COUNT);
    check_first_ended();
    CHECK(increments(increment, lease, 1, 7));
    CHECK(worker_pid(lease, 0) != before);
    CHECK_OK(rfaas_lease_test(lease));
    pool_end();
}

static void test_drain_of_the_only_executor(void)
{
    enum { SENT = 2, COUNT = 20 };
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=2"));
    rfaas_function *work = function_of("work");
    CHECK(worker_pid(lease, 0) > 0);
    batch.count = 0;
    batch_add(&batch, lease, RFAAS_ANY_WORKER, work, COUNT, 300000);
    drain_first();
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, SENT, 0), SENT);
    CHECK(batch_count(&batch, SENT, COUNT - SENT, RFAAS_OK) < COUNT - SENT);
    CHECK(strstr(batch.texts[COUNT - 1], "drained") ||
          strstr(batch.texts[COUNT - 1], "executors have gone"));
    check_first_ended();
    double start = seconds_now();
    while (rfaas_lease_test(lease) == RFAAS_OK && patient(start, PATIENCE_SECONDS))
        continue;
    CHECK(rfaas_lease_test(lease) < 0);
    rfaas_lease_release(lease);
    executor_start(1);
    lease = lease_of(1, SETTINGS("wait_seconds=9"));
    check_all_workers(lease, 1);
    pool_end();
}

/* A lease that was ready to wait for its workers waits for others. */
static void test_waits_for_another_executor(void)
{
    enum { COUNT = 20 };
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=2", "wait_seconds=60"));
    rfaas_function *work = function_of("work");
    batch.count = 0;
    batch_add(&batch, lease, 0, work, COUNT, 20000);
    drain_first();
    check_first_ended();
    executor_start(1);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, COUNT, 0), COUNT);
    pool_end();
}

static void test_second_signal(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    rfaas_function *forever = function_of("forever");
    pid_t worker = worker_pid(lease, 0);
    batch.count = 0;
    batch_add(&batch, lease, 0, forever, 1, 0);
    drain_first();
    CHECK(!process_ends(worker, 0.2)); /* it is given time */
    drain_first();
    check_first_ended();
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_count(&batch, 0, 1, RFAAS_OK), 0);
    pool_end();
}

/* Then nobody knows what had begun: what was sent is lost, and not run again. */
static void test_killed_while_draining(void)
{
    enum { SENT = 2, COUNT = 10 };
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=2"));
    rfaas_function *work = function_of("work");
    pid_t before = worker_pid(lease, 0);
    executor_start(1);
    batch.count = 0;
    batch_add(&batch, lease, 0, work, SENT, (uint32_t)(1000000 * test_slowness()));
    batch_add(&batch, lease, 0, work, COUNT - SENT, 1000);
    drain_first();
    CHECK(worker_pid(lease, 0) != before); /* who has the number now */
    kill(pool.executors[0], SIGKILL);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_count(&batch, 0, SENT, RFAAS_ERR_WORKER_LOST), SENT);
    CHECK_EQUAL(batch_right(&batch, SENT, COUNT - SENT, 0), COUNT - SENT);
    pool_end();
}

static void test_drain_of_an_idle_executor(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    executor_start(3);
    kill(pool.executors[1], SIGTERM);
    CHECK(process_ends(pool.executors[1], PATIENCE_SECONDS));
    CHECK_STATUS(rfaas_lease_resize(lease, 2, NULL), RFAAS_ERR_NO_RESOURCES,
                 "0 free of 1 on 1 executor");
    check_all_workers(lease, 1);
    pool_end();
}

static const struct test tests[] = {
    {"a lease grows and shrinks; those that stay keep their numbers",
     test_grow_and_shrink},
    {"nothing is lost while the size changes", test_nothing_lost},
    {"a worker that goes finishes what it has; what waits for it ends", test_numbered},
    {"growth waits for cores", test_waits_for_cores},
    {"a lease grows onto an executor that joined later", test_onto_another_executor},
    {"bad sizes are refused", test_bad_sizes},
    {"what the pool has, and who waits, can be asked", test_stats},
    {"a drained executor's work goes on elsewhere", test_drain_moves},
    {"of the only executor what runs is finished", test_drain_of_the_only_executor},
    {"a lease waits for another executor", test_waits_for_another_executor},
    {"a second SIGTERM ends at once", test_second_signal},
    {"what a killed executor was finishing isn't run again",
     test_killed_while_draining},
    {"an executor without workers ends at once", test_drain_of_an_idle_executor},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("resizes", tests, argc, argv);
}
