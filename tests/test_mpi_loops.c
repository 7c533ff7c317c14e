/* Parallel loops: every element's result is there and right, whoever computes it. */
#include "mpi_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 20000, WORKERS = 2, SLOW_NS = 5000 };

static struct {
    MPIX_Lease lease;
    int32_t in[ELEMENTS], out[ELEMENTS];
} with;

static void set_up(const char *const settings[])
{
    with.lease = lease_acquire(shared_pool(), WORKERS, settings);
    for (int i = 0; i < ELEMENTS; i++) {
        with.in[i] = i;
        with.out[i] = -1;
    }
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Lease_release(&with.lease));
}

static int loop(MPIX_Function function, MPI_Count n, MPIX_Lease lease,
                const char *const settings[])
{
    MPI_Info info = info_of(settings);
    int code = MPIX_Parallel_for(function, n, with.in, MPI_INT32_T, with.out,
                                 MPI_INT32_T, lease, info);
    if (info != MPI_INFO_NULL)
        MPI_Info_free(&info);
    return code;
}

/* The first n are incremented, and those behind untouched. */
static void check_increments(int n)
{
    int wrong = 0;
    for (int i = 0; i < ELEMENTS; i++)
        wrong += with.out[i] != (i < n ? with.in[i] + 1 : -1);
    CHECK_EQUAL(wrong, 0);
}

static MPIX_Loop stats_of(MPIX_Function function)
{
    MPIX_Loop stats = {0};
    CHECK_OK(MPIX_Loop_stats(function, &stats));
    CHECK_EQUAL(stats.local + stats.offloaded + stats.failed, stats.elements);
    return stats;
}

/* ---- who does it ----------------------------------------------------------------- */

static void test_sizes(void)
{
    static const int sizes[] = {1, 2, 63, 64, 65, 1000, 4097, ELEMENTS};
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            memset(with.out, 0xff, sizeof with.out);
            CHECK_OK(loop(f, sizes[i], with.lease, NULL));
            check_increments(sizes[i]);
            CHECK_EQUAL(stats_of(f).elements, sizes[i]);
        }
    tear_down();
}

static void test_nothing(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    MPI_Request request;
    CHECK_EQUAL(stats_of(f).elements, 0);
    CHECK_OK(MPIX_Parallel_for(f, 0, NULL, MPI_INT32_T, NULL, MPI_INT32_T, with.lease,
                               MPI_INFO_NULL));
    CHECK_OK(MPIX_Iparallel_for(f, 0, NULL, MPI_INT32_T, NULL, MPI_INT32_T, with.lease,
                                MPI_INFO_NULL, &request));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK_EQUAL(stats_of(f).first_failed, -1);
    tear_down();
}

static void test_schedules(void)
{
    static const char *const settings[][4] = {
        {"schedule=model"},
        {"schedule=dynamic"},
        {"schedule=dynamic", "chunk=100"},
        {"schedule=static"},
        {"schedule=static", "offload=0.25"},
        {"schedule=static", "offload=0"},
        {"schedule=static", "offload=1", "chunk=64"},
        {"local_threads=0"},
        {"local_threads=0", "schedule=dynamic"},
        {"local_threads=0", "schedule=static", "offload=0.1"},
        {"local_threads=3"},
        {"chunk=10"},
    };
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        memset(with.out, 0xff, sizeof with.out);
        CHECK_OK(loop(f, ELEMENTS, with.lease, settings[i]));
        check_increments(ELEMENTS);
    }
    tear_down();
}

/* Of a static loop everybody does exactly the part that is said. */
static void test_static_parts(void)
{
    int wrong = 0;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "who_does");
    MPI_Info info = info_of(SETTINGS("schedule=static", "offload=0.25"));
    CHECK_OK(MPIX_Parallel_for(f, ELEMENTS, NULL, MPI_DATATYPE_NULL, with.out,
                               MPI_INT32_T, with.lease, info) != MPI_SUCCESS
                 ? MPI_SUCCESS
                 : MPI_ERR_OTHER);
    MPI_Datatype none;
    MPI_Type_contiguous(0, MPI_BYTE, &none);
    MPI_Type_commit(&none);
    CHECK_OK(MPIX_Parallel_for(f, ELEMENTS, NULL, none, with.out, MPI_INT32_T,
                               with.lease, info));
    MPI_Type_free(&none);
    MPI_Info_free(&info);
    for (int i = 0; i < ELEMENTS; i++)
        wrong += (with.out[i] >= 0) != (i >= ELEMENTS * 3 / 4);
    CHECK_EQUAL(wrong, 0);
    CHECK(stats_of(f).offload == 0.25);
    tear_down();
}

