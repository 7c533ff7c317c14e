/* One function on all workers at once: who gets which part, and where results go. */
#include "mpi_pool.h"

#include <stdio.h>
#include <string.h>

enum { WORKERS = 3, ELEMENTS = 1000 };

static struct {
    MPIX_Lease lease;
    MPIX_Function increment, sum, whoami;
    int32_t in[ELEMENTS], out[ELEMENTS];
} with;

static void set_up(void)
{
    with.lease = lease_acquire(shared_pool(), WORKERS, NULL);
    with.increment = function_load(shared_pool(), "increment");
    with.sum = function_load(shared_pool(), "sum");
    with.whoami = function_load(shared_pool(), "whoami");
    for (int i = 0; i < ELEMENTS; i++)
        with.in[i] = i;
    memset(with.out, 0xff, sizeof with.out);
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Lease_release(&with.lease));
}

static void check_increments(int from, int n)
{
    int wrong = 0;
    for (int i = from; i < from + n; i++)
        wrong += with.out[i] != with.in[i] + 1;
    CHECK_EQUAL(wrong, 0);
}

/* n elements in and outcount out, in equal parts; blocking or not. */
static int invoke_all(MPIX_Function function, MPI_Count n, MPI_Count outcount,
                      MPI_Op op, bool blocking, MPI_Status *status)
{
    MPI_Request request;
    if (blocking)
        return MPIX_Invoke_all(function, with.in, n, NULL, NULL, MPI_INT32_T, with.out,
                               outcount, NULL, NULL, MPI_INT32_T, op, with.lease,
                               status);
    int code =
        MPIX_Iinvoke_all(function, with.in, n, NULL, NULL, MPI_INT32_T, with.out,
                         outcount, NULL, NULL, MPI_INT32_T, op, with.lease, &request);
    return code == MPI_SUCCESS ? MPI_Wait(&request, status) : code;
}

static void test_equal_parts(void)
{
    static const int sizes[] = {0, 1, 2, 3, 4, 100, ELEMENTS};
    set_up();
    for (int i = 0; i < 14; i++) {
        MPI_Status status;
        int n = sizes[i / 2], count = -1;
        memset(with.out, 0xff, sizeof with.out);
        CHECK_OK(invoke_all(with.increment, n, n, MPI_OP_NULL, i % 2, &status));
        check_increments(0, n);
        CHECK(n == ELEMENTS || with.out[n] == -1);
        CHECK_OK(MPI_Get_count(&status, MPI_INT32_T, &count));
        CHECK_EQUAL(count, n);
        CHECK_EQUAL(status.MPI_TAG, 0);
        CHECK_EQUAL(status.MPI_SOURCE, MPI_UNDEFINED);
    }
    tear_down();
}

/* Every worker runs it once, and its result is at its place. */
static void test_every_worker(void)
{
    set_up();
    CHECK_OK(MPIX_Invoke_all(with.whoami, NULL, 0, NULL, NULL, MPI_INT32_T, with.out,
                             3 * WORKERS, NULL, NULL, MPI_INT32_T, MPI_OP_NULL,
                             with.lease, MPI_STATUS_IGNORE));
    for (int i = 0; i < WORKERS; i++) {
        CHECK_EQUAL(with.out[3 * i], i);
        CHECK_EQUAL(with.out[3 * i + 1], WORKERS);
    }
    tear_down();
}

/* Parts of different sizes, in any order. */
static void test_counts(void)
{
    const MPI_Count counts[WORKERS] = {10, 0, 500};
    const MPI_Aint displs[WORKERS] = {700, 0, 100}, outdispls[WORKERS] = {0, 5, 20};
    MPI_Status status;
    int count, wrong = 0;
    set_up();
    CHECK_OK(MPIX_Invoke_all(with.increment, with.in, 0, counts, displs, MPI_INT32_T,
                             with.out, 0, counts, outdispls, MPI_INT32_T, MPI_OP_NULL,
                             with.lease, &status));
    for (int i = 0; i < ELEMENTS; i++)
        wrong += with.out[i] != (i < 10               ? 701 + i
                                 : i >= 20 && i < 520 ? 101 + i - 20
                                                      : -1);
    CHECK_EQUAL(wrong, 0);
    CHECK_OK(MPI_Get_count(&status, MPI_INT32_T, &count));
    CHECK_EQUAL(count, 510);
    memset(with.out, 0xff, sizeof with.out);
    CHECK_OK(MPIX_Invoke_all(with.increment, with.in, 0, counts, NULL, MPI_INT32_T,
                             with.out, 510, counts, NULL, MPI_INT32_T, MPI_OP_NULL,
                             with.lease, MPI_STATUS_IGNORE));
    check_increments(0, 510);
    tear_down();
}

