/* Many invocations: their order, their threads, their workers, what they use. */
#include "session_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct batch batch;

/* ---- order ----------------------------------------------------------------------- */

static void test_order(void)
{
    enum { COUNT = 1000 };
    int out_of_order = 0, wrong = 0;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=2"));
    rfaas_function *sequence = function_of("sequence");
    batch.count = 0;
    batch_add(&batch, lease, 0, sequence, COUNT / 2, 0);
    batch_add(&batch, lease, RFAAS_ANY_WORKER, sequence, COUNT / 2, 0);
    double start = seconds_now();
    for (int next = 0; next < COUNT && patient(start, PATIENCE_SECONDS);) {
        /* From the last to the first: those before one that has ended have too. */
        bool later = false;
        for (int i = COUNT - 1; i >= next; i--) {
            if (!batch.requests[i])
                continue;
            bool ended = rfaas_test(&batch.requests[i], &batch.results[i]) == RFAAS_OK;
            out_of_order += later && !ended;
            later = later || ended;
        }
        while (next < COUNT && !batch.requests[next])
            next++;
    }
    for (int i = 0; i < COUNT; i++)
        wrong += batch.out[i] != i + 1;
    CHECK_EQUAL(batch_count(&batch, 0, COUNT, RFAAS_OK), COUNT);
    CHECK_EQUAL(out_of_order, 0);
    CHECK_EQUAL(wrong, 0);
    pool_end();
}

/* `count` increments with `window` of them outstanding; how many came out wrong. */
static int stream(rfaas_lease *lease, rfaas_function *increment, int worker, int count,
                  int window, int32_t first)
{
    struct {
        rfaas_request *request;
        int32_t in, out;
    } slots[64];
    int wrong = 0;
    for (int i = 0; i < count + window; i++) {
        struct rfaas_result result;
        int s = i % window;
        if (i >= window)
            wrong += rfaas_wait(&slots[s].request, &result) != RFAAS_OK ||
                     result.out_size != 4 || slots[s].out != slots[s].in + 1;
        if (i >= count)
            continue;
        slots[s].in = first + i;
        slots[s].out = 0;
        if (rfaas_invoke(lease, worker, increment, &slots[s].in, 4, &slots[s].out, 4,
                         &slots[s].request) != RFAAS_OK)
            return count;
    }
    return wrong;
}

/* More than 16 bits count, and in each slot more than 8. */
static void test_wrap(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=3"));
    rfaas_function *increment = function_of("increment");
    CHECK_EQUAL(stream(lease, increment, 0, 70000, 16, 0), 0);
    pool_end();
}

/* Into all slots that there can be, whatever a slot's number is made of. */
static void test_all_slots(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=256"));
    rfaas_function *increment = function_of("increment");
    for (int round = 0; round < 20; round++) {
        batch.count = 0;
        batch_add(&batch, lease, 0, increment, BATCH_MAX, round);
        CHECK(batch_wait(&batch, PATIENCE_SECONDS));
        CHECK_EQUAL(batch_right(&batch, 0, BATCH_MAX, 1), BATCH_MAX);
    }
    pool_end();
}

/* ---- workers --------------------------------------------------------------------- */

