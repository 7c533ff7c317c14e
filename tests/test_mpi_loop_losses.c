/* Workers, executor and lease go while loops run: every element is done, and right. Each
 * rank has a pool of its own, whose executor it may kill. */
#include "mpi_pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { ELEMENTS = 4000, WORKERS = 2, LOOPS = 1000, SEED = 20231 };

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function slow;
    pid_t executor;
    int32_t in[ELEMENTS], out[ELEMENTS];
    uint32_t random;
} with;

static uint32_t random_below(uint32_t most)
{
    with.random = with.random * 1664525u + 1013904223u;
    return (with.random >> 8) % most;
}

static void fill(int32_t ns)
{
    for (int i = 0; i < ELEMENTS; i++)
        with.in[i] = ns;
    memset(with.out, 0xff, sizeof with.out);
}

/* Two ranks do it at a time: more would leave too little of a small machine. */
static bool set_up(const char *const settings[])
{
    char cores[32];
    if (mpi_rank >= 2)
        return false;
    snprintf(cores, sizeof cores, "cores=%d", WORKERS);
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS(cores));
    with.slow = function_load(with.pool, "increment_slowly");
    MPIX_Function whoami = function_load(with.pool, "whoami");
    with.lease = lease_acquire(with.pool, WORKERS, settings);
    with.executor = parent_of(worker_pid(with.lease, whoami, 0));
    CHECK_FATAL(with.executor > 1);
    return true;
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

/* Kills one of the executor's workers; false: it has none at the moment. */
static bool kill_a_worker(unsigned which)
{
    char path[80];
    int pids[64], count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)with.executor,
             (int)with.executor);
    FILE *file = fopen(path, "r");
    CHECK_FATAL(file != NULL);
    while (count < 64 && fscanf(file, "%d", &pids[count]) == 1)
        count++;
    fclose(file);
    return count > 0 && kill(pids[which % (unsigned)count], SIGKILL) == 0;
}

static MPI_Request begin(int n, const char *const settings[])
{
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Info info = info_of(settings);
    CHECK_OK(MPIX_Iparallel_for(with.slow, n, with.in, MPI_INT32_T, with.out,
                                MPI_INT32_T, with.lease, info, &request));
    if (info != MPI_INFO_NULL)
        MPI_Info_free(&info);
    return request;
}

/* The first n are there, once each, and nothing behind them. */
static bool all_right(int n)
{
    MPIX_Loop stats = {0};
    CHECK_OK(MPIX_Loop_stats(with.slow, &stats));
    CHECK_EQUAL(stats.elements, n);
    CHECK_EQUAL(stats.local + stats.offloaded, n);
    int wrong = 0;
    for (int i = 0; i < ELEMENTS; i++)
        wrong += with.out[i] != (i < n ? with.in[i] + 1 : -1);
    CHECK_EQUAL(wrong, 0);
    return wrong == 0 && stats.local + stats.offloaded == n;
}

/* ---- workers --------------------------------------------------------------------- */

static void test_workers(void)
{
    if (!set_up(NULL))
        return;
    fill(5000);
    MPI_Request request = begin(ELEMENTS, SETTINGS("schedule=static", "offload=0.8"));
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(kill_a_worker(i));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(ELEMENTS));
    tear_down();
}

static void test_at_random(void)
{
    static const char *const settings[][3] = {
        {"schedule=model"},
        {"schedule=dynamic"},
        {"schedule=static"},
        {"local_threads=0"},
        {"local_threads=2"},
        {"chunk=7"},
        {"schedule=dynamic", "chunk=100"},
    };
    enum { KINDS = sizeof settings / sizeof settings[0] };
    int killed = 0;
    if (!set_up(NULL))
        return;
    with.random = SEED + (uint32_t)mpi_rank;
    printf("\n    seed %u\n", with.random);
    for (int i = 0; i < LOOPS; i++) {
        int n = 1 + (int)random_below(500);
        fill((int32_t)random_below(2000));
        MPI_Request request = begin(n, settings[random_below(KINDS)]);
        if (random_below(8) == 0)
            killed += kill_a_worker(random_below(WORKERS));
        CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
        if (!all_right(n)) {
            printf("    loop %d of %d elements\n", i, n);
            break;
        }
    }
    CHECK(killed > LOOPS / 20);
    tear_down();
}

static _Atomic bool stop;