/* Every second element, on both sides. */
static void test_gaps(void)
{
    MPI_Datatype spread;
    int wrong = 0;
    set_up();
    MPI_Type_create_resized(MPI_INT32_T, 0, 2 * sizeof(int32_t), &spread);
    MPI_Type_commit(&spread);
    CHECK_OK(MPIX_Invoke_all(with.increment, with.in, 100, NULL, NULL, spread, with.out,
                             100, NULL, NULL, spread, MPI_OP_NULL, with.lease,
                             MPI_STATUS_IGNORE));
    for (int i = 0; i < 200; i++)
        wrong += with.out[i] != (i % 2 ? -1 : i + 1);
    CHECK_EQUAL(wrong, 0);
    CHECK_CODE(MPIX_Invoke_all(with.increment, with.in, 3, NULL, NULL, MPI_INT32_T,
                               with.out, 1, NULL, NULL, spread, MPI_SUM, with.lease,
                               MPI_STATUS_IGNORE),
               MPI_ERR_TYPE, "gaps");
    MPI_Type_free(&spread);
    tear_down();
}

/* ---- reductions ------------------------------------------------------------------ */

static void test_reduction(void)
{
    unsigned char bytes[ELEMENTS];
    int64_t total = -1, wanted = 0;
    MPI_Request request;
    MPI_Status status;
    int count;
    set_up();
    for (int i = 0; i < ELEMENTS; i++) {
        bytes[i] = (unsigned char)(7 * i);
        wanted += bytes[i];
    }
    CHECK_OK(MPIX_Invoke_all(with.sum, bytes, ELEMENTS, NULL, NULL, MPI_BYTE, &total, 1,
                             NULL, NULL, MPI_INT64_T, MPI_SUM, with.lease,
                             MPI_STATUS_IGNORE));
    CHECK_EQUAL(total, wanted);
    total = -1;
    CHECK_OK(MPIX_Iinvoke_all(with.sum, bytes, ELEMENTS, NULL, NULL, MPI_BYTE, &total,
                              1, NULL, NULL, MPI_INT64_T, MPI_SUM, with.lease,
                              &request));
    CHECK_OK(MPI_Wait(&request, &status));
    CHECK_EQUAL(total, wanted);
    CHECK_OK(MPI_Get_count(&status, MPI_INT64_T, &count));
    CHECK_EQUAL(count, 1);
    tear_down();
}

/* a op b is a: the order shows. */
static void first_of(void *in, void *inout, int *n, MPI_Datatype *type)
{
    (void)type;
    memcpy(inout, in, (size_t)*n * sizeof(int32_t));
}

static void test_order(void)
{
    MPI_Op op;
    set_up();
    MPI_Op_create(first_of, 0, &op);
    for (int i = 0; i < 6; i++)
        with.in[i] = i;
    CHECK_OK(invoke_all(with.increment, 6, 2, op, true, MPI_STATUS_IGNORE));
    CHECK_EQUAL(with.out[0], 1);
    CHECK_EQUAL(with.out[1], 2);
    MPI_Op_free(&op);
    tear_down();
}