/* What costs enough is shared, once the function is known; at the latest when the workers
 * get their cores, if they share these with others. */
static void test_model_shares(void)
{
    MPIX_Loop stats = {0};
    set_up(SETTINGS("hot_timeout_us=-1"));
    MPIX_Function f = function_load(shared_pool(), "increment_slowly");
    for (int i = 0; i < ELEMENTS; i++)
        with.in[i] = SLOW_NS;
    CHECK_OK(loop(f, ELEMENTS, with.lease, NULL));
    double start = MPI_Wtime();
    do {
        memset(with.out, 0xff, sizeof with.out);
        CHECK_OK(loop(f, ELEMENTS, with.lease, NULL));
        check_increments(ELEMENTS);
        stats = stats_of(f);
    } while (stats.offloaded == 0 && patient(start, PATIENCE_SECONDS));
    CHECK(stats.local > 0);
    CHECK(stats.predicted_ns > 0);
    tear_down();
}

/* What doesn't is left home. */
static void test_short_loops_stay_home(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    CHECK_OK(loop(f, 1000, with.lease, NULL));
    int offloaded = 0;
    for (int i = 0; i < 100; i++) {
        memset(with.out, 0xff, sizeof with.out);
        CHECK_OK(loop(f, 1000, with.lease, NULL));
        check_increments(1000);
        offloaded += stats_of(f).offloaded > 0;
    }
    CHECK(offloaded <=
          5); /* a rank that lost its core for a while may think otherwise */
    tear_down();
}

static void test_without_workers(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    const char *const *settings[] = {NULL, SETTINGS("local_threads=0"),
                                     SETTINGS("schedule=static"),
                                     SETTINGS("local_threads=2")};
    for (int i = 0; i < 4; i++) {
        memset(with.out, 0xff, sizeof with.out);
        CHECK_OK(loop(f, ELEMENTS, MPIX_LEASE_NULL, settings[i]));
        check_increments(ELEMENTS);
        CHECK_EQUAL(stats_of(f).local, ELEMENTS);
    }
    MPI_Request request;
    MPI_Info info = info_of(SETTINGS("local_threads=0"));
    memset(with.out, 0xff, sizeof with.out);
    CHECK_OK(MPIX_Iparallel_for(f, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                MPI_INT32_T, MPIX_LEASE_NULL, info, &request));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    check_increments(ELEMENTS);
    MPI_Info_free(&info);
    tear_down();
}

static void test_classic(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "classic_increment");
    CHECK_OK(loop(f, ELEMENTS, with.lease, SETTINGS("schedule=static")));
    check_increments(ELEMENTS); /* the input, too, is what it was */
    CHECK_EQUAL(stats_of(f).offloaded, ELEMENTS / 2);
    tear_down();
}

/* ---- data ------------------------------------------------------------------------ */

/* Three of every five doubles in, one of every two out. */
static void test_gaps(void)
{
    enum { N = 1000 };
    static double in[5 * N], out[2 * N];
    const char *const *settings[] = {NULL, SETTINGS("schedule=static")};
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "mean_of_3");
    MPI_Datatype three, spaced, spread;
    MPI_Type_vector(3, 1, 2, MPI_DOUBLE, &three);
    MPI_Type_create_resized(three, 0, 5 * sizeof(double), &spaced);
    MPI_Type_create_resized(MPI_DOUBLE, 0, 2 * sizeof(double), &spread);
    MPI_Type_commit(&spaced);
    MPI_Type_commit(&spread);
    for (int i = 0; i < 5 * N; i++)
        in[i] = i % 5 % 2 ? -1e9 : i / 5 + i % 5;
    for (int round = 0; round < 4; round++) {
        MPI_Request request;
        MPI_Info info = info_of(settings[round % 2]);
        int wrong = 0;
        for (int i = 0; i < 2 * N; i++)
            out[i] = -5;
        if (round < 2) {
            CHECK_OK(
                MPIX_Parallel_for(f, N, in, spaced, out, spread, with.lease, info));
        } else {
            CHECK_OK(MPIX_Iparallel_for(f, N, in, spaced, out, spread, with.lease, info,
                                        &request));
            CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
        }
        for (int i = 0; i < 2 * N; i++)
            wrong += out[i] != (i % 2 ? -5 : i / 2 + 2);
        CHECK_EQUAL(wrong, 0);
        if (info != MPI_INFO_NULL)
            MPI_Info_free(&info);
    }
    MPI_Type_free(&three);
    MPI_Type_free(&spaced);
    MPI_Type_free(&spread);
    tear_down();
}

