/* Functions that misbehave: each ends its own invocation and nobody else's. */
#include "session_pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OTHERS = 16 };

/* status    of the invocation, and `words` in its text
 * replaced  another process takes the worker's place */
struct fault {
    const char *function;
    size_t out_capacity;
    int32_t input;
    int status;
    const char *words;
    bool replaced;
};

static struct batch batch;
static rfaas_lease *lease;
static rfaas_function *increment;

static void begin(void)
{
    pool_begin(1);
    lease = lease_of(1, SETTINGS("slots=32"));
    increment = function_of("increment");
    batch.count = 0;
}

/* Starts it in the middle of others on the same worker. */
static rfaas_request *start_among_others(rfaas_function *function, const void *in,
                                         size_t in_size, void *out, size_t out_capacity)
{
    rfaas_request *request = NULL;
    batch_add(&batch, lease, 0, increment, OTHERS / 2, 1000);
    CHECK_OK_FATAL(
        rfaas_invoke(lease, 0, function, in, in_size, out, out_capacity, &request));
    batch_add(&batch, lease, 0, increment, OTHERS / 2, 2000);
    return request;
}

/* The worker at the same number works, in the same process or in another. */
static void check_worker(pid_t before, bool replaced)
{
    CHECK(increments(increment, lease, 0, 5));
    CHECK_EQUAL(worker_pid(lease, 0) != before, replaced);
    CHECK_EQUAL(process_ends(before, 0), replaced);
    CHECK_OK(rfaas_lease_test(lease));
}

static void check_fault(const struct fault *fault)
{
    static char out[4096];
    struct rfaas_result result = {.status = 1};
    begin();
    pid_t pid = worker_pid(lease, 0);
    rfaas_function *function = function_of(fault->function);
    memset(out, 0x77, sizeof out);
    double start = seconds_now();
    rfaas_request *request = start_among_others(
        function, &fault->input, sizeof fault->input, out, fault->out_capacity);
    CHECK_STATUS(rfaas_wait(&request, &result), fault->status, fault->words);
    CHECK(strstr(rfaas_last_error(), fault->function) != NULL);
    CHECK_EQUAL(result.status, fault->status);
    CHECK_EQUAL(result.function_status, 0);
    CHECK_EQUAL(result.out_size, 0);
    CHECK_EQUAL(result.worker, 0);
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK(seconds_now() - start < LOSS_SECONDS);
    CHECK_EQUAL(batch_right(&batch, 0, OTHERS, 1), OTHERS);
    for (size_t i = fault->out_capacity; i < sizeof out; i++)
        if (out[i] != 0x77)
            CU_FAIL_FATAL("written behind the output buffer");
    check_worker(pid, fault->replaced);
    pool_end();
}

