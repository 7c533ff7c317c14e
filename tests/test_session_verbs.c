/* Queue pairs of a session that fail: the worker behind one is ended and replaced, as a
 * rogue is, and what it had ends as with any lost worker. The lease goes on. */
#include "session_pool.h"
#include "verbs_only.h"

#if RFAAS_HAVE_VERBS

#include "client/client.h"
#include <stdlib.h>

enum { COUNT = 64, WORK_US = 1500 };

static struct batch batch;
static rfaas_lease *lease;
static rfaas_function *increment;
static pid_t before, other;

/* Two workers, of which the first is about to lose its queue pair. */
static void begin(const char *const settings[])
{
    pool_begin(2);
    lease = lease_of(2, settings);
    increment = function_of("increment");
    before = worker_pid(lease, 0);
    other = worker_pid(lease, 1);
    batch.count = 0;
}

static struct verbs_endpoint *endpoint_of(int worker)
{
    return (struct verbs_endpoint *)lease->workers[worker]->endpoint;
}

static void check_replaced(void)
{
    CHECK(increments(increment, lease, 0, 1));
    CHECK(increments(increment, lease, 1, 2));
    CHECK(worker_pid(lease, 0) != before);
    CHECK_EQUAL(worker_pid(lease, 1), other);
    CHECK(process_ends(before, 0));
    CHECK_OK(rfaas_lease_test(lease));
    pool_end();
}

/* All have ended in time: right, or lost with the worker, which is one at most. */
static void check_ends(double start)
{
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK(seconds_now() - start < LOSS_SECONDS);
    int right = batch_right(&batch, 0, batch.count, 0);
    int lost = batch_count(&batch, 0, batch.count, RFAAS_ERR_WORKER_LOST);
    CHECK_EQUAL(right + lost, batch.count);
    CHECK(lost <= 1);
}

static void test_busy(void)
{
    for (int round = 0; round < 3; round++) {
        begin(SETTINGS("slots=32"));
        batch_add(&batch, lease, round == 1 ? RFAAS_ANY_WORKER : 0, function_of("work"),
                  COUNT, WORK_US);
        double start = seconds_now();
        while (round == 2 && batch.requests[3] && patient(start, PATIENCE_SECONDS))
            rfaas_test(&batch.requests[3], &batch.results[3]);
        start = seconds_now();
        CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
        check_ends(start);
        check_replaced();
    }
}

/* Nothing was outstanding: nobody needs to know, though invocations come before the
 * session has looked. */
static void test_idle(void)
{
    begin(NULL);
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    for (int32_t i = 0; i < 20; i++)
        CHECK(increments(increment, lease, 0, i));
    check_replaced();
}

/* It is broken, known to be so, and its worker hasn't gone yet: what is meant for it
 * waits for the next. */
static void test_between(void)
{
    begin(SETTINGS("slots=4"));
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    double start = seconds_now();
    while (!endpoint_of(0)->broken && patient(start, PATIENCE_SECONDS))
        rfaas_progress(pool.session);
    batch_add(&batch, lease, 0, increment, COUNT, 100);
    batch_add(&batch, lease, RFAAS_ANY_WORKER, increment, COUNT, 500);
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, 2 * COUNT, 1), 2 * COUNT);
    check_replaced();
}

/* A message to a place that isn't the worker's: its device refuses it. */
static void test_foreign_address(void)
{
    begin(SETTINGS("slots=32"));
    struct verbs_target *target = endpoint_of(0)->targets;
    CHECK_FATAL(target != NULL);
    target->address += 1 << 30;
    lease->workers[0]->slots_address += 1 << 30;
    double start = seconds_now();
    batch_add(&batch, lease, 0, function_of("work"), COUNT, WORK_US);
    check_ends(start);
    check_replaced();
}

/* One after the other, and both at once. */
static void test_again_and_again(void)
{
    begin(NULL);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(pair_break(lease->workers[i % 2]->endpoint), 0);
        if (i == 4)
            CHECK_EQUAL(pair_break(lease->workers[1]->endpoint), 0);
        for (int n = 0; n < 4; n++)
            CHECK(increments(increment, lease, n % 2, n));
    }
    CHECK_OK(rfaas_lease_test(lease));
    pool_end();
}

static const struct test tests[] = {
    {"a queue pair fails while its worker is busy", test_busy},
    {"a queue pair fails while its worker is idle", test_idle},
    {"invocations between a queue pair's failure and its worker's end", test_between},
    {"a worker whose device refuses a message is replaced", test_foreign_address},
    {"queue pairs fail again and again", test_again_and_again},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    setenv("RFAAS_TRANSPORT", "verbs", 1);
    return verbs_are_there() ? test_main("session: verbs", tests, argc, argv) : 77;
}

#else

int main(void)
{
    printf("SKIPPED: built without verbs\n");
    return 77;
}

#endif