static void test_pool_memory(void)
{
    int32_t *in, *out;
    int wrong = 0;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    CHECK_OK(MPIX_Pool_alloc_mem(sizeof with.in, shared_pool(), &in));
    CHECK_OK(MPIX_Pool_alloc_mem(sizeof with.out, shared_pool(), &out));
    memcpy(in, with.in, sizeof with.in);
    MPI_Info info = info_of(SETTINGS("schedule=dynamic"));
    CHECK_OK(MPIX_Parallel_for(f, ELEMENTS, in, MPI_INT32_T, out, MPI_INT32_T,
                               with.lease, info));
    MPI_Info_free(&info);
    for (int i = 0; i < ELEMENTS; i++)
        wrong += out[i] != in[i] + 1;
    CHECK_EQUAL(wrong, 0);
    CHECK_OK(MPIX_Pool_free_mem(shared_pool(), in));
    CHECK_OK(MPIX_Pool_free_mem(shared_pool(), out));
    tear_down();
}

/* ---- elements that fail ---------------------------------------------------------- */

/* With whatever schedule, all but elements 7,001 and 15,002 are done. */
static void check_failing(MPIX_Function f, int32_t bad, const char *words,
                          const char *const settings[])
{
    int wrong = 0;
    for (int i = 0; i < ELEMENTS; i++)
        with.in[i] = i;
    with.in[7001] = with.in[15002] = bad;
    memset(with.out, 0xff, sizeof with.out);
    int code = loop(f, ELEMENTS, with.lease, settings);
    CHECK_CODE(code, MPIX_ERR_FUNCTION,
               "2 of 20000 elements failed, the first is 7001");
    CHECK_CODE(code, MPIX_ERR_FUNCTION, words);
    for (int i = 0; i < ELEMENTS; i++)
        wrong += i != 7001 && i != 15002 && with.out[i] != i + 1;
    CHECK_EQUAL(wrong, 0);
    MPIX_Loop stats = stats_of(f);
    CHECK_EQUAL(stats.failed, 2);
    CHECK_EQUAL(stats.first_failed, 7001);
}

static void test_failing_elements(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment_but_7");
    check_failing(f, -7, "returned 7", NULL);
    check_failing(f, -7, "returned 7", SETTINGS("schedule=static", "offload=0.5"));
    check_failing(f, -7, "returned 7 on worker", SETTINGS("local_threads=0"));
    check_failing(f, -7, "returned 7", SETTINGS("schedule=dynamic", "local_threads=2"));
    tear_down();
}

/* A value that no function may return fails its elements alone, however many they are: no
 * worker has crashed. */
static void test_foul_values(void)
{
    enum { APART = 500 };
    int wrong = 0;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment_but_5");
    for (int i = 0; i < ELEMENTS; i++)
        with.in[i] = i % APART == 0 ? -5 : i;
    int code = loop(f, ELEMENTS, with.lease, SETTINGS("local_threads=0", "chunk=1000"));
    CHECK_CODE(code, MPIX_ERR_FUNCTION, "40 of 20000 elements failed, the first is 0");
    CHECK_CODE(code, MPIX_ERR_FUNCTION, "returned a value outside 0..32767");
    for (int i = 0; i < ELEMENTS; i++)
        wrong += i % APART != 0 && with.out[i] != i + 1;
    CHECK_EQUAL(wrong, 0);
    tear_down();
}

/* They fail in a loop that is known to be short, too. */
static void test_failing_at_home(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment_but_7");
    for (int i = 0; i < 3; i++)
        CHECK_OK(loop(f, 200, with.lease, NULL));
    with.in[50] = -7;
    CHECK_CODE(loop(f, 200, with.lease, NULL), MPIX_ERR_FUNCTION,
               "1 of 200 elements failed, the first is 50");
    with.in[50] = 50;
    CHECK_OK(loop(f, 200, with.lease, NULL));
    CHECK_EQUAL(stats_of(f).failed, 0);
    tear_down();
}

/* A short loop looks at its lease all the same. */
static void test_lease_of_another_pool(void)
{
    set_up(NULL);
    MPIX_Pool other = pool_create(MPI_COMM_SELF, SETTINGS("cores=1"));
    MPIX_Lease lease = lease_acquire(other, 1, NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    for (int i = 0; i < 4; i++) {
        CHECK_OK(loop(f, 200, with.lease, NULL));
        CHECK_CODE(loop(f, 200, lease, NULL), MPI_ERR_ARG, "pool");
    }
    CHECK_OK(MPIX_Pool_free(&other));
    tear_down();
}

static void test_all_fail(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "nothing");
    CHECK_CODE(loop(f, 300, with.lease, SETTINGS("schedule=static")), MPIX_ERR_FUNCTION,
               "300 of 300 elements failed, the first is 0: the function gave 0 bytes");
    tear_down();
}