#define FAULT(name, ...)                                                               \
    static void test_##name(void)                                                      \
    {                                                                                  \
        check_fault(&(struct fault){.function = #name, __VA_ARGS__});                  \
    }

/* ---- it ends its process --------------------------------------------------------- */

FAULT(crash, .status = RFAAS_ERR_FUNCTION, .words = "Segmentation fault",
      .replaced = true)
FAULT(aborts, .status = RFAAS_ERR_FUNCTION, .words = "Aborted", .replaced = true)
FAULT(exits, .status = RFAAS_ERR_FUNCTION, .words = "status 3", .replaced = true)
FAULT(overflow_stack, .status = RFAAS_ERR_FUNCTION, .words = "Segmentation fault",
      .replaced = true)

/* ---- it returns what it may not -------------------------------------------------- */

static void test_returns(void)
{
    static const int32_t values[] = {-1, 32768, 40000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        check_fault(&(struct fault){.function = "returns",
                                    .input = values[i],
                                    .status = RFAAS_ERR_FUNCTION,
                                    .words = "32767"});
}

/* ---- it writes more than there is room for --------------------------------------- */

FAULT(claims_too_much, .out_capacity = 100, .status = RFAAS_ERR_TRUNCATE,
      .words = "100 bytes")
FAULT(writes_far_too_much, .out_capacity = 100, .status = RFAAS_ERR_TRUNCATE,
      .words = "100 bytes", .replaced = true)
FAULT(classic_claims_too_much, .out_capacity = 100, .status = RFAAS_ERR_TRUNCATE,
      .words = "100 bytes")
FAULT(classic_writes_too_much, .out_capacity = 100, .status = RFAAS_ERR_TRUNCATE,
      .words = "100 bytes", .replaced = true)

/* One byte: seen afterwards, or, where the buffer ends a cache line, at once. */
static void test_writes_one_too_much(void)
{
    static const size_t capacities[] = {0, 1, 63, 64, 100, 128, 4095};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        check_fault(&(struct fault){.function = "writes_one_too_much",
                                    .out_capacity = capacities[i],
                                    .status = RFAAS_ERR_TRUNCATE,
                                    .words = "larger than",
                                    .replaced = capacities[i] % 64 == 0});
}

/* Its result is as long as its input, 4 bytes. */
static void test_classic_writes_one_too_much(void)
{
    check_fault(&(struct fault){.function = "classic_writes_one_too_much",
                                .out_capacity = 4,
                                .status = RFAAS_ERR_TRUNCATE,
                                .words = "4 bytes"});
    check_fault(&(struct fault){.function = "classic_echo",
                                .out_capacity = 3,
                                .status = RFAAS_ERR_TRUNCATE,
                                .words = "3 bytes"});
    check_fault(&(struct fault){.function = "classic_echo",
                                .out_capacity = 0,
                                .status = RFAAS_ERR_TRUNCATE,
                                .words = "0 bytes",
                                .replaced = true});
}

/* ---- it writes to its input ------------------------------------------------------ */

/* Memory of the session's lies before the worker by shm, read-only; by verbs it has a
 * copy. */
static bool maps_memory(void)
{
    const char *transport = getenv("RFAAS_TRANSPORT");
    return !transport || strcmp(transport, "verbs") != 0;
}

/* From memory of malloc it is a copy; in memory that the worker maps, a fault. */
static void check_input_kept(const char *name, size_t size, bool shared, int status)
{
    unsigned char local[4096], *in = local;
    static unsigned char out[4096];
    size_t wrong = 0;
    begin();
    rfaas_function *function = function_of(name);
    if (shared)
        CHECK_OK_FATAL(rfaas_alloc(pool.session, sizeof local, (void **)&in));
    for (size_t i = 0; i < size; i++)
        in[i] = (unsigned char)(i + 1);
    pid_t pid = worker_pid(lease, 0);
    rfaas_request *request = start_among_others(function, in, size, out, size);
    CHECK_STATUS(rfaas_wait(&request, NULL), status,
                 status == RFAAS_OK ? "" : "Segmentation fault");
    for (size_t i = 0; i < size; i++)
        wrong += in[i] != (unsigned char)(i + 1);
    CHECK_EQUAL(wrong, 0);
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, OTHERS, 1), OTHERS);
    check_worker(pid, status != RFAAS_OK);
    pool_end();
}

static void test_writes_input(void)
{
    check_input_kept("writes_input", 64, false, RFAAS_OK);
    check_input_kept("writes_input", 4096, false, RFAAS_OK);
    check_input_kept("writes_input", 64, true, RFAAS_OK);
    check_input_kept("writes_input", 4096, true,
                     maps_memory() ? RFAAS_ERR_FUNCTION : RFAAS_OK);
    check_input_kept("classic_reverse", 64, true, RFAAS_OK);
    check_input_kept("classic_reverse", 4096, true, RFAAS_OK); /* they may */
}

/* ---- it never returns ------------------------------------------------------------ */

static void test_forever(void)
{
    rfaas_request *request;
    pool_begin(2);
    increment = function_of("increment");
    rfaas_lease *other = lease_of(1, NULL);
    lease = lease_of(1, SETTINGS("lease_seconds=1", "slots=32"));
    pid_t pid = worker_pid(lease, 0);
    batch.count = 0;
    double start = seconds_now();
    request = start_among_others(function_of("forever"), NULL, 0, NULL, 0);
    CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_LEASE_EXPIRED, "expired");
    double took = seconds_now() - start;
    CHECK(took >= 1 && took < 1 + LOSS_SECONDS);
    /* Those before it were done, those behind it have no lease any more. */
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, OTHERS / 2, 1), OTHERS / 2);
    CHECK_EQUAL(batch_count(&batch, OTHERS / 2, OTHERS / 2, RFAAS_ERR_LEASE_EXPIRED),
                OTHERS / 2);
    CHECK(process_ends(pid, LOSS_SECONDS));
    CHECK_STATUS(rfaas_lease_test(lease), RFAAS_ERR_LEASE_EXPIRED, "expired");
    CHECK_STATUS(rfaas_lease_renew(lease, 1), RFAAS_ERR_LEASE_EXPIRED, "expired");
    CHECK_STATUS(rfaas_invoke(lease, 0, increment, NULL, 0, NULL, 0, &request),
                 RFAAS_ERR_LEASE_EXPIRED, "expired");
    CHECK(increments(increment, other, 0, 1)); /* the other lease is unharmed */
    rfaas_lease_release(lease);
    lease = lease_of(1, NULL);
    CHECK(increments(increment, lease, 0, 2));
    pool_end();
}

/* That others of the lease are busy doesn't keep it alive. */
static void test_forever_beside_others(void)
{
    rfaas_request *request;
    int32_t n = 0;
    pool_begin(2);
    increment = function_of("increment");
    lease = lease_of(2, SETTINGS("lease_seconds=1"));
    CHECK_OK_FATAL(
        rfaas_invoke(lease, 1, function_of("forever"), NULL, 0, NULL, 0, &request));
    double start = seconds_now();
    while (rfaas_test(&request, NULL) == RFAAS_IN_PROGRESS &&
           patient(start, PATIENCE_SECONDS))
        increments(increment, lease, 0, n++);
    double took = seconds_now() - start;
    CHECK(request == NULL);
    CHECK(n > 100);
    CHECK(took >= 1 && took < 1 + LOSS_SECONDS);
    CHECK_STATUS(rfaas_lease_test(lease), RFAAS_ERR_LEASE_EXPIRED, "expired");
    pool_end();
}

