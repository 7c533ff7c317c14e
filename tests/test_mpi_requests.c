/* Invocations as MPI requests: every way to complete them, alone and among others. */
#include "mpi_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 24 };

/* N invocations, whose inputs tell them apart. */
static struct {
    MPIX_Pool pool;
    MPIX_Lease lease; /* of two workers */
    MPIX_Function work, increment;
    int32_t in[N], out[N];
    MPI_Request requests[N];
    MPI_Status statuses[N];
} with;

static void prepare(const char *const settings[])
{
    with.pool = shared_pool();
    with.work = function_load(with.pool, "work");
    with.increment = function_load(with.pool, "increment");
    with.lease = lease_acquire(with.pool, 2, settings);
    memset(with.out, 0, sizeof with.out);
}

/* Starts invocation i, that takes so many microseconds and some. */
static void start_one(int i, int us)
{
    with.in[i] = us + i;
    CHECK_OK(MPIX_Iinvoke(with.work, &with.in[i], 1, MPI_INT32_T, &with.out[i], 1,
                          MPI_INT32_T, MPIX_ANY_WORKER, with.lease, &with.requests[i]));
    CHECK(with.requests[i] != MPI_REQUEST_NULL);
}

static void begin(const char *const settings[])
{
    prepare(settings);
    for (int i = 0; i < N; i++)
        start_one(i, 100 + 300 * (i % 3));
}

static void check_status(const MPI_Status *status)
{
    int count = -1, cancelled = 1;
    MPI_Get_count(status, MPI_INT32_T, &count);
    MPI_Test_cancelled(status, &cancelled);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(cancelled, 0);
    CHECK(status->MPI_SOURCE == 0 || status->MPI_SOURCE == 1);
    CHECK_EQUAL(status->MPI_TAG, 0);
}

/* All have ended, each with its own result. */
static void end(void)
{
    for (int i = 0; i < N; i++) {
        CHECK_EQUAL(with.out[i], with.in[i]);
        CHECK(with.requests[i] == MPI_REQUEST_NULL);
        check_status(&with.statuses[i]);
    }
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPIX_Function_free(&with.work));
    CHECK_OK(MPIX_Function_free(&with.increment));
}

/* ---- one by one ------------------------------------------------------------------ */

static void test_wait(void)
{
    begin(NULL);
    for (int i = N - 1; i >= 0; i--)
        CHECK_OK(MPI_Wait(&with.requests[i], &with.statuses[i]));
    end();
}

static void test_test(void)
{
    begin(NULL);
    for (int i = 0; i < N; i++) {
        double start = MPI_Wtime();
        int done = 0;
        while (!done && patient(start, PATIENCE_SECONDS))
            CHECK_OK(MPI_Test(&with.requests[i], &done, &with.statuses[i]));
    }
    end();
}

static void test_get_status(void)
{
    begin(NULL);
    for (int i = 0; i < N; i++) {
        double start = MPI_Wtime();
        int done = 0;
        while (!done && patient(start, PATIENCE_SECONDS))
            CHECK_OK(
                MPI_Request_get_status(with.requests[i], &done, &with.statuses[i]));
        check_status(&with.statuses[i]);
        CHECK_EQUAL(with.out[i], with.in[i]);
        CHECK(with.requests[i] != MPI_REQUEST_NULL); /* and it says so again */
        CHECK_OK(MPI_Request_get_status(with.requests[i], &done, MPI_STATUS_IGNORE));
        CHECK(done);
        CHECK_OK(MPI_Wait(&with.requests[i], &with.statuses[i]));
    }
    end();
}

/* ---- several --------------------------------------------------------------------- */

