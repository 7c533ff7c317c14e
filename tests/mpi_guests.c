/* What tests/softroce/test_two_guests.sh runs in machine A, with two ranks. Executors come
 * from outside: one in A with one core, one in machine B with three. Rank 0 leases two
 * workers, which are in B then, rank 1 what is left: a worker in B and one in A. B stops
 * dead at the end. */
#include "mpi_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTSTANDING = 64, SIZE_MAX_TESTED = 1 << 20, WORKERS = 2 };

/* From the order to stop B on: 5 seconds until a node is missed, and as many for what an
 * emulated machine does then. */
static const double DEATH_SECONDS = 10;

static MPIX_Pool pool;
static MPIX_Lease lease;
static MPIX_Function increment;
static int in_a = -1, in_b = -1; /* workers of the lease: rank 0 has none in A */

static void file_make(const char *name)
{
    char path[256];
    const char *shared = getenv("GUESTS_SHARED");
    snprintf(path, sizeof path, "%s/%s", shared ? shared : "/run/shared", name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK_FATAL(fd >= 0);
    close(fd);
}

/* ---- tests ----------------------------------------------------------------------- */

/* The machine whose kernel runs the worker. */
static void check_node(MPIX_Function node, int worker, const char *expected)
{
    char name[64] = "";
    CHECK_OK(MPIX_Invoke(node, NULL, 0, MPI_BYTE, name, sizeof name - 1, MPI_BYTE,
                         worker, lease, MPI_STATUS_IGNORE));
    if (strcmp(name, expected) != 0)
        printf("\n    worker %d is on %s\n", worker, name);
    CHECK(strcmp(name, expected) == 0);
}

static void test_lease(void)
{
    int workers = 0;
    char name[64] = "";
    pool = pool_create(MPI_COMM_WORLD, NULL);
    if (mpi_rank == 0)
        file_make("pool"); /* executors may come */
    increment = function_load(pool, "increment");
    MPIX_Function node = function_load(pool, "node");
    if (mpi_rank == 0)
        lease = lease_acquire(pool, WORKERS, SETTINGS("slots=8"));
    MPI_Barrier(MPI_COMM_WORLD);
    if (mpi_rank == 1)
        lease = lease_acquire(pool, WORKERS, SETTINGS("slots=8"));
    MPIX_Lease_get_workers(lease, &workers);
    CHECK_EQUAL(workers, WORKERS);
    in_b = 0;
    if (mpi_rank == 1) {
        CHECK_OK(MPIX_Invoke(node, NULL, 0, MPI_BYTE, name, sizeof name - 1, MPI_BYTE,
                             0, lease, MPI_STATUS_IGNORE));
        in_b = strcmp(name, "guest-b") == 0 ? 0 : 1;
        in_a = 1 - in_b;
        check_node(node, in_a, "guest-a");
    } else {
        check_node(node, 1, "guest-b");
    }
    check_node(node, in_b, "guest-b");
    CHECK_OK(MPIX_Function_free(&node));
}

/* The library's file is in A only: B's workers have it from somewhere else. */
static void test_library(void)
{
    char from[512] = "";
    CHECK_FATAL(lease != MPIX_LEASE_NULL);
    MPIX_Function origin = function_load(pool, "origin");
    CHECK(access(functions_path(), R_OK) == 0);
    CHECK_OK(MPIX_Invoke(origin, NULL, 0, MPI_BYTE, from, sizeof from - 1, MPI_BYTE,
                         in_b, lease, MPI_STATUS_IGNORE));
    CHECK(from[0] != '\0' && strcmp(from, functions_path()) != 0);
    if (in_a >= 0) {
        memset(from, 0, sizeof from);
        CHECK_OK(MPIX_Invoke(origin, NULL, 0, MPI_BYTE, from, sizeof from - 1, MPI_BYTE,
                             in_a, lease, MPI_STATUS_IGNORE));
        CHECK(strcmp(from, functions_path()) == 0);
    }
    CHECK_OK(MPIX_Function_free(&origin));
}

/* What comes back is right, and what lies behind it untouched. */
static void check_increments(int32_t *in, int32_t *out, int count, int worker)
{
    int wrong = 0, got = -1;
    MPI_Status status;
    for (int i = 0; i < count; i++)
        in[i] = (int32_t)((uint32_t)i * 2654435761u + (uint32_t)count);
    memset(out, 0x77, (size_t)(count + 1) * sizeof *out);
    CHECK_OK(MPIX_Invoke(increment, in, count, MPI_INT32_T, out, count, MPI_INT32_T,
                         worker, lease, &status));
    MPI_Get_count(&status, MPI_INT32_T, &got);
    CHECK_EQUAL(got, count);
    for (int i = 0; i < count; i++)
        wrong += out[i] != (int32_t)((uint32_t)in[i] + 1);
    CHECK_EQUAL(wrong, 0);
    CHECK_EQUAL(out[count], 0x77777777);
}

static void test_sizes(void)
{
    static const int sizes[] = {8, 1 << 10, 64 << 10, SIZE_MAX_TESTED};
    static int32_t in[SIZE_MAX_TESTED / 4], out[SIZE_MAX_TESTED / 4 + 1];
    int32_t *pool_in = NULL, *pool_out = NULL;
    CHECK_FATAL(lease != MPIX_LEASE_NULL);
    CHECK_OK(MPIX_Pool_alloc_mem(sizeof in, pool, &pool_in));
    CHECK_OK(MPIX_Pool_alloc_mem(sizeof out, pool, &pool_out));
    CHECK_FATAL(pool_in && pool_out);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int count = sizes[i] / (int)sizeof *in;
        for (int worker = 0; worker < WORKERS; worker++) {
            check_increments(in, out, count, worker);
            check_increments(pool_in, pool_out, count, worker);
        }
        check_increments(pool_in, out, count, in_b);
        check_increments(in, pool_out, count, in_b);
    }
    CHECK_OK(MPIX_Pool_free_mem(pool, pool_in));
    CHECK_OK(MPIX_Pool_free_mem(pool, pool_out));
}