/* What is only wrong alone is found wrong nowhere else. */
static void test_short_output(void)
{
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment_but_single");
    CHECK_CODE(
        loop(f, 1, with.lease, NULL), MPIX_ERR_FUNCTION,
        "1 of 1 elements failed, the first is 0: the function gave 0 bytes instead "
        "of 4");
    tear_down();
}

/* They are found, and nobody but workers has tried them: in the rank they would have
 * succeeded. */
static void test_crashing_elements(void)
{
    if (mpi_rank > 0)
        return; /* it starts many processes */
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment_but_9");
    check_failing(f, -9, "signal 6", SETTINGS("local_threads=0", "chunk=1000"));
    tear_down();
}

/* ---- requests -------------------------------------------------------------------- */

static void test_request(void)
{
    MPI_Request request;
    MPI_Status status;
    int count = 0, flag = 0;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    CHECK_OK(MPIX_Iparallel_for(f, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                MPI_INT32_T, with.lease, MPI_INFO_NULL, &request));
    double start = MPI_Wtime();
    while (!flag && patient(start, PATIENCE_SECONDS))
        CHECK_OK(MPI_Test(&request, &flag, &status));
    check_increments(ELEMENTS);
    CHECK_OK(MPI_Get_count(&status, MPI_INT32_T, &count));
    CHECK_EQUAL(count, ELEMENTS);
    tear_down();
}

/* In one Waitall with a message, an invocation and another loop. */
static void test_waitall(void)
{
    enum { HALF = ELEMENTS / 2 };
    MPI_Request requests[5];
    int32_t sent = mpi_rank, received = -1, one = 1, two = 0;
    int next = (mpi_rank + 1) % mpi_ranks,
        previous = (mpi_rank + mpi_ranks - 1) % mpi_ranks;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    CHECK_OK(MPI_Irecv(&received, 1, MPI_INT32_T, previous, 5, MPI_COMM_WORLD,
                       &requests[0]));
    CHECK_OK(MPIX_Iparallel_for(f, HALF, with.in, MPI_INT32_T, with.out, MPI_INT32_T,
                                with.lease, MPI_INFO_NULL, &requests[1]));
    CHECK_OK(MPIX_Iinvoke(f, &one, 1, MPI_INT32_T, &two, 1, MPI_INT32_T,
                          MPIX_ANY_WORKER, with.lease, &requests[2]));
    CHECK_OK(MPIX_Iparallel_for(f, ELEMENTS - HALF, with.in + HALF, MPI_INT32_T,
                                with.out + HALF, MPI_INT32_T, with.lease, MPI_INFO_NULL,
                                &requests[3]));
    CHECK_OK(MPI_Isend(&sent, 1, MPI_INT32_T, next, 5, MPI_COMM_WORLD, &requests[4]));
    CHECK_OK(MPI_Waitall(5, requests, MPI_STATUSES_IGNORE));
    check_increments(ELEMENTS);
    CHECK_EQUAL(received, previous);
    CHECK_EQUAL(two, 2);
    tear_down();
}

static void test_request_fails(void)
{
    MPI_Request request;
    MPI_Status status;
    int count = 0;
    set_up(NULL);
    with.in[3] = -7;
    MPIX_Function f = function_load(shared_pool(), "increment_but_7");
    MPI_Info info = info_of(SETTINGS("schedule=static"));
    CHECK_OK(MPIX_Iparallel_for(f, 100, with.in, MPI_INT32_T, with.out, MPI_INT32_T,
                                with.lease, info, &request));
    MPI_Info_free(&info);
    CHECK_CODE(MPI_Wait(&request, &status), MPIX_ERR_FUNCTION,
               "1 of 100 elements failed, the first is 3");
    CHECK_OK(MPI_Get_count(&status, MPI_INT32_T, &count));
    CHECK_EQUAL(count, 99);
    tear_down();
}

/* The function may be freed, and nobody has to wait: other requests drive it, too. */
static void test_request_freed(void)
{
    MPI_Request request;
    set_up(NULL);
    MPIX_Function f = function_load(shared_pool(), "increment");
    MPIX_Function other = function_load(shared_pool(), "increment");
    CHECK_OK(MPIX_Iparallel_for(f, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                MPI_INT32_T, with.lease, MPI_INFO_NULL, &request));
    CHECK_OK(MPIX_Function_free(&f));
    CHECK_OK(MPI_Request_free(&request));
    double start = MPI_Wtime();
    for (int i = 0; i < ELEMENTS; i++)
        while (((volatile int32_t *)with.out)[i] != with.in[i] + 1 &&
               patient(start, PATIENCE_SECONDS))
            CHECK(increments(other, with.lease, 0, i));
    tear_down();
}

