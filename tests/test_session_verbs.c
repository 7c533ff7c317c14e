/* Queue pairs of a session that fail while client and worker live: another pair takes
 * their place between the same two, and each invocation runs once and is answered once. */
#include "session_pool.h"
#include "verbs_only.h"

#if RFAAS_HAVE_VERBS

#include "client/client.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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

/* Which queue pair it is; 0: none. */
static uint32_t number_of_pair(int worker)
{
    return lease->workers[worker]->endpoint ? endpoint_of(worker)->number : 0;
}

/* Our end forgets the peer and is silent: only the worker notices, when it sends. */
static int pair_forget(struct rfaas_endpoint *endpoint)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_RESET};
    return ibv_modify_qp(((struct verbs_endpoint *)endpoint)->pair, &attributes,
                         IBV_QP_STATE);
}

/* The worker may not write here any more: its device is told so, and cuts it off. */
static int pair_refuse(struct rfaas_endpoint *endpoint)
{
    struct ibv_qp_attr attributes = {.qp_access_flags = 0};
    return ibv_modify_qp(((struct verbs_endpoint *)endpoint)->pair, &attributes,
                         IBV_QP_ACCESS_FLAGS);
}

static int (*const failures[])(struct rfaas_endpoint *endpoint) = {
    pair_break, pair_forget, pair_refuse};
enum { FAILURES = 3 };

/* Both work, the second in the process that it was in. */
static void check_workers(bool replaced)
{
    CHECK(increments(increment, lease, 0, 1));
    CHECK(increments(increment, lease, 1, 2));
    CHECK_EQUAL(worker_pid(lease, 0) != before, replaced);
    CHECK_EQUAL(worker_pid(lease, 1), other);
    CHECK_EQUAL(process_ends(before, 0), replaced);
    CHECK_OK(rfaas_lease_test(lease));
}

/* Outstanding on a worker: some that take a while, between them some that tell how many
 * of them it has run. */
static void start_counted(int worker)
{
    rfaas_function *work = function_of("work"), *sequence = function_of("sequence");
    for (int i = 0; i < COUNT / 2; i++) {
        batch_add(&batch, lease, worker, work, 1, WORK_US);
        batch_add(&batch, lease, worker, sequence, 1, 0);
    }
}

/* Each has run once, in order. */
static void check_counted(int32_t counted)
{
    int wrong = 0;
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    for (int i = 0; i < batch.count; i += 2)
        wrong += batch_right(&batch, i, 1, 0) != 1 ||
                 batch.results[i + 1].status != RFAAS_OK ||
                 batch.out[i + 1] != counted + i / 2 + 1;
    CHECK_EQUAL(wrong, 0);
}

/* At the beginning, and when some have been answered. */
static void test_busy(void)
{
    begin(SETTINGS("slots=32"));
    for (int round = 0; round < 2 * FAILURES; round++) {
        batch.count = 0;
        start_counted(0);
        double start = seconds_now();
        while (round % 2 == 1 && batch.requests[5] && patient(start, PATIENCE_SECONDS))
            rfaas_test(&batch.requests[5], &batch.results[5]);
        CHECK_EQUAL(failures[round / 2](lease->workers[0]->endpoint), 0);
        check_counted(round * COUNT / 2);
    }
    check_workers(false);
    pool_end();
}

/* Nothing was outstanding: nobody needs to know, though invocations come before the
 * session has looked. */
static void test_idle(void)
{
    begin(SETTINGS("hot_timeout_us=0"));
    for (int i = 0; i < FAILURES; i++) {
        CHECK_EQUAL(failures[i](lease->workers[0]->endpoint), 0);
        for (int32_t n = 0; n < 10; n++)
            CHECK(increments(increment, lease, 0, n));
    }
    check_workers(false);
    pool_end();
}

/* It is known to have failed, and there is no other yet: what is meant for the worker
 * waits. */