/* Kills workers at irregular times, which is all that it pauses for. */
static void *killer(void *arg)
{
    unsigned random = *(unsigned *)arg;
    for (unsigned i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        random = random * 1664525u + 1013904223u;
        struct timespec pause = {.tv_nsec = 1000000 + (long)(random >> 8) % 20000000};
        nanosleep(&pause, NULL);
        kill_a_worker(i);
    }
    return NULL;
}

static void test_under_blocking_loops(void)
{
    pthread_t thread;
    unsigned seed = SEED;
    int64_t retried = 0;
    if (!set_up(NULL))
        return;
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    CHECK_FATAL(pthread_create(&thread, NULL, killer, &seed) == 0);
    for (int i = 0; i < 100; i++) {
        MPIX_Loop stats;
        fill(2000);
        CHECK_OK(MPIX_Parallel_for(with.slow, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                   MPI_INT32_T, with.lease, MPI_INFO_NULL));
        if (!all_right(ELEMENTS))
            break;
        CHECK_OK(MPIX_Loop_stats(with.slow, &stats));
        retried += stats.retried;
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    CHECK(retried > 0);
    tear_down();
}

/* Again and again with the same element: it is the cause, not the victim. */
static void test_deadly_element(void)
{
    if (mpi_rank > 0 || !set_up(NULL))
        return;
    MPIX_Function f = function_load(with.pool, "increment_but_3");
    fill(0);
    with.in[40] = -3;
    MPI_Info info = info_of(SETTINGS("local_threads=0"));
    CHECK_CODE(MPIX_Parallel_for(f, 64, with.in, MPI_INT32_T, with.out, MPI_INT32_T,
                                 with.lease, info),
               MPIX_ERR_FUNCTION, "1 of 64 elements failed, the first is 40");
    MPI_Info_free(&info);
    int wrong = 0;
    for (int i = 0; i < 64; i++)
        wrong += i != 40 && with.out[i] != with.in[i] + 1;
    CHECK_EQUAL(wrong, 0);
    tear_down();
}

/* ---- another number of workers --------------------------------------------------- */

static void resize(int workers)
{
    MPI_Info info = info_of(SETTINGS("wait_seconds=30"));
    CHECK_OK(MPIX_Lease_resize(with.lease, workers, info));
    MPI_Info_free(&info);
}

/* The lease changes its size while loops run: what was the part of a worker that left is
 * done elsewhere, and one that joins gets its part of the next loop. */
static void test_lease_resized(void)
{
    static const char *const settings[][3] = {{"schedule=dynamic"},
                                              {"schedule=static", "offload=0.8"},
                                              {"local_threads=0"},
                                              {"schedule=model"}};
    enum { KINDS = sizeof settings / sizeof settings[0], RESIZED = 40 };
    int64_t retried = 0;
    if (!set_up(NULL))
        return;
    for (int i = 0; i < RESIZED; i++) {
        MPIX_Loop stats = {0};
        fill(2000);
        MPI_Request request = begin(ELEMENTS, settings[i % KINDS]);
        resize(1);
        resize(2 - i % 3 / 2);
        CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
        if (!all_right(ELEMENTS))
            break;
        resize(2);
        CHECK_OK(MPIX_Loop_stats(with.slow, &stats));
        CHECK_EQUAL(stats.failed, 0);
        retried += stats.retried;
    }
    printf("\n    %lld chunks were done again\n", (long long)retried);
    tear_down();
}

/* What waited for the worker that left is done elsewhere. */
static void test_left_while_waiting(void)
{
    MPIX_Loop stats = {0};
    if (!set_up(SETTINGS("slots=1")))
        return;
    fill(1000000);
    MPI_Request request =
        begin(40, SETTINGS("schedule=static", "offload=0.9", "chunk=5"));
    resize(1);
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(40));
    CHECK_OK(MPIX_Loop_stats(with.slow, &stats));
    CHECK(stats.retried > 0);
    tear_down();
}

/* ---- the executor, and the lease's end -------------------------------------------- */

static void test_executor(void)
{
    if (!set_up(NULL))
        return;
    fill(5000);
    MPI_Request request = begin(ELEMENTS, SETTINGS("schedule=dynamic"));
    CHECK_EQUAL(kill(with.executor, SIGKILL), 0);
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(ELEMENTS));
    /* The next ones are the rank's alone, threads of its own or not. */
    fill(1000);
    request = begin(ELEMENTS, SETTINGS("local_threads=0"));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(ELEMENTS));
    fill(1000);
    CHECK_OK(MPIX_Parallel_for(with.slow, ELEMENTS, with.in, MPI_INT32_T, with.out,
                               MPI_INT32_T, with.lease, MPI_INFO_NULL));
    CHECK(all_right(ELEMENTS));
    tear_down();
}