static void test_any(void)
{
    MPI_Status status;
    int index, done;
    begin(NULL);
    for (int n = 0; n < N; n++) {
        index = -1;
        if (n % 2) {
            CHECK_OK(MPI_Waitany(N, with.requests, &index, &status));
        } else {
            double start = MPI_Wtime();
            for (done = 0; !done && patient(start, PATIENCE_SECONDS);)
                CHECK_OK(MPI_Testany(N, with.requests, &index, &done, &status));
        }
        CHECK_FATAL(index >= 0 && index < N);
        CHECK_EQUAL(with.out[index], with.in[index]);
        with.statuses[index] = status;
    }
    CHECK_OK(MPI_Waitany(N, with.requests, &index, &status));
    CHECK_EQUAL(index, MPI_UNDEFINED);
    end();
}

/* MPI_Waitsome and MPI_Testsome in turn. */
static void test_some(void)
{
    MPI_Status statuses[N];
    int indices[N], count, left = N;
    begin(NULL);
    double start = MPI_Wtime();
    for (int turn = 0; left > 0 && patient(start, PATIENCE_SECONDS); turn++) {
        if (turn % 2)
            CHECK_OK(MPI_Waitsome(N, with.requests, &count, indices, statuses));
        else
            CHECK_OK(MPI_Testsome(N, with.requests, &count, indices, statuses));
        CHECK_FATAL(count >= turn % 2 && count <= left);
        for (int i = 0; i < count; i++)
            with.statuses[indices[i]] = statuses[i];
        left -= count;
    }
    CHECK_OK(MPI_Waitsome(N, with.requests, &count, indices, statuses));
    CHECK_EQUAL(count, MPI_UNDEFINED);
    end();
}

static void test_waitall(void)
{
    begin(NULL);
    CHECK_OK(MPI_Waitall(N, with.requests, with.statuses));
    end();
}

static void test_testall(void)
{
    begin(NULL);
    double start = MPI_Wtime();
    int done = 0;
    while (!done && patient(start, PATIENCE_SECONDS))
        CHECK_OK(MPI_Testall(N, with.requests, &done, with.statuses));
    end();
}

static void test_ignored_statuses(void)
{
    begin(NULL);
    CHECK_OK(MPI_Wait(&with.requests[0], MPI_STATUS_IGNORE));
    CHECK_OK(MPI_Waitall(N, with.requests, MPI_STATUSES_IGNORE)); /* one is null */
    for (int i = 0; i < N; i++) {
        CHECK_EQUAL(with.out[i], with.in[i]);
        start_one(i, 10);
    }
    CHECK_OK(MPI_Waitall(N, with.requests, with.statuses));
    end();
}

/* ---- among others ---------------------------------------------------------------- */

enum { MESSAGES = 4, MIXED = N + 2 * MESSAGES + 2 };

/* Invocations at the even places, the rest between and behind them: messages to the
 * neighbours, a broadcast and a barrier. */
static struct {
    MPI_Request requests[MIXED];
    int sent[MESSAGES], received[MESSAGES], broadcast;
} mixed;

static void mixed_begin(void)
{
    int right = (mpi_rank + 1) % mpi_ranks,
        left = (mpi_rank + mpi_ranks - 1) % mpi_ranks;
    MPI_Request others[2 * MESSAGES + 2];
    begin(NULL);
    for (int i = 0; i < MESSAGES; i++) {
        mixed.sent[i] = 100 * mpi_rank + i;
        CHECK_OK(MPI_Irecv(&mixed.received[i], 1, MPI_INT, left, i, MPI_COMM_WORLD,
                           &others[i]));
        CHECK_OK(MPI_Isend(&mixed.sent[i], 1, MPI_INT, right, i, MPI_COMM_WORLD,
                           &others[MESSAGES + i]));
    }
    mixed.broadcast = mpi_rank == 0 ? 4711 : 0;
    CHECK_OK(MPI_Ibcast(&mixed.broadcast, 1, MPI_INT, 0, MPI_COMM_WORLD,
                        &others[2 * MESSAGES]));
    CHECK_OK(MPI_Ibarrier(MPI_COMM_WORLD, &others[2 * MESSAGES + 1]));
    int other = 0, invocation = 0;
    for (int i = 0; i < MIXED; i++)
        if (i % 2 == 1 && other < 2 * MESSAGES + 2)
            mixed.requests[i] = others[other++];
        else
            mixed.requests[i] = with.requests[invocation++];
}