/* Of any predefined type, however many there are. */
static void test_types(void)
{
    const MPI_Datatype types[] = {
        MPI_SIGNED_CHAR,   MPI_UNSIGNED_CHAR,
        MPI_SHORT,         MPI_UNSIGNED_SHORT,
        MPI_INT,           MPI_UNSIGNED,
        MPI_LONG,          MPI_UNSIGNED_LONG,
        MPI_LONG_LONG_INT, MPI_UNSIGNED_LONG_LONG,
        MPI_INT8_T,        MPI_INT16_T,
        MPI_INT32_T,       MPI_INT64_T,
        MPI_UINT8_T,       MPI_UINT16_T,
        MPI_UINT32_T,      MPI_UINT64_T,
        MPI_FLOAT,         MPI_DOUBLE,
        MPI_AINT,          MPI_OFFSET,
        MPI_COUNT,
    };
    const int each = 8, bytes = each * (int)sizeof(int32_t);
    set_up();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        int size;
        CHECK_OK(MPI_Type_size(types[i], &size));
        CHECK_OK(MPIX_Invoke_all(with.increment, with.in, WORKERS * each, NULL, NULL,
                                 MPI_INT32_T, with.out, bytes / size, NULL, NULL,
                                 types[i], MPI_MAX, with.lease, MPI_STATUS_IGNORE));
    }
    tear_down();
}

/* Nothing can be reduced of which there isn't enough. */
static void test_short_results(void)
{
    set_up();
    CHECK_CODE(invoke_all(with.increment, 6, 4, MPI_SUM, true, MPI_STATUS_IGNORE),
               MPIX_ERR_FUNCTION, "worker 0 gave 8 bytes to be reduced, instead of 16");
    tear_down();
}

/* ---- failures -------------------------------------------------------------------- */

static void test_return_values(void)
{
    MPI_Status status;
    set_up();
    MPIX_Function f = function_load(shared_pool(), "increment_but_7");
    with.in[350] = -7; /* the second worker's */
    CHECK_OK(invoke_all(f, 900, 900, MPI_OP_NULL, false, &status));
    CHECK_EQUAL(status.MPI_TAG, 7);
    CHECK_EQUAL(status.MPI_SOURCE, 1);
    check_increments(0, 300);
    check_increments(600, 300);
    tear_down();
}

static void test_failing_worker(void)
{
    MPI_Status status;
    set_up();
    MPIX_Function f = function_load(shared_pool(), "increment_but_9");
    with.in[350] = -9;
    for (int i = 0; i < 2; i++) {
        memset(with.out, 0xff, sizeof with.out);
        CHECK_CODE(invoke_all(f, 900, 900, MPI_OP_NULL, i, &status), MPIX_ERR_FUNCTION,
                   "signal 6");
        CHECK_EQUAL(status.MPI_SOURCE, 1);
        check_increments(0, 300);
        check_increments(600, 300);
    }
    CHECK_CODE(invoke_all(f, 900, 300, MPI_SUM, true, &status), MPIX_ERR_FUNCTION,
               "signal 6");
    tear_down();
}

/* What the worker that leaves was sent it does; what waited for it is lost. */
static void test_worker_leaves(void)
{
    enum { SENT, WAITING, CALLS };
    MPI_Request requests[CALLS];
    MPI_Status status;
    MPIX_Lease lease = lease_acquire(shared_pool(), 2, SETTINGS("slots=1"));
    MPIX_Function slow = function_load(shared_pool(), "increment_slowly");
    for (int i = 0; i < 4; i++)
        with.in[i] = 100000000;
    for (int i = 0; i < CALLS; i++)
        CHECK_OK(MPIX_Iinvoke_all(slow, with.in, 4, NULL, NULL, MPI_INT32_T,
                                  with.out + 4 * i, 4, NULL, NULL, MPI_INT32_T,
                                  MPI_OP_NULL, lease, &requests[i]));
    CHECK_OK(MPIX_Lease_resize(lease, 1, MPI_INFO_NULL));
    CHECK_OK(MPI_Wait(&requests[SENT], &status));
    CHECK_CODE(MPI_Wait(&requests[WAITING], &status), MPIX_ERR_WORKER_LOST,
               "worker 1 isn't in the lease any more");
    CHECK_EQUAL(status.MPI_SOURCE, 1);
    for (int i = 0; i < 6; i++)
        CHECK_EQUAL(with.out[i], 100000001);
    CHECK_OK(MPIX_Invoke_all(slow, with.in, 1, NULL, NULL, MPI_INT32_T, with.out, 1,
                             NULL, NULL, MPI_INT32_T, MPI_OP_NULL, lease, &status));
    CHECK_OK(MPIX_Lease_release(&lease));
}