static void test_between(void)
{
    begin(SETTINGS("slots=4"));
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    double start = seconds_now();
    while (!lease->workers[0]->cut_off && patient(start, PATIENCE_SECONDS))
        rfaas_progress(pool.session);
    batch_add(&batch, lease, 0, increment, COUNT, 100);
    batch_add(&batch, lease, RFAAS_ANY_WORKER, increment, COUNT, 500);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, 2 * COUNT, 1), 2 * COUNT);
    check_workers(false);
    pool_end();
}

/* Longer than what is kept of them beside the others, and most longer than a slot, so that
 * the input is fetched. */
static void test_long_results(void)
{
    enum { SIZE = 200000, RESULTS = 8 };
    static unsigned char in[RESULTS][SIZE], out[RESULTS][SIZE];
    rfaas_request *requests[RESULTS];
    begin(SETTINGS("slots=16", "memory_per_worker=1M"));
    rfaas_function *echo = function_of("echo");
    for (int round = 0; round < FAILURES; round++) {
        memset(out, 0, sizeof out);
        for (int i = 0; i < RESULTS; i++) {
            size_t size = i % 3 == 2 ? 2000 : SIZE;
            memset(in[i], 10 * round + i + 1, size);
            CHECK_OK_FATAL(
                rfaas_invoke(lease, 0, echo, in[i], size, out[i], SIZE, &requests[i]));
        }
        CHECK_OK(rfaas_wait(&requests[1], NULL));
        CHECK_EQUAL(failures[round](lease->workers[0]->endpoint), 0);
        for (int i = 0; i < RESULTS; i++) {
            CHECK_OK(i == 1 ? RFAAS_OK : rfaas_wait(&requests[i], NULL));
            CHECK(memcmp(in[i], out[i], i % 3 == 2 ? 2000 : SIZE) == 0);
        }
    }
    check_workers(false);
    pool_end();
}

/* A function that runs ends first. One that never does is ended, some seconds later. */
static void test_in_function(void)
{
    rfaas_request *request;
    begin(NULL);
    batch_add(&batch, lease, 0, function_of("work"), 1, 700000);
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, 1, 0), 1);
    check_workers(false);

    CHECK_OK_FATAL(
        rfaas_invoke(lease, 0, function_of("forever"), NULL, 0, NULL, 0, &request));
    batch_add(&batch, lease, 0, increment, COUNT, 0);
    double start = seconds_now();
    while (process_state(before, NULL) != 'S' && patient(start, PATIENCE_SECONDS))
        continue;
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_WORKER_LOST,
                 "its connection had failed");
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 1, COUNT, 1), COUNT);
    check_workers(true);
    pool_end();
}

/* It is stopped, so that its death comes before it has another queue pair. */
static void test_killed_meanwhile(void)
{
    begin(SETTINGS("slots=32"));
    batch_add(&batch, lease, 0, function_of("work"), COUNT, WORK_US);
    CHECK_EQUAL(kill(before, SIGSTOP), 0);
    CHECK_EQUAL(pair_break(lease->workers[0]->endpoint), 0);
    double start = seconds_now();
    while (!lease->workers[0]->cut_off && patient(start, PATIENCE_SECONDS))
        rfaas_progress(pool.session);
    CHECK_EQUAL(kill(before, SIGKILL), 0);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    int right = batch_right(&batch, 0, COUNT, 0);
    int lost = batch_count(&batch, 0, COUNT, RFAAS_ERR_WORKER_LOST);
    CHECK_EQUAL(right + lost, COUNT);
    CHECK(lost <= 1);
    check_workers(true);
    pool_end();
}

/* A message to a place that isn't the worker's: its device refuses it, as often as it is
 * sent. Another worker has other places. */
static void test_fails_at_once(void)
{
    begin(SETTINGS("slots=32"));
    struct verbs_target *target = endpoint_of(0)->targets;
    CHECK_FATAL(target != NULL);
    target->address += 1 << 30;
    lease->workers[0]->slots_address += 1 << 30;
    batch_add(&batch, lease, 0, increment, COUNT, 0);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, COUNT, 1), COUNT);
    check_workers(true);
    pool_end();
}

/* Each queue pair to its successor fails before that has said that it is connected: no
 * process would be better off. */