/* ---- it leaves a child ----------------------------------------------------------- */

enum worker_end { LEASE_RELEASED, WORKER_CRASHED, WORKER_KILLED };

/* It stays as long as the worker's process, however that ends. */
static void check_child(const char *name, enum worker_end end)
{
    int32_t child = 0;
    rfaas_request *request;
    begin();
    CHECK_OK(rfaas_invoke(lease, 0, function_of(name), NULL, 0, &child, sizeof child,
                          &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    CHECK(increments(increment, lease, 0, 5));
    CHECK_FATAL(child > 1 && !process_ends(child, 0));
    if (end == WORKER_CRASHED) {
        CHECK_OK(
            rfaas_invoke(lease, 0, function_of("crash"), NULL, 0, NULL, 0, &request));
        CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_FUNCTION, "crash");
    } else if (end == WORKER_KILLED) {
        CHECK_EQUAL(kill(worker_pid(lease, 0), SIGKILL), 0);
    } else {
        rfaas_lease_release(lease);
    }
    CHECK(process_ends(child, PATIENCE_SECONDS));
    pool_end();
}

static void test_children(void)
{
    static const char *const names[] = {"forks", "forks_in_thread", "spawns", "shells"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_child(names[i], LEASE_RELEASED);
        check_child(names[i], WORKER_CRASHED);
        check_child(names[i], WORKER_KILLED);
    }
}

/* The worker goes before its executor, which is stopped and never gets to know. */
static void test_children_without_executor(void)
{
    int32_t child = 0;
    rfaas_request *request;
    begin();
    pid_t pid = worker_pid(lease, 0);
    CHECK_OK(rfaas_invoke(lease, 0, function_of("spawns"), NULL, 0, &child,
                          sizeof child, &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    CHECK_FATAL(child > 1 && !process_ends(child, 0));
    CHECK_EQUAL(kill(pool.executors[0], SIGSTOP), 0);
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK(process_ends(pid, LOSS_SECONDS));
    CHECK_EQUAL(kill(pool.executors[0], SIGKILL), 0);
    CHECK(process_ends(child, LOSS_SECONDS));
    pool_end();
}

/* ---- again and again ------------------------------------------------------------- */

/* A worker that gets ready each time may crash as often as it likes. */
static void test_many_crashes(void)
{
    begin();
    rfaas_function *crash = function_of("crash"), *work = function_of("work");
    batch_add(&batch, lease, 0, work, 10, 2000);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    int descriptors = descriptors_open();
    for (int32_t i = 0; i < 20; i++) {
        rfaas_request *request;
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, crash, NULL, 0, NULL, 0, &request));
        CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_FUNCTION, "crash");
        if (i % 4 == 0)
            CHECK(increments(increment, lease, 0, i));
    }
    CHECK(increments(increment, lease, 0, 1));
    CHECK_EQUAL(descriptors_open(), descriptors);
    struct rfaas_usage usage;
    CHECK_OK(rfaas_lease_usage(lease, &usage));
    CHECK_EQUAL(usage.invocations, 36);
    CHECK_EQUAL(usage.failures, 20);
    CHECK(usage.execute_ns >= 20000000); /* in a process that is long gone */
    pool_end();
}

/* Of several that are outstanding each has its own end. */
static void test_crashes_among_crashes(void)
{
    rfaas_request *requests[8];
    begin();
    rfaas_function *crash = function_of("crash");
    for (int i = 0; i < 8; i++) {
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, crash, NULL, 0, NULL, 0, &requests[i]));
        batch_add(&batch, lease, 0, increment, 2, 10 * i);
    }
    for (int i = 0; i < 8; i++)
        CHECK_STATUS(rfaas_wait(&requests[i], NULL), RFAAS_ERR_FUNCTION,
                     "Segmentation fault");
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, OTHERS, 1), OTHERS);
    pool_end();
}

static const struct test tests[] = {
    {"a function that crashes", test_crash},
    {"a function that aborts", test_aborts},
    {"a function that exits", test_exits},
    {"a function that overflows its stack", test_overflow_stack},
    {"a function that returns what is no status", test_returns},
    {"a function that says that it wrote too much", test_claims_too_much},
    {"a function that writes a byte too much", test_writes_one_too_much},
    {"a function that writes far too much", test_writes_far_too_much},
    {"a classic function that says that it wrote too much",
     test_classic_claims_too_much},
    {"a classic function that writes a byte too much",
     test_classic_writes_one_too_much},
    {"a classic function that writes far too much", test_classic_writes_too_much},
    {"a function that writes to its input", test_writes_input},
    {"a function that never returns ends with its lease", test_forever},
    {"a function that never returns ends with its lease, others or not",
     test_forever_beside_others},
    {"a function's children end with its worker", test_children},
    {"a function's children end with an executor that misses its worker's end",
     test_children_without_executor},
    {"a worker is replaced as often as it takes", test_many_crashes},
    {"each of several crashes is its own invocation's", test_crashes_among_crashes},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: faults", tests, argc, argv);
}
