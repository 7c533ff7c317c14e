/* Functions that fail in every way, while others are outstanding: each error finds its
 * own request, the others are right, and the worker is replaced. */
#include "mpi_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease; /* of two workers */
    MPIX_Function increment;
} with;

static void set_up(const char *const settings[])
{
    with.pool = shared_pool();
    with.increment = function_load(with.pool, "increment");
    with.lease = lease_acquire(with.pool, 2, settings);
}

/* Both workers are there, and do what they should. */
static void tear_down(void)
{
    CHECK(increments(with.increment, with.lease, 0, 1));
    CHECK(increments(with.increment, with.lease, 1, 2));
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPIX_Function_free(&with.increment));
}

/* A function that fails, and how. */
struct fault {
    const char *function;
    int32_t value; /* its input */
    int room;      /* bytes for its output */
    int class;
    const char *words;
};

static MPI_Request start_fault(const struct fault *fault, int worker)
{
    static char out[100];
    MPIX_Function function = function_load(with.pool, fault->function);
    MPI_Request request = MPI_REQUEST_NULL;
    CHECK_OK(MPIX_Iinvoke(function, &fault->value, 1, MPI_INT32_T, out, fault->room,
                          MPI_BYTE, worker, with.lease, &request));
    CHECK_OK(MPIX_Function_free(&function));
    return request;
}

/* ---- each kind, among others ----------------------------------------------------- */

static void check_fault(const struct fault *fault, int worker)
{
    enum { N = 21, BAD = 6 };
    int32_t in[N], out[N];
    MPI_Request requests[N];
    MPI_Status statuses[N];
    int right = 0;
    for (int i = 0; i < N; i++) {
        in[i] = 10 * i;
        out[i] = -1;
        if (i == BAD)
            requests[i] = start_fault(fault, worker);
        else
            CHECK_OK(MPIX_Iinvoke(with.increment, &in[i], 1, MPI_INT32_T, &out[i], 1,
                                  MPI_INT32_T, i % 3 == 2 ? MPIX_ANY_WORKER : i % 3,
                                  with.lease, &requests[i]));
    }
    CHECK_EQUAL(error_class(MPI_Waitall(N, requests, statuses)), MPI_ERR_IN_STATUS);
    CHECK_CODE(statuses[BAD].MPI_ERROR, fault->class, fault->words);
    CHECK_CODE(statuses[BAD].MPI_ERROR, fault->class, fault->function);
    CHECK(worker == MPIX_ANY_WORKER || statuses[BAD].MPI_SOURCE == worker);
    for (int i = 0; i < N; i++)
        right +=
            i != BAD && statuses[i].MPI_ERROR == MPI_SUCCESS && out[i] == in[i] + 1;
    CHECK_EQUAL(right, N - 1);
    for (int i = 0; i < N; i++)
        CHECK(requests[i] == MPI_REQUEST_NULL);
}

static void check_faults(const struct fault *faults, size_t count)
{
    set_up(NULL);
    for (size_t i = 0; i < count; i++) {
        printf("[%s] ", faults[i].function);
        check_fault(&faults[i], (int)i % 2);
    }
    check_fault(&faults[0], MPIX_ANY_WORKER);
    tear_down();
}

#define CHECK_FAULTS(faults) check_faults(faults, sizeof faults / sizeof faults[0])

/* The classes exist once there is a pool: before the tables that name them. */
static void test_crashes(void)
{
    shared_pool();
    const struct fault faults[] = {
        {"crash", 0, 8, MPIX_ERR_FUNCTION, "Segmentation fault"},
        {"aborts", 0, 8, MPIX_ERR_FUNCTION, "Aborted"},
        {"exits", 0, 8, MPIX_ERR_FUNCTION, "exited with status 3"},
        {"overflow_stack", 0, 8, MPIX_ERR_FUNCTION, "Segmentation fault"},
    };
    CHECK_FAULTS(faults);
}

static void test_too_much_output(void)
{
    const struct fault faults[] = {
        {"claims_too_much", 0, 8, MPI_ERR_TRUNCATE, "8 bytes"},
        {"writes_one_too_much", 0, 9, MPI_ERR_TRUNCATE, "9 bytes"},
        {"writes_far_too_much", 0, 100, MPI_ERR_TRUNCATE, "100 bytes"},
        {"claims_too_much", 0, 0, MPI_ERR_TRUNCATE, "0 bytes"},
        {"writes_one_too_much", 0, 64, MPI_ERR_TRUNCATE, "64 bytes"},
    };
    CHECK_FAULTS(faults);
}