static void test_any_worker(void)
{
    int runs[4] = {0};
    pool_begin(4);
    rfaas_lease *lease = lease_of(4, SETTINGS("slots=4"));
    rfaas_function *work = function_of("work");
    CHECK_EQUAL(rfaas_lease_workers(lease), 4);
    for (int round = 0; round < 5; round++) {
        batch.count = 0;
        memset(runs, 0, sizeof runs);
        batch_add(&batch, lease, RFAAS_ANY_WORKER, work, 8, 2000);
        CHECK(batch_wait(&batch, PATIENCE_SECONDS));
        CHECK_EQUAL(batch_right(&batch, 0, 8, 0), 8);
        for (int i = 0; i < 8; i++) {
            CHECK_FATAL(batch.results[i].worker >= 0 && batch.results[i].worker < 4);
            runs[batch.results[i].worker]++;
        }
        for (int i = 0; i < 4; i++)
            CHECK(runs[i] >= 1 && runs[i] <= 4);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            CHECK(worker_pid(lease, i) != worker_pid(lease, j));
    pool_end();
}

/* One that is busy doesn't get what another could do now. */
static void test_least_loaded(void)
{
    pool_begin(2);
    rfaas_lease *lease = lease_of(2, NULL);
    rfaas_function *work = function_of("work"), *increment = function_of("increment");
    batch.count = 0;
    batch_add(&batch, lease, 1, work, 1, 300000);
    for (int i = 0; i < 20; i++) {
        int32_t out;
        rfaas_request *request;
        struct rfaas_result result;
        CHECK_OK_FATAL(rfaas_invoke(lease, RFAAS_ANY_WORKER, increment, &i, sizeof i,
                                    &out, sizeof out, &request));
        CHECK_OK(rfaas_wait(&request, &result));
        CHECK_EQUAL(result.worker, 0);
    }
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    pool_end();
}

/* ---- threads --------------------------------------------------------------------- */

enum { THREADS = 4, STREAM = 1500 };

struct invoker {
    pthread_t thread;
    rfaas_lease *lease;
    rfaas_function *increment;
    int number, wrong;
};

static void *invoke_many(void *arg)
{
    struct invoker *invoker = arg;
    invoker->wrong = stream(invoker->lease, invoker->increment, RFAAS_ANY_WORKER,
                            STREAM, 12, invoker->number * 100000);
    return NULL;
}

static void invokers_run(struct invoker invokers[THREADS])
{
    for (int i = 0; i < THREADS; i++)
        CHECK_FATAL(
            pthread_create(&invokers[i].thread, NULL, invoke_many, &invokers[i]) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(invokers[i].thread, NULL);
        CHECK_EQUAL(invokers[i].wrong, 0);
    }
}

static void test_threads(void)
{
    struct invoker invokers[THREADS] = {{0}};
    struct rfaas_usage usage;
    pool_begin(2);
    rfaas_lease *lease = lease_of(2, SETTINGS("slots=4"));
    rfaas_function *increment = function_of("increment");
    for (int i = 0; i < THREADS; i++)
        invokers[i] =
            (struct invoker){.lease = lease, .increment = increment, .number = i};
    invokers_run(invokers);
    CHECK_OK(rfaas_lease_usage(lease, &usage));
    CHECK_EQUAL(usage.invocations, THREADS * STREAM);
    CHECK_EQUAL(usage.failures, 0);
    pool_end();
}

static void test_sessions(void)
{
    struct invoker invokers[THREADS] = {{0}};
    rfaas_session *sessions[THREADS];
    char setting[160];
    pool_begin(THREADS);
    snprintf(setting, sizeof setting, "manager_address=%s", pool.address);
    for (int i = 0; i < THREADS; i++) {
        /* One thread each: half of them do without locks. */
        CHECK_OK_FATAL(rfaas_session_open(
            SETTINGS(setting, i % 2 ? "threads=single" : "threads=multiple"),
            &sessions[i]));
        invokers[i].number = i;
        CHECK_OK_FATAL(rfaas_lease_acquire(sessions[i], 1, NULL, &invokers[i].lease));
        CHECK_OK_FATAL(rfaas_function_load(sessions[i], functions_path(), "increment",
                                           &invokers[i].increment));
    }
    invokers_run(invokers);
    for (int i = 0; i < THREADS; i++)
        rfaas_session_close(sessions[i]);
    pool_end();
}

static _Atomic int lease_failures;

/* Everything that a session can do, from one of several threads. */
static void *lease_and_invoke(void *arg)
{
    rfaas_function *increment;
    rfaas_lease *lease;
    int *number = arg, failures = 0;
    for (int i = 0; i < 5; i++) {
        void *memory;
        if (rfaas_function_load(pool.session, functions_path(), "increment",
                                &increment) != RFAAS_OK ||
            rfaas_alloc(pool.session, (size_t)3 << 20, &memory) != RFAAS_OK ||
            rfaas_lease_acquire(pool.session, 1, SETTINGS("wait_seconds=60"), &lease) !=
                RFAAS_OK) {
            failures++;
            break;
        }
        failures += stream(lease, increment, 0, 20, 12, *number * 1000);
        failures += rfaas_free(pool.session, memory) != RFAAS_OK;
        rfaas_lease_release(lease);
        rfaas_function_free(increment);
    }
    atomic_fetch_add(&lease_failures, failures);
    return NULL;
}

static void test_threads_with_leases(void)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    pool_begin(3); /* one has to wait for another's */
    lease_failures = 0;
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK_FATAL(pthread_create(&threads[i], NULL, lease_and_invoke, &numbers[i]) ==
                    0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(lease_failures, 0);
    pool_end();
}

/* ---- hot and warm ---------------------------------------------------------------- */

/* Whether the idle process sleeps: asleep at 50 looks in a row, without using its core
 * meanwhile. */
static bool falls_asleep(pid_t pid)
{
    unsigned long before = 0, now = 0;
    double start = seconds_now();
    int asleep = 0;
    while (asleep < 50 && patient(start, PATIENCE_SECONDS)) {
        asleep = process_state(pid, &now) == 'S' && now == before ? asleep + 1 : 0;
        before = now;
    }
    return asleep == 50;
}

static void test_warm(void)
{
    static const char *const timeouts[] = {"hot_timeout_us=0", "hot_timeout_us=1000"};
    pool_begin(1);
    for (int i = 0; i < 2; i++) {
        rfaas_lease *lease = lease_of(1, SETTINGS(timeouts[i], "slots=4"));
        rfaas_function *increment = function_of("increment");
        pid_t pid = worker_pid(lease, 0);
        for (int32_t n = 0; n < 3; n++) {
            CHECK(falls_asleep(pid));
            CHECK(increments(increment, lease, 0, n));
        }
        CHECK_EQUAL(stream(lease, increment, 0, 2000, 6, 0), 0);
        CHECK(falls_asleep(pid));
        rfaas_lease_release(lease);
    }
    pool_end();
}

/* A hot worker uses its core all the time. */
static void test_hot(void)
{
    unsigned long before, now;
    struct rfaas_usage usage;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("hot_timeout_us=-1"));
    rfaas_function *increment = function_of("increment");
    pid_t pid = worker_pid(lease, 0);
    process_state(pid, &before);
    double start = seconds_now();
    do {
        CHECK(process_state(pid, &now) != 'S');
    } while (now < before + 10 && patient(start, PATIENCE_SECONDS));
    CHECK(now >= before + 10);
    CHECK(increments(increment, lease, 0, 1)); /* the time till then is accounted */
    do {
        CHECK_OK(rfaas_lease_usage(lease, &usage));
    } while (usage.hot_ns < 50000000 && patient(start, PATIENCE_SECONDS));
    CHECK(usage.hot_ns >= 50000000);
    pool_end();
}