static void test_unreachable(void)
{
    begin(NULL);
    uint32_t last = number_of_pair(0);
    CHECK_EQUAL(kill(before, SIGKILL), 0);
    batch_add(&batch, lease, 0, increment, COUNT, 0);
    double start = seconds_now();
    while (!batch_wait(&batch, 0) && patient(start, PATIENCE_SECONDS))
        if (number_of_pair(0) > last && !lease->workers[0]->reset) {
            last = number_of_pair(0);
            pair_break(lease->workers[0]->endpoint);
        }
    CHECK_EQUAL(batch_count(&batch, 0, COUNT, RFAAS_ERR_WORKER_LOST), COUNT);
    CHECK(strstr(batch.texts[COUNT - 1], "times in a row") != NULL);
    /* Its process lives; when it goes, so does our end. */
    CHECK_EQUAL(kill(lease->workers[0]->pid, SIGKILL), 0);
    while (lease->workers[0]->endpoint && patient(start, PATIENCE_SECONDS))
        rfaas_progress(pool.session);
    CHECK(lease->workers[0]->endpoint == NULL);
    CHECK(increments(increment, lease, 1, 2));
    CHECK_EQUAL(worker_pid(lease, 1), other);
    pool_end();
}

/* What is long doesn't get through, as where a switch takes only shorter packets than the
 * ports do: the transport with that fault, for processes that are and that will be. */
enum { LONG = 2000 };
static struct rfaas_transport faulty;

static int write_short(struct rfaas_endpoint *endpoint, const struct iovec *parts,
                       int count, const struct rfaas_memory *from, uint64_t address,
                       uint32_t key, uint32_t immediate)
{
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    if (length >= LONG)
        pair_break(endpoint);
    return rfaas_transport_verbs.write(endpoint, parts, count, from, address, key,
                                       immediate);
}

static int open_faulty(struct rfaas_device *device,
                       const struct rfaas_endpoint_options *options,
                       struct rfaas_endpoint **endpoint)
{
    int status = rfaas_transport_verbs.endpoint_open(device, options, endpoint);
    if (status == RFAAS_OK)
        (*endpoint)->transport = &faulty;
    return status;
}

static void begin_faulty(const char *const settings[])
{
    begin(settings);
    faulty = rfaas_transport_verbs;
    faulty.write = write_short;
    faulty.endpoint_open = open_faulty;
    pool.session->devices[0].transport = &faulty;
    for (int i = 0; i < 2; i++)
        lease->workers[i]->endpoint->transport = &faulty;
}

/* It ends, those behind it are answered, and for the lease's renewal it counts as
 * nothing that came to an end. */
static void check_never_arrives(int worker)
{
    static unsigned char in[LONG], out[LONG];
    rfaas_request *request;
    uint64_t ended = 0;
    begin_faulty(SETTINGS("slots=32"));
    batch_add(&batch, lease, 0, increment, COUNT / 2, 0);
    CHECK_OK_FATAL(rfaas_invoke(lease, worker, function_of("echo"), in, LONG, out, LONG,
                                &request));
    batch_add(&batch, lease, 0, increment, COUNT / 2, 100);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    double start = seconds_now();
    int status;
    while ((status = rfaas_test(&request, NULL)) == RFAAS_IN_PROGRESS &&
           patient(start, PATIENCE_SECONDS))
        continue;
    CHECK_STATUS(status, RFAAS_ERR_WORKER_LOST,
                 "function 'echo' with 2000 bytes of input doesn't get through to a "
                 "worker: 8 connections");
    CHECK_EQUAL(batch_right(&batch, 0, COUNT, 1), COUNT);
    CHECK(increments(increment, lease, 0, 1));
    CHECK(increments(increment, lease, 1, 2));
    for (int i = 0; i < 2; i++)
        ended += lease->activity[i].ended;
    CHECK_EQUAL(ended, 2 + COUNT + 2); /* with those of `begin` */
    pool_end();
}

static void test_never_arrives(void)
{
    check_never_arrives(0);
    check_never_arrives(RFAAS_ANY_WORKER);
}

/* The device is polled in vain until an event of the client's thread is there, which then
 * comes before the completions. */