/* More than there are slots for, on all workers. */
static void test_many(void)
{
    enum { MANY = 200 };
    static int32_t in[MANY], out[MANY];
    static MPI_Request requests[MANY];
    int right = 0;
    CHECK_FATAL(lease != MPIX_LEASE_NULL);
    for (int32_t i = 0; i < MANY; i++) {
        in[i] = i;
        CHECK_OK(MPIX_Iinvoke(increment, &in[i], 1, MPI_INT32_T, &out[i], 1,
                              MPI_INT32_T, MPIX_ANY_WORKER, lease, &requests[i]));
    }
    CHECK_OK(MPI_Waitall(MANY, requests, MPI_STATUSES_IGNORE));
    for (int32_t i = 0; i < MANY; i++)
        right += out[i] == i + 1;
    CHECK_EQUAL(right, MANY);
}

/* Takes those that have completed, and keeps their statuses; how many. */
static int take_completed(MPI_Request *requests, MPI_Status *statuses)
{
    MPI_Status some[OUTSTANDING];
    int indices[OUTSTANDING], count = 0;
    MPI_Testsome(OUTSTANDING, requests, &count, indices, some);
    for (int i = 0; i < count; i++)
        statuses[indices[i]] = some[i];
    return count;
}

/* Nobody answers any more, and no kernel says so. */
static void test_death(void)
{
    MPI_Request requests[OUTSTANDING];
    MPI_Status statuses[OUTSTANDING];
    int done = 0, went_on = 0;
    CHECK_FATAL(lease != MPIX_LEASE_NULL);
    MPIX_Function forever = function_load(pool, "forever");
    for (int i = 0; i < OUTSTANDING; i++)
        CHECK_OK(MPIX_Iinvoke(forever, NULL, 0, MPI_BYTE, NULL, 0, MPI_BYTE,
                              mpi_rank == 0 ? MPIX_ANY_WORKER : in_b, lease,
                              &requests[i]));
    MPI_Barrier(MPI_COMM_WORLD);
    if (mpi_rank == 0)
        file_make("stop-B");
    double start = MPI_Wtime();
    while (done < OUTSTANDING && MPI_Wtime() - start < 3 * DEATH_SECONDS) {
        if (in_a >= 0)
            went_on += increments(increment, lease, in_a, went_on);
        done += take_completed(requests, statuses);
    }
    double took = MPI_Wtime() - start;
    printf("\n    rank %d missed B after %.1f s\n    ", mpi_rank, took);
    CHECK_FATAL(done == OUTSTANDING);
    CHECK(took < DEATH_SECONDS);
    for (int i = 0; i < OUTSTANDING; i++) {
        CHECK(requests[i] == MPI_REQUEST_NULL);
        CHECK_CODE(statuses[i].MPI_ERROR, MPIX_ERR_WORKER_LOST, "guest-b");
    }
    CHECK_OK(MPIX_Function_free(&forever));
    if (in_a < 0)
        return;
    CHECK(went_on > 0);
    for (int32_t i = 0; i < 20; i++)
        CHECK(increments(increment, lease, in_a, i));
}

/* Rank 1 gives A's only core back, and rank 0 goes on there. */
static void test_afterwards(void)
{
    CHECK_OK(MPIX_Lease_release(&lease));
    MPI_Barrier(MPI_COMM_WORLD);
    if (mpi_rank == 0) {
        lease = lease_acquire(pool, 1, NULL);
        for (int32_t i = 0; i < 20; i++)
            CHECK(increments(increment, lease, 0, i));
        CHECK_OK(MPIX_Lease_release(&lease));
    }
    CHECK_OK(MPIX_Function_free(&increment));
    CHECK_OK(MPIX_Pool_free(&pool));
}

static const struct test tests[] = {
    {"executors of two machines join, and leases have workers of both", test_lease},
    {"a library that isn't there is shipped", test_library},
    {"data of 8 bytes to 1 MiB come back right", test_sizes},
    {"more invocations than slots", test_many},
    {"a machine that stops dead is missed within 10 seconds", test_death},
    {"the ranks go on with what is left", test_afterwards},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return mpi_test_main("two machines", tests, MPI_THREAD_SINGLE, argc, argv);
}