/* A worker is at one chunk for longer than the lease lasts, and takes the lease along. */
static void test_lease_expires(void)
{
    MPIX_Loop stats = {0};
    if (!set_up(SETTINGS("lease_seconds=0.5")))
        return;
    fill(2100000000);
    MPI_Request request = begin(2, SETTINGS("schedule=static"));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(2));
    CHECK_OK(MPIX_Loop_stats(with.slow, &stats));
    CHECK_EQUAL(stats.local, 2);
    CHECK_EQUAL(stats.retried, 1);
    tear_down();
}

/* The executor gives its cores back, and the workers' numbers wait for others. A loop may
 * have begun by then: it does itself what waits with them. */
static void test_no_cores(void)
{
    if (!set_up(SETTINGS("wait_seconds=60")))
        return;
    fill(1000);
    CHECK_EQUAL(kill(with.executor, SIGTERM), 0);
    double start = MPI_Wtime(), longest = 0;
    for (int i = 0; MPI_Wtime() - start < 1.5; i++) {
        double begin = MPI_Wtime();
        MPI_Info info =
            info_of(i % 2 ? SETTINGS("schedule=dynamic") : SETTINGS("schedule=model"));
        CHECK_OK(MPIX_Parallel_for(with.slow, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                   MPI_INT32_T, with.lease, info));
        MPI_Info_free(&info);
        if (!all_right(ELEMENTS))
            break;
        if (MPI_Wtime() - begin > longest)
            longest = MPI_Wtime() - begin;
    }
    CHECK(longest < 2 * test_slowness());
    tear_down();
}

/* No descriptors, so no memory that workers reach: what can't be sent the rank does. */
static void test_unsendable(void)
{
    struct rlimit old, none;
    if (!set_up(NULL))
        return;
    MPIX_Function f = function_load(with.pool, "increment");
    fill(1);
    CHECK_FATAL(getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = old;
    none.rlim_cur = 3;
    CHECK_FATAL(setrlimit(RLIMIT_NOFILE, &none) == 0);
    for (int i = 0; i < 2; i++) {
        MPI_Info info =
            info_of(i == 0 ? SETTINGS("schedule=static") : SETTINGS("local_threads=0"));
        CHECK_OK(MPIX_Parallel_for(f, ELEMENTS, with.in, MPI_INT32_T, with.out,
                                   MPI_INT32_T, with.lease, info));
        MPI_Info_free(&info);
    }
    CHECK_FATAL(setrlimit(RLIMIT_NOFILE, &old) == 0);
    MPIX_Loop stats = {0};
    CHECK_OK(MPIX_Loop_stats(f, &stats));
    CHECK_EQUAL(stats.local, ELEMENTS);
    tear_down();
}

static void test_lease_released(void)
{
    if (!set_up(NULL))
        return;
    fill(5000);
    MPI_Request request = begin(ELEMENTS, SETTINGS("schedule=dynamic"));
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(all_right(ELEMENTS));
    tear_down();
}

static void test_pool_freed(void)
{
    if (!set_up(NULL))
        return;
    fill(1000000);
    MPI_Request request = begin(ELEMENTS, NULL);
    double start = MPI_Wtime();
    tear_down();
    CHECK_CODE(MPI_Wait(&request, MPI_STATUS_IGNORE), MPIX_ERR_LEASE,
               "because the pool was freed");
    CHECK(MPI_Wtime() - start < PATIENCE_SECONDS);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"all workers are killed in a loop", test_workers},
        {"workers are killed at random in a thousand loops", test_at_random},
        {"workers are killed under blocking loops", test_under_blocking_loops},
        {"an element that its workers are killed with is found", test_deadly_element},
        {"the lease grows and shrinks in loops", test_lease_resized},
        {"a worker leaves before it has begun with a chunk", test_left_while_waiting},
        {"the executor is killed in a loop", test_executor},
        {"the lease expires in a loop", test_lease_expires},
        {"a loop doesn't wait for cores", test_no_cores},
        {"a rank does what can't be sent", test_unsendable},
        {"the lease is released in a loop", test_lease_released},
        {"the pool is freed in a loop", test_pool_freed},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: losses in loops", tests, MPI_THREAD_SINGLE, argc, argv);
}