static bool late;

static int poll_late(struct rfaas_device *device, struct rfaas_completion *completions,
                     int max)
{
    double start = seconds_now();
    if (!late)
        return rfaas_transport_verbs.poll(device, completions, max);
    late = false;
    while (!control_has_events(pool.session->control))
        CHECK_FATAL(patient(start, PATIENCE_SECONDS));
    return 0;
}

/* The client has an answer, but hasn't looked, when it learns that the worker, which has
 * used the place of its output again, has another queue pair. */
static void test_answered_before(void)
{
    enum { SIZE = 4000, RUN_US = 300000 };
    for (int i = 0; i < FAILURES; i++) {
        static unsigned char in[SIZE];
        unsigned char *out;
        rfaas_request *request;
        begin(NULL);
        faulty = rfaas_transport_verbs;
        faulty.poll = poll_late;
        CHECK_OK_FATAL(rfaas_alloc(pool.session, SIZE, (void **)&out));
        memset(in, 0x55, SIZE);
        memset(out, 0, SIZE);
        CHECK_OK_FATAL(
            rfaas_invoke(lease, 0, function_of("echo"), in, SIZE, out, SIZE, &request));
        batch_add(&batch, lease, 0, function_of("work"), 1, RUN_US);
        double start = seconds_now();
        while (*(volatile unsigned char *)&out[SIZE - 1] != 0x55 &&
               patient(start, PATIENCE_SECONDS))
            continue;
        CHECK_EQUAL(failures[i](lease->workers[0]->endpoint), 0);
        late = true;
        pool.session->devices[0].transport = &faulty;
        CHECK_OK(rfaas_wait(&request, NULL));
        CHECK(memcmp(in, out, SIZE) == 0);
        CHECK(batch_wait(&batch, PATIENCE_SECONDS));
        CHECK_EQUAL(batch_right(&batch, 0, 1, 0), 1);
        pool.session->devices[0].transport = &rfaas_transport_verbs;
        check_workers(false);
        pool_end();
    }
}

/* One after the other, and both at once. */
static void test_again_and_again(void)
{
    begin(NULL);
    for (int i = 0; i < 12; i++) {
        CHECK_EQUAL(pair_break(lease->workers[i % 2]->endpoint), 0);
        if (i % 4 == 0)
            CHECK_EQUAL(pair_break(lease->workers[1]->endpoint), 0);
        for (int n = 0; n < 4; n++)
            CHECK(increments(increment, lease, n % 2, n));
    }
    check_workers(false);
    pool_end();
}

/* What it was sent before it left the lease it answers nevertheless, and then ends by
 * itself. */
static void test_retired(void)
{
    enum { END_SECONDS = 10 };
    for (int i = 0; i < FAILURES; i++) {
        begin(SETTINGS("slots=64"));
        start_counted(1);
        CHECK_OK_FATAL(rfaas_lease_resize_begin(lease, 1, NULL));
        CHECK_FATAL(lease->retired != NULL);
        CHECK_EQUAL(failures[i](lease->retired->endpoint), 0);
        check_counted(0);
        CHECK(process_ends(other, END_SECONDS));
        CHECK(increments(increment, lease, 0, 1));
        CHECK(!process_ends(before, 0));
        pool_end();
    }
}

static const struct test tests[] = {
    {"a queue pair fails while its worker is busy", test_busy},
    {"a queue pair fails while its worker is idle", test_idle},
    {"invocations between a queue pair's failure and the next one", test_between},
    {"a queue pair fails with long results on it", test_long_results},
    {"a queue pair fails while a function runs", test_in_function},
    {"a worker is killed before it has another queue pair", test_killed_meanwhile},
    {"a worker whose queue pairs fail at once is replaced", test_fails_at_once},
    {"a worker to whom no queue pair can be had is given up", test_unreachable},
    {"an invocation that breaks each connection ends", test_never_arrives},
    {"an answer that came before its queue pair's failure was told",
     test_answered_before},
    {"queue pairs fail again and again", test_again_and_again},
    {"a queue pair fails while its worker retires", test_retired},
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