/* ---- errors ---------------------------------------------------------------------- */

static void test_arguments(void)
{
    MPI_Request request;
    MPIX_Loop stats;
    set_up(NULL);
    MPIX_Lease lease = with.lease, released;
    MPIX_Function f = function_load(shared_pool(), "increment"), freed = f;
#define LOOP(function, n, in, intype, out, outtype)                                    \
    MPIX_Parallel_for(function, n, in, intype, out, outtype, lease, MPI_INFO_NULL)
    CHECK_CODE(LOOP(MPIX_FUNCTION_NULL, 1, with.in, MPI_INT, with.out, MPI_INT),
               MPI_ERR_ARG, "function is null");
    CHECK_CODE(LOOP(f, -1, with.in, MPI_INT, with.out, MPI_INT), MPI_ERR_COUNT,
               "count");
    CHECK_CODE(LOOP(f, 1, NULL, MPI_INT, with.out, MPI_INT), MPI_ERR_BUFFER, "input");
    CHECK_CODE(LOOP(f, 1, with.in, MPI_INT, NULL, MPI_INT), MPI_ERR_BUFFER, "output");
    CHECK_CODE(LOOP(f, 1, with.in, MPI_DATATYPE_NULL, with.out, MPI_INT), MPI_ERR_TYPE,
               "input");
    CHECK_CODE(LOOP(f, INT64_MAX / 2, with.in, MPI_INT, with.out, MPI_INT),
               MPI_ERR_COUNT, "too large");
#undef LOOP
    CHECK_CODE(loop(f, 1, lease, SETTINGS("schedule=guided")), MPI_ERR_INFO_VALUE,
               "schedule=guided");
    CHECK_CODE(loop(f, 1, lease, SETTINGS("offload=2")), MPI_ERR_INFO_VALUE, "0..1");
    CHECK_CODE(MPIX_Iparallel_for(f, 1, with.in, MPI_INT, with.out, MPI_INT, lease,
                                  MPI_INFO_NULL, NULL),
               MPI_ERR_ARG, "request is null");
    CHECK_CODE(MPIX_Iparallel_for(f, -1, with.in, MPI_INT, with.out, MPI_INT, lease,
                                  MPI_INFO_NULL, &request),
               MPI_ERR_COUNT, "count");
    CHECK_CODE(MPIX_Loop_stats(MPIX_FUNCTION_NULL, &stats), MPI_ERR_ARG, "function");
    CHECK_CODE(MPIX_Loop_stats(f, NULL), MPI_ERR_ARG, "where to put");
    released = lease_acquire(shared_pool(), 1, NULL);
    lease = released;
    CHECK_OK(MPIX_Lease_release(&released));
    CHECK_CODE(loop(f, 1, lease, NULL), MPIX_ERR_LEASE, "released");
    CHECK_OK(MPIX_Function_free(&freed));
    CHECK_CODE(loop(f, 1, with.lease, NULL), MPIX_ERR_FUNCTION, "freed");
    tear_down();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"loops of all sizes come out right", test_sizes},
        {"a loop of nothing is done at once", test_nothing},
        {"every schedule does every element", test_schedules},
        {"a static loop is divided as it is told", test_static_parts},
        {"a loop that costs enough is shared", test_model_shares},
        {"short loops stay home", test_short_loops_stay_home},
        {"without workers the rank does it all", test_without_workers},
        {"classic functions make loops, too", test_classic},
        {"elements with gaps are packed", test_gaps},
        {"elements in memory of the pool", test_pool_memory},
        {"elements that fail are found, the others done", test_failing_elements},
        {"what returns a foul value fails alone", test_foul_values},
        {"an element fails in a short loop", test_failing_at_home},
        {"a short loop takes no lease of another pool", test_lease_of_another_pool},
        {"all elements fail", test_all_fail},
        {"a result that is too short is a failure", test_short_output},
        {"elements that crash workers are found", test_crashing_elements},
        {"a nonblocking loop completes", test_request},
        {"loops complete beside messages and invocations", test_waitall},
        {"a nonblocking loop fails", test_request_fails},
        {"request and function may be freed early", test_request_freed},
        {"bad arguments are refused", test_arguments},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: loops", tests, MPI_THREAD_SINGLE, argc, argv);
}