static void test_too_much_classic_output(void)
{
    const struct fault faults[] = {
        {"classic_claims_too_much", 0, 8, MPI_ERR_TRUNCATE, "8 bytes"},
        {"classic_writes_too_much", 0, 100, MPI_ERR_TRUNCATE, "100 bytes"},
        {"classic_echo", 0, 3, MPI_ERR_TRUNCATE, "3 bytes"},
    };
    CHECK_FAULTS(faults);
}

static void test_bad_returns(void)
{
    shared_pool();
    const struct fault faults[] = {
        {"returns", -1, 8, MPIX_ERR_FUNCTION, ""},
        {"returns", 32768, 8, MPIX_ERR_FUNCTION, "32767"},
        {"returns", INT32_MIN, 8, MPIX_ERR_FUNCTION, ""},
    };
    CHECK_FAULTS(faults);
}

/* A result that doesn't fit writes nothing behind the buffer. */
static void test_no_damage(void)
{
    set_up(NULL);
    MPIX_Function fill = function_load(with.pool, "writes_one_too_much");
    unsigned char *memory, out[64];
    CHECK_OK(MPIX_Pool_alloc_mem(1024, with.pool, &memory));
    memset(memory, 0xee, 1024);
    memset(out, 0xee, sizeof out);
    CHECK_CODE(MPIX_Invoke(fill, NULL, 0, MPI_BYTE, memory + 64, 100, MPI_BYTE, 0,
                           with.lease, MPI_STATUS_IGNORE),
               MPI_ERR_TRUNCATE, "");
    CHECK_CODE(MPIX_Invoke(fill, NULL, 0, MPI_BYTE, out + 8, 16, MPI_BYTE, 1,
                           with.lease, MPI_STATUS_IGNORE),
               MPI_ERR_TRUNCATE, "");
    CHECK(memory[63] == 0xee && memory[164] == 0xee);
    CHECK(out[7] == 0xee && out[24] == 0xee);
    CHECK_OK(MPIX_Pool_free_mem(with.pool, memory));
    tear_down();
}

/* What a function does to its input stays in the worker, or ends it. */
static void test_input_is_unharmed(void)
{
    set_up(NULL);
    MPIX_Function function = function_load(with.pool, "writes_input");
    static const int32_t constant[4] = {1, 2, 3, 4};
    int32_t small[4] = {1, 2, 3, 4}, *memory;
    CHECK_OK(MPIX_Pool_alloc_mem(1 << 16, with.pool, &memory));
    for (int i = 0; i < 1 << 14; i++)
        memory[i] = i;
    const struct {
        const int32_t *in;
        int count;
    } inputs[] = {{constant, 4}, {small, 4}, {memory, 1 << 14}};
    for (int i = 0; i < 3; i++) {
        int code = MPIX_Invoke(function, inputs[i].in, inputs[i].count, MPI_INT32_T,
                               NULL, 0, MPI_INT, 0, with.lease, MPI_STATUS_IGNORE);
        CHECK(code == MPI_SUCCESS || error_class(code) == MPIX_ERR_FUNCTION);
    }
    CHECK(memcmp(small, constant, sizeof small) == 0);
    for (int i = 0; i < 1 << 14; i++)
        CHECK(memory[i] == i);
    CHECK_OK(MPIX_Pool_free_mem(with.pool, memory));
    tear_down();
}

/* ---- through each of MPI's calls ------------------------------------------------- */

/* Puts an increment before and a crash behind it, for one call to find. */
static void start_pair(MPI_Request requests[2], int32_t *in, int32_t *out)
{
    const struct fault crash = {"crash", 0, 8, MPIX_ERR_FUNCTION, ""};
    *in = 5;
    *out = 0;
    CHECK_OK(MPIX_Iinvoke(with.increment, in, 1, MPI_INT32_T, out, 1, MPI_INT32_T, 0,
                          with.lease, &requests[0]));
    requests[1] = start_fault(&crash, 1);
}

#define CRASHED(code) CHECK_CODE(code, MPIX_ERR_FUNCTION, "Segmentation fault")