static void mixed_end(void)
{
    int left = (mpi_rank + mpi_ranks - 1) % mpi_ranks;
    for (int i = 0; i < MIXED; i++)
        CHECK(mixed.requests[i] == MPI_REQUEST_NULL);
    for (int i = 0; i < MESSAGES; i++)
        CHECK_EQUAL(mixed.received[i], 100 * left + i);
    CHECK_EQUAL(mixed.broadcast, 4711);
    for (int i = 0; i < N; i++)
        CHECK_EQUAL(with.out[i], with.in[i]);
    CHECK_OK(MPIX_Lease_release(&with.lease));
}

static void test_mixed_all(void)
{
    mixed_begin();
    CHECK_OK(MPI_Waitall(MIXED, mixed.requests, MPI_STATUSES_IGNORE));
    mixed_end();
    mixed_begin();
    double start = MPI_Wtime();
    int done = 0;
    while (!done && patient(start, PATIENCE_SECONDS))
        CHECK_OK(MPI_Testall(MIXED, mixed.requests, &done, MPI_STATUSES_IGNORE));
    mixed_end();
}

static void test_mixed_any(void)
{
    int index;
    mixed_begin();
    for (int n = 0; n < MIXED; n++)
        CHECK_OK(MPI_Waitany(MIXED, mixed.requests, &index, MPI_STATUS_IGNORE));
    mixed_end();
    mixed_begin();
    double start = MPI_Wtime();
    for (int n = 0, done; n < MIXED && patient(start, PATIENCE_SECONDS); n += done)
        CHECK_OK(MPI_Testany(MIXED, mixed.requests, &index, &done, MPI_STATUS_IGNORE));
    mixed_end();
}

static void test_mixed_some(void)
{
    int indices[MIXED], count;
    mixed_begin();
    for (int left = MIXED; left > 0; left -= count)
        CHECK_OK(
            MPI_Waitsome(MIXED, mixed.requests, &count, indices, MPI_STATUSES_IGNORE));
    mixed_end();
    mixed_begin();
    double start = MPI_Wtime();
    for (int left = MIXED; left > 0 && patient(start, PATIENCE_SECONDS); left -= count)
        CHECK_OK(
            MPI_Testsome(MIXED, mixed.requests, &count, indices, MPI_STATUSES_IGNORE));
    mixed_end();
}

/* Results come in while the program waits for something else altogether. */
static void test_progress_elsewhere(void)
{
    int done;
    begin(NULL);
    double start = MPI_Wtime();
    do {
        MPI_Barrier(MPI_COMM_WORLD);
        done = 1;
        for (int i = 0, one; i < N; i++) {
            CHECK_OK(MPI_Request_get_status(with.requests[i], &one, MPI_STATUS_IGNORE));
            done = done && one;
        }
        MPI_Allreduce(MPI_IN_PLACE, &done, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    } while (!done && patient(start, PATIENCE_SECONDS));
    CHECK_OK(MPI_Waitall(N, with.requests, with.statuses));
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"MPI_Wait", test_wait},
        {"MPI_Test", test_test},
        {"MPI_Request_get_status", test_get_status},
        {"MPI_Waitany and MPI_Testany", test_any},
        {"MPI_Waitsome and MPI_Testsome", test_some},
        {"MPI_Waitall", test_waitall},
        {"MPI_Testall", test_testall},
        {"MPI_STATUS_IGNORE and null requests", test_ignored_statuses},
        {"all, among messages and collectives", test_mixed_all},
        {"any, among messages and collectives", test_mixed_any},
        {"some, among messages and collectives", test_mixed_some},
        {"progress within other calls", test_progress_elsewhere},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: requests", tests, MPI_THREAD_SINGLE, argc, argv);
}