static void test_truncation(void)
{
    set_up();
    MPIX_Function echo = function_load(shared_pool(), "classic_echo");
    CHECK_CODE(invoke_all(echo, 900, 600, MPI_OP_NULL, true, MPI_STATUS_IGNORE),
               MPI_ERR_TRUNCATE, "");
    tear_down();
}

static void test_arguments(void)
{
    const MPI_Count bad[WORKERS] = {1, -1, 1}, good[WORKERS] = {1, 1, 1};
    const MPI_Aint displs[WORKERS] = {0, 1, 2};
    MPI_Request request;
    set_up();
#define CALL(function, in, n, counts, displs, out, outn, outcounts, op)                \
    MPIX_Iinvoke_all(function, in, n, counts, displs, MPI_INT32_T, out, outn,          \
                     outcounts, NULL, MPI_INT32_T, op, with.lease, &request)
    MPIX_Function f = with.increment;
    CHECK_CODE(CALL(NULL, with.in, 3, NULL, NULL, with.out, 3, NULL, MPI_OP_NULL),
               MPI_ERR_ARG, "function is null");
    CHECK_CODE(CALL(f, with.in, -3, NULL, NULL, with.out, 3, NULL, MPI_OP_NULL),
               MPI_ERR_COUNT, "input");
    CHECK_CODE(CALL(f, with.in, 3, bad, NULL, with.out, 3, NULL, MPI_OP_NULL),
               MPI_ERR_COUNT, "input");
    CHECK_CODE(CALL(f, with.in, 3, NULL, NULL, with.out, 3, bad, MPI_OP_NULL),
               MPI_ERR_COUNT, "output");
    CHECK_CODE(CALL(f, NULL, 3, NULL, NULL, with.out, 3, NULL, MPI_OP_NULL),
               MPI_ERR_BUFFER, "input");
    CHECK_CODE(CALL(f, with.in, 3, NULL, NULL, NULL, 3, NULL, MPI_SUM), MPI_ERR_BUFFER,
               "output");
    CHECK_CODE(CALL(f, with.in, 3, NULL, displs, with.out, 3, NULL, MPI_OP_NULL),
               MPI_ERR_ARG, "displacements need counts");
    CHECK_CODE(CALL(f, with.in, 3, NULL, NULL, with.out, 3, good, MPI_SUM), MPI_ERR_ARG,
               "outcounts");
    CHECK_CODE(CALL(f, with.in, 3, NULL, NULL, with.out, INT64_MAX / 8, NULL, MPI_SUM),
               MPI_ERR_COUNT, "");
#undef CALL
    CHECK_CODE(MPIX_Iinvoke_all(f, with.in, 3, NULL, NULL, MPI_INT32_T, with.out, 3,
                                NULL, NULL, MPI_INT32_T, MPI_OP_NULL, with.lease, NULL),
               MPI_ERR_ARG, "request is null");
    MPIX_Lease lease = with.lease;
    tear_down();
    with.lease = lease;
    CHECK_CODE(invoke_all(f, 3, 3, MPI_OP_NULL, true, MPI_STATUS_IGNORE),
               MPIX_ERR_LEASE, "released");
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"equal parts", test_equal_parts},
        {"every worker has its turn", test_every_worker},
        {"counts and displacements", test_counts},
        {"elements with gaps", test_gaps},
        {"results are added up", test_reduction},
        {"results are reduced in the workers' order", test_order},
        {"results of any predefined type are reduced", test_types},
        {"results that are too short for a reduction", test_short_results},
        {"return values are told", test_return_values},
        {"a worker fails, the others' results are there", test_failing_worker},
        {"a worker leaves the lease meanwhile", test_worker_leaves},
        {"results that don't fit", test_truncation},
        {"bad arguments are refused", test_arguments},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: invocations of all workers", tests, MPI_THREAD_SINGLE,
                         argc, argv);
}