static void test_every_call(void)
{
    MPI_Request requests[2];
    MPI_Status statuses[2];
    int32_t in, out;
    int done = 0, index, code = MPI_SUCCESS;
    set_up(NULL);

    start_pair(requests, &in, &out);
    CRASHED(MPI_Wait(&requests[1], MPI_STATUS_IGNORE));
    CHECK_OK(MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
    CHECK(requests[1] == MPI_REQUEST_NULL && out == 6);

    start_pair(requests, &in, &out);
    double start = MPI_Wtime();
    while (!done && patient(start, PATIENCE_SECONDS))
        code = MPI_Test(&requests[1], &done, &statuses[1]);
    CRASHED(code);
    CHECK_OK(MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
    CHECK(requests[1] == MPI_REQUEST_NULL && out == 6);

    start_pair(requests, &in, &out);
    for (int i = 0; i < 2; i++) {
        index = -1;
        code = MPI_Waitany(2, requests, &index, &statuses[0]);
        CHECK(index == 0 || index == 1);
        CHECK_CODE(code, index == 1 ? MPIX_ERR_FUNCTION : MPI_SUCCESS, "");
    }
    CHECK(requests[0] == MPI_REQUEST_NULL && requests[1] == MPI_REQUEST_NULL &&
          out == 6);

    start_pair(requests, &in, &out);
    start = MPI_Wtime();
    for (int i = 0; i < 2 && patient(start, PATIENCE_SECONDS); i += done) {
        code = MPI_Testany(2, requests, &index, &done, &statuses[0]);
        if (done)
            CHECK_CODE(code, index == 1 ? MPIX_ERR_FUNCTION : MPI_SUCCESS, "");
    }
    CHECK(requests[0] == MPI_REQUEST_NULL && requests[1] == MPI_REQUEST_NULL &&
          out == 6);
    tear_down();
}

static void test_every_call_for_several(void)
{
    MPI_Request requests[2];
    MPI_Status statuses[2];
    int32_t in, out;
    int done = 0, indices[2], count, code = MPI_SUCCESS;
    bool crashed = false;
    set_up(NULL);

    start_pair(requests, &in, &out);
    /* Some implementations tell of the error before all have completed. */
    double start = MPI_Wtime();
    while (!done && patient(start, PATIENCE_SECONDS)) {
        code = MPI_Testall(2, requests, &done, statuses);
        if (error_class(code) == MPI_ERR_IN_STATUS) {
            CHECK(!crashed);
            CRASHED(statuses[1].MPI_ERROR);
            crashed = true;
        }
    }
    CHECK(crashed);
    CHECK(requests[0] == MPI_REQUEST_NULL && requests[1] == MPI_REQUEST_NULL &&
          out == 6);

    for (int waits = 0; waits < 2; waits++) {
        start_pair(requests, &in, &out);
        start = MPI_Wtime();
        for (int left = 2; left > 0 && patient(start, PATIENCE_SECONDS);
             left -= count) {
            count = 0;
            code = waits ? MPI_Waitsome(2, requests, &count, indices, statuses)
                         : MPI_Testsome(2, requests, &count, indices, statuses);
            CHECK_FATAL(count >= 0 && count <= left);
            for (int i = 0; i < count; i++)
                if (indices[i] == 1) {
                    CHECK_EQUAL(error_class(code), MPI_ERR_IN_STATUS);
                    CRASHED(statuses[i].MPI_ERROR);
                }
        }
        CHECK(requests[0] == MPI_REQUEST_NULL && requests[1] == MPI_REQUEST_NULL &&
              out == 6);
    }

    start_pair(requests, &in, &out);
    CHECK(MPI_Waitall(2, requests, MPI_STATUSES_IGNORE) != MPI_SUCCESS);
    CHECK(requests[0] == MPI_REQUEST_NULL && requests[1] == MPI_REQUEST_NULL &&
          out == 6);
    tear_down();
}

/* An error that nobody waits for harms nobody. */
static void test_freed(void)
{
    MPI_Request requests[2];
    int32_t in, out;
    set_up(NULL);
    start_pair(requests, &in, &out);
    CHECK_OK(MPI_Request_free(&requests[1]));
    CHECK_OK(MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
    CHECK_EQUAL(out, 6);
    tear_down();
}

/* ---- again and again, and for ever ----------------------------------------------- */

static void test_crashes_in_a_row(void)
{
    enum { TIMES = 8 };
    const struct fault crash = {"crash", 0, 8, MPIX_ERR_FUNCTION, ""};
    MPI_Request requests[TIMES];
    MPI_Status statuses[TIMES];
    set_up(NULL);
    for (int i = 0; i < TIMES; i++)
        requests[i] = start_fault(&crash, 0);
    CHECK(increments(with.increment, with.lease, 1, 7));
    CHECK_EQUAL(error_class(MPI_Waitall(TIMES, requests, statuses)), MPI_ERR_IN_STATUS);
    for (int i = 0; i < TIMES; i++)
        CRASHED(statuses[i].MPI_ERROR);
    tear_down();
}

/* It ends with its lease, and with it all that was outstanding there. */
static void test_forever(void)
{
    enum { N = 12 };
    const struct fault forever = {"forever", 0, 8, MPIX_ERR_LEASE, ""};
    int32_t in[N], out[N];
    MPI_Request requests[N + 1], refused = MPI_REQUEST_NULL;
    MPI_Status statuses[N + 1];
    set_up(NULL);
    MPIX_Lease other = with.lease;
    with.lease = lease_acquire(with.pool, 1, SETTINGS("lease_seconds=1"));
    double start = MPI_Wtime();
    for (int i = 0; i < N; i++) {
        in[i] = out[i] = i;
        if (i == N / 2)
            requests[N] = start_fault(&forever, 0);
        CHECK_OK(MPIX_Iinvoke(with.increment, &in[i], 1, MPI_INT32_T, &out[i], 1,
                              MPI_INT32_T, 0, with.lease, &requests[i]));
    }
    CHECK_EQUAL(error_class(MPI_Waitall(N + 1, requests, statuses)), MPI_ERR_IN_STATUS);
    double took = MPI_Wtime() - start;
    CHECK(took >= 0.9 &&
          took < 1 + 1 + LOSS_SECONDS); /* a quarter may be added twice */
    for (int i = 0; i < N; i++)
        CHECK_CODE(statuses[i].MPI_ERROR, i < N / 2 ? MPI_SUCCESS : MPIX_ERR_LEASE, "");
    for (int i = 0; i < N / 2; i++)
        CHECK_EQUAL(out[i], in[i] + 1);
    CHECK_CODE(statuses[N].MPI_ERROR, MPIX_ERR_LEASE, "expired");
    CHECK_CODE(MPIX_Iinvoke(with.increment, in, 1, MPI_INT32_T, out, 1, MPI_INT32_T, 0,
                            with.lease, &refused),
               MPIX_ERR_LEASE, "expired");
    CHECK(refused == MPI_REQUEST_NULL);
    CHECK_OK(MPIX_Lease_release(&with.lease));
    with.lease = other; /* which it doesn't concern */
    tear_down();
}

/* Released while a function runs for ever, and others wait behind it. */
static void test_release_outstanding(void)
{
    enum { N = 30 };
    const struct fault forever = {"forever", 0, 8, MPIX_ERR_LEASE, ""};
    MPI_Request requests[N];
    MPI_Status statuses[N];
    set_up(NULL);
    MPIX_Lease other = with.lease;
    with.lease = lease_acquire(with.pool, 2, NULL);
    for (int i = 0; i < N; i++)
        requests[i] = start_fault(&forever, MPIX_ANY_WORKER);
    double start = MPI_Wtime();
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_EQUAL(error_class(MPI_Waitall(N, requests, statuses)), MPI_ERR_IN_STATUS);
    CHECK(MPI_Wtime() - start < LOSS_SECONDS);
    for (int i = 0; i < N; i++)
        CHECK_CODE(statuses[i].MPI_ERROR, MPIX_ERR_LEASE, "released");
    with.lease = other;
    tear_down();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"functions that crash, abort, exit", test_crashes},
        {"functions that write too much", test_too_much_output},
        {"classic functions that write too much", test_too_much_classic_output},
        {"functions that return what they mustn't", test_bad_returns},
        {"too much output harms no memory", test_no_damage},
        {"functions that write to their input", test_input_is_unharmed},
        {"the error comes by each call for one request", test_every_call},
        {"the error comes by each call for several", test_every_call_for_several},
        {"the error of a freed request", test_freed},
        {"crashes in a row", test_crashes_in_a_row},
        {"a function that never returns ends with its lease", test_forever},
        {"a lease is released under its invocations", test_release_outstanding},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: faults", tests, MPI_THREAD_SINGLE, argc, argv);
}