/* ---- usage ----------------------------------------------------------------------- */

static void test_usage(void)
{
    struct rfaas_usage usage;
    pool_begin(2);
    double granted = seconds_now();
    rfaas_lease *lease = lease_of(2, SETTINGS("hot_timeout_us=0"));
    rfaas_function *work = function_of("work"), *returns = function_of("returns");
    double leased = seconds_now();
    CHECK_OK(rfaas_lease_usage(lease, &usage));
    CHECK_EQUAL(usage.invocations, 0);
    CHECK_EQUAL(usage.failures, 0);
    CHECK_EQUAL(usage.execute_ns, 0);
    batch.count = 0;
    batch_add(&batch, lease, 0, work, 10, 3000);
    batch_add(&batch, lease, 1, work, 5, 3000);
    batch_add(&batch, lease, 1, returns, 3, -3);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    /* The worker adds the last one up after it has answered. */
    do {
        CHECK_OK(rfaas_lease_usage(lease, &usage));
    } while (usage.execute_ns < 45000000 && patient(leased, PATIENCE_SECONDS));
    double lasted = seconds_now();
    CHECK_EQUAL(usage.invocations, 18);
    CHECK_EQUAL(usage.failures, 3);
    CHECK_EQUAL(usage.bytes_in, 18 * 4);
    CHECK_EQUAL(usage.bytes_out, 15 * 4);
    CHECK(usage.execute_ns >= 45000000);
    CHECK((double)usage.execute_ns <= 1e9 * 2 * (lasted - leased));
    CHECK((double)usage.hot_ns <= 1e9 * 2 * (lasted - granted));
    CHECK((double)usage.lease_ns <= 1e9 * 2 * (lasted - granted));
    CHECK((double)usage.lease_ns >= 1e9 * 2 * 0.025); /* 30 ms of work on worker 0 */
    pool_end();
}

static const struct test tests[] = {
    {"1000 on one worker with 2 slots are run in order", test_order},
    {"70,000 invocations don't mistake each other's answers", test_wrap},
    {"256 slots can be full", test_all_slots},
    {"any worker is each of them in turn", test_any_worker},
    {"any worker is one that is free", test_least_loaded},
    {"threads invoke at once on one session", test_threads},
    {"threads invoke at once on a session each", test_sessions},
    {"threads load, lease, invoke and release at once", test_threads_with_leases},
    {"a warm worker sleeps, and is woken", test_warm},
    {"a hot worker never sleeps", test_hot},
    {"usage says what was used", test_usage},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: many", tests, argc, argv);
}
