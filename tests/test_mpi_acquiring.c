/* MPIX_Lease_iacquire: leases that come, or don't, while the program does other things.
 * Each rank has a pool of its own, so that what is free is its own doing. */
#include "mpi_pool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct {
    MPIX_Pool pool; /* of four cores */
    MPIX_Function increment, work;
} with;

static void set_up(void)
{
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=4"));
    with.increment = function_load(with.pool, "increment");
    with.work = function_load(with.pool, "work");
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

static MPI_Request iacquire(int workers, const char *const settings[],
                            MPIX_Lease *lease)
{
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Info info = info_of(settings);
    CHECK_OK(MPIX_Lease_iacquire(with.pool, workers, info, lease, &request));
    if (info != MPI_INFO_NULL)
        MPI_Info_free(&info); /* it is read by then */
    CHECK(request != MPI_REQUEST_NULL);
    CHECK(*lease != MPIX_LEASE_NULL);
    return request;
}

static void test_alone(void)
{
    MPIX_Lease lease = MPIX_LEASE_NULL;
    MPI_Status status;
    int workers = 0, count = -1;
    set_up();
    MPI_Request request = iacquire(3, NULL, &lease);
    CHECK_OK(MPI_Wait(&request, &status));
    MPI_Get_count(&status, MPI_BYTE, &count);
    CHECK_EQUAL(count, 0);
    CHECK(request == MPI_REQUEST_NULL);
    CHECK_OK(MPIX_Lease_get_workers(lease, &workers));
    CHECK_EQUAL(workers, 3);
    CHECK(increments(with.increment, lease, 2, 9));
    CHECK_OK(MPIX_Lease_release(&lease));
    tear_down();
}

/* Two leases, a message and an invocation in one MPI_Waitall. */
static void test_beside_others(void)
{
    MPIX_Lease leases[3];
    MPI_Request requests[5];
    int32_t us = 20000, out = 0;
    int sent = 5, received = 0;
    set_up();
    leases[0] = lease_acquire(with.pool, 1, NULL);
    requests[0] = iacquire(1, NULL, &leases[1]);
    MPI_Irecv(&received, 1, MPI_INT, 0, 0, MPI_COMM_SELF, &requests[1]);
    CHECK_OK(MPIX_Iinvoke(with.work, &us, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, 0,
                          leases[0], &requests[2]));
    requests[3] = iacquire(2, NULL, &leases[2]);
    MPI_Isend(&sent, 1, MPI_INT, 0, 0, MPI_COMM_SELF, &requests[4]);
    CHECK_OK(MPI_Waitall(5, requests, MPI_STATUSES_IGNORE));
    CHECK_EQUAL(received, 5);
    CHECK_EQUAL(out, us);
    for (int i = 0; i < 3; i++) {
        CHECK(increments(with.increment, leases[i], 0, i));
        CHECK_OK(MPIX_Lease_release(&leases[i]));
    }
    tear_down();
}

/* One of several fails: its error is in its own status. */
static void test_one_fails(void)
{
    MPIX_Lease leases[3];
    MPI_Request requests[3];
    MPI_Status statuses[3];
    int workers;
    set_up();
    requests[0] = iacquire(1, NULL, &leases[0]);
    requests[1] = iacquire(9, NULL, &leases[1]);
    requests[2] = iacquire(9, SETTINGS("min_workers=2"), &leases[2]);
    CHECK_EQUAL(error_class(MPI_Waitall(3, requests, statuses)), MPI_ERR_IN_STATUS);
    CHECK_EQUAL(statuses[0].MPI_ERROR, MPI_SUCCESS);
    CHECK_CODE(statuses[1].MPI_ERROR, MPIX_ERR_NO_RESOURCES, "");
    CHECK_EQUAL(statuses[2].MPI_ERROR, MPI_SUCCESS);
    CHECK_OK(MPIX_Lease_get_workers(leases[2], &workers));
    CHECK_EQUAL(workers, 3);
    /* On error it is released as well. */
    CHECK_CODE(MPIX_Lease_get_workers(leases[1], &workers), MPIX_ERR_LEASE, "");
    CHECK(increments(with.increment, leases[0], 0, 1));
    CHECK(increments(with.increment, leases[2], 2, 1));
    tear_down();
}

/* It isn't there yet: invocations are refused until its request has completed. */
static void test_too_early(void)
{
    MPIX_Lease first, second;
    MPI_Request request, invocation = MPI_REQUEST_NULL;
    int done = 1, workers = 77;
    set_up();
    first = lease_acquire(with.pool, 4, NULL);
    request = iacquire(1, SETTINGS("wait_seconds=20"), &second);
    CHECK_OK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    CHECK(!done);
    CHECK_CODE(MPIX_Iinvoke(with.increment, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 0,
                            second, &invocation),
               MPI_ERR_ARG, "granted");
    CHECK(invocation == MPI_REQUEST_NULL);
    CHECK_OK(MPIX_Lease_get_workers(second, &workers));
    CHECK_EQUAL(workers, 0);
    CHECK(increments(with.increment, first, 3, 1)); /* which is in no way hindered */
    CHECK_OK(MPIX_Lease_release(&first));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    CHECK(increments(with.increment, second, 0, 2));
    tear_down();
}

/* Released while it is being acquired: waiting in the queue, or starting. */
static void test_release_early(void)
{
    MPIX_Lease full, waiting, starting, last;
    MPI_Request requests[2];
    MPI_Status statuses[2];
    set_up();
    full = lease_acquire(with.pool, 3, NULL);
    requests[0] = iacquire(2, SETTINGS("wait_seconds=60"), &waiting);
    CHECK_OK(MPIX_Lease_release(&waiting));
    CHECK(waiting == MPIX_LEASE_NULL);
    requests[1] = iacquire(1, SETTINGS("wait_seconds=60"), &starting);
    CHECK_OK(MPIX_Lease_release(&starting));
    double start = MPI_Wtime();
    CHECK_EQUAL(error_class(MPI_Waitall(2, requests, statuses)), MPI_ERR_IN_STATUS);
    CHECK(MPI_Wtime() - start < PATIENCE_SECONDS);
    CHECK_CODE(statuses[0].MPI_ERROR, MPIX_ERR_LEASE, "released");
    CHECK_CODE(statuses[1].MPI_ERROR, MPIX_ERR_LEASE, "released");
    /* Both are out of the way. */
    last = lease_acquire(with.pool, 1, NULL);
    CHECK(increments(with.increment, last, 0, 1));
    CHECK_OK(MPIX_Lease_release(&full));
    CHECK_OK(MPIX_Lease_release(&last));
    last = lease_acquire(with.pool, 4, NULL);
    CHECK(increments(with.increment, last, 3, 1));
    tear_down();
}

/* In the order in which they were asked for, though a later one would fit. */
static void test_in_order(void)
{
    MPIX_Lease first, large, small;
    MPI_Request requests[2];
    int done = 1, index = -1;
    set_up();
    first = lease_acquire(with.pool, 3, NULL);
    requests[0] = iacquire(4, SETTINGS("wait_seconds=60"), &large);
    requests[1] = iacquire(1, SETTINGS("wait_seconds=60"), &small);
    CHECK_OK(MPI_Testany(2, requests, &index, &done, MPI_STATUS_IGNORE));
    CHECK(!done);
    CHECK_OK(MPIX_Lease_release(&first));
    CHECK_OK(MPI_Waitany(2, requests, &index, MPI_STATUS_IGNORE));
    CHECK_EQUAL(index, 0);
    CHECK_OK(MPIX_Lease_release(&large));
    CHECK_OK(MPI_Wait(&requests[1], MPI_STATUS_IGNORE));
    CHECK(increments(with.increment, small, 0, 1));
    tear_down();
}

/* In vain: after the time that it may wait, no earlier. */
static void test_waits_in_vain(void)
{
    MPIX_Lease first, second;
    set_up();
    first = lease_acquire(with.pool, 4, NULL);
    double start = MPI_Wtime();
    MPI_Request request = iacquire(1, SETTINGS("wait_seconds=0.4"), &second);
    CHECK_CODE(MPI_Wait(&request, MPI_STATUS_IGNORE), MPIX_ERR_NO_RESOURCES, "");
    CHECK(MPI_Wtime() - start >= 0.4);
    CHECK(increments(with.increment, first, 0, 1));
    tear_down();
}

/* Requests freed, and leases never released: the pool takes them along. */
static void test_left_behind(void)
{
    MPIX_Lease leases[3];
    set_up();
    for (int i = 0; i < 3; i++) {
        MPI_Request request = iacquire(2, SETTINGS("wait_seconds=60"), &leases[i]);
        if (i != 1)
            MPI_Request_free(&request);
        else
            CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    }
    CHECK(increments(with.increment, leases[1], 1, 1));
    tear_down();
}

/* Still underway when the pool goes: its request completes then. */
static void test_pool_free(void)
{
    MPIX_Lease leases[2];
    MPI_Request requests[2];
    MPI_Status statuses[2];
    set_up();
    leases[0] = lease_acquire(with.pool, 4, NULL);
    for (int i = 0; i < 2; i++)
        requests[i] = iacquire(1 + i, SETTINGS("wait_seconds=60"), &leases[i]);
    tear_down();
    CHECK_EQUAL(error_class(MPI_Waitall(2, requests, statuses)), MPI_ERR_IN_STATUS);
    for (int i = 0; i < 2; i++)
        CHECK_CODE(statuses[i].MPI_ERROR, MPIX_ERR_LEASE, "released");
}

/* The executor is killed while workers start. */
static void test_executor_killed(void)
{
    MPIX_Function whoami;
    MPIX_Lease lease, next;
    set_up();
    whoami = function_load(with.pool, "whoami");
    lease = lease_acquire(with.pool, 1, NULL);
    pid_t executor = parent_of(worker_pid(lease, whoami, 0));
    MPI_Request request = iacquire(3, SETTINGS("wait_seconds=0"), &next);
    CHECK_FATAL(executor > 1);
    CHECK_EQUAL(kill(executor, SIGKILL), 0);
    double start = MPI_Wtime();
    int code = MPI_Wait(&request, MPI_STATUS_IGNORE);
    CHECK(MPI_Wtime() - start < LOSS_SECONDS);
    if (code == MPI_SUCCESS) { /* it was that quick */
        CHECK(!increments(with.increment, next, 0, 1));
    } else {
        CHECK(error_class(code) == MPIX_ERR_WORKER_LOST ||
              error_class(code) == MPIX_ERR_LEASE ||
              error_class(code) == MPIX_ERR_NO_RESOURCES);
    }
    tear_down();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a lease that is waited for", test_alone},
        {"leases among messages and invocations", test_beside_others},
        {"one of several fails", test_one_fails},
        {"invocations before it is granted are refused", test_too_early},
        {"released while it is being acquired", test_release_early},
        {"requests are served in order", test_in_order},
        {"waits as long as it may", test_waits_in_vain},
        {"requests are freed and leases left", test_left_behind},
        {"the pool is freed meanwhile", test_pool_free},
        {"the executor is killed meanwhile", test_executor_killed},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: acquiring", tests, MPI_THREAD_SINGLE, argc, argv);
}
