/* kill -9 of workers and of the executor while invocations are outstanding: all of them
 * complete within two seconds, with a result or the right error, and the rank goes on.
 * Each rank has a pool of its own, whose executor it may kill. */
#include "mpi_pool.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUTSTANDING = 64, WORKERS = 2, WORK_US = 2000 };

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function work, whoami, forever, increment;
    int32_t in[OUTSTANDING], out[OUTSTANDING];
    MPI_Request requests[OUTSTANDING];
    MPI_Status statuses[OUTSTANDING];
    pid_t workers[WORKERS], executor;
} with;

/* Two ranks do it at a time: all at once, with their workers, would leave too little
 * of a small machine for two seconds to mean anything. */
static bool set_up(const char *const settings[])
{
    char cores[32];
    if (mpi_rank >= 2)
        return false;
    snprintf(cores, sizeof cores, "cores=%d", WORKERS);
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS(cores));
    with.work = function_load(with.pool, "work");
    with.whoami = function_load(with.pool, "whoami");
    with.forever = function_load(with.pool, "forever");
    with.increment = function_load(with.pool, "increment");
    with.lease = lease_acquire(with.pool, WORKERS, settings);
    for (int i = 0; i < WORKERS; i++)
        with.workers[i] = worker_pid(with.lease, with.whoami, i);
    with.executor = parent_of(with.workers[0]);
    CHECK_FATAL(with.executor > 1 && with.executor != getpid());
    CHECK_EQUAL(parent_of(with.executor), getpid());
    return true;
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

static void start_all(MPIX_Function function, int worker)
{
    for (int i = 0; i < OUTSTANDING; i++) {
        with.in[i] = WORK_US + i;
        with.out[i] = -1;
        CHECK_OK(MPIX_Iinvoke(function, &with.in[i], 1, MPI_INT32_T, &with.out[i], 1,
                              MPI_INT32_T, worker, with.lease, &with.requests[i]));
    }
}

static void kill_9(pid_t pid)
{
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
}

/* Waits for all, in time; returns how many failed. Those that didn't are right. */
static int end_all(int class, const char *words)
{
    int failed = 0;
    double start = MPI_Wtime();
    int code = MPI_Waitall(OUTSTANDING, with.requests, with.statuses);
    double took = MPI_Wtime() - start;
    if (took >= LOSS_SECONDS)
        printf("\n    took %.2f s\n", took);
    CHECK(took < LOSS_SECONDS);
    if (code == MPI_SUCCESS) { /* the statuses' errors aren't set, then */
        for (int i = 0; i < OUTSTANDING; i++)
            CHECK_EQUAL(with.out[i], with.in[i]);
        return 0;
    }
    CHECK_EQUAL(error_class(code), MPI_ERR_IN_STATUS);
    for (int i = 0; i < OUTSTANDING; i++) {
        CHECK(with.requests[i] == MPI_REQUEST_NULL);
        if (with.statuses[i].MPI_ERROR == MPI_SUCCESS) {
            CHECK_EQUAL(with.out[i], with.in[i]);
        } else {
            CHECK_CODE(with.statuses[i].MPI_ERROR, class, words);
            failed++;
        }
    }
    return failed;
}

static bool all_alive(void)
{
    return increments(with.increment, with.lease, 0, 5) &&
           increments(with.increment, with.lease, 1, 6);
}

/* ---- workers --------------------------------------------------------------------- */

/* Only what it was running is lost. */
static void test_worker(void)
{
    if (!set_up(NULL))
        return;
    start_all(with.work, MPIX_ANY_WORKER);
    kill_9(with.workers[0]);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "signal 9") <= 1);
    CHECK(all_alive());
    CHECK(worker_pid(with.lease, with.whoami, 0) != with.workers[0]);
    CHECK_EQUAL(worker_pid(with.lease, with.whoami, 1), with.workers[1]);
    tear_down();
}

/* All were meant for it: they wait for the one that replaces it. */
static void test_worker_of_all(void)
{
    if (!set_up(NULL))
        return;
    start_all(with.work, 1);
    kill_9(with.workers[1]);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "signal 9") <= 1);
    for (int i = 0; i < OUTSTANDING; i++)
        CHECK_EQUAL(with.statuses[i].MPI_SOURCE, 1);
    CHECK(all_alive());
    tear_down();
}

static void test_all_workers(void)
{
    if (!set_up(SETTINGS("slots=2")))
        return;
    start_all(with.work, MPIX_ANY_WORKER);
    for (int i = 0; i < WORKERS; i++)
        kill_9(with.workers[i]);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "signal 9") <= WORKERS);
    CHECK(all_alive());
    tear_down();
}

/* Nothing was outstanding: nobody needs to know. */
static void test_idle_worker(void)
{
    if (!set_up(SETTINGS("hot_timeout_us=0")))
        return;
    kill_9(with.workers[0]);
    kill_9(with.workers[1]);
    double start = MPI_Wtime();
    while ((process_exists(with.workers[0]) || process_exists(with.workers[1])) &&
           patient(start, PATIENCE_SECONDS))
        ;
    start_all(with.work, MPIX_ANY_WORKER);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "") <= WORKERS);
    CHECK(all_alive());
    tear_down();
}

static void test_worker_again_and_again(void)
{
    if (!set_up(NULL))
        return;
    for (int round = 0; round < 5; round++) {
        start_all(with.work, 0);
        kill_9(with.workers[0]);
        CHECK(end_all(MPIX_ERR_WORKER_LOST, "signal 9") <= 1);
        pid_t next = worker_pid(with.lease, with.whoami, 0);
        CHECK(next != with.workers[0]);
        with.workers[0] = next;
    }
    CHECK(all_alive());
    tear_down();
}

/* Stopped, it holds up what it has; killed, it is lost. */
static void test_stopped_worker(void)
{
    int done = 1;
    if (!set_up(NULL))
        return;
    CHECK_EQUAL(kill(with.workers[0], SIGSTOP), 0);
    start_all(with.work, 0);
    CHECK(increments(with.increment, with.lease, 1, 1));
    MPI_Test(&with.requests[OUTSTANDING - 1], &done, MPI_STATUS_IGNORE);
    CHECK(!done);
    kill_9(with.workers[0]);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "signal 9") <= 1);
    CHECK(all_alive());
    tear_down();
}

/* ---- the executor ---------------------------------------------------------------- */

/* Its workers go with it; the pool has no cores any more, until another one comes. */
static void check_executor_gone(void)
{
    MPIX_Lease lease = MPIX_LEASE_NULL;
    MPI_Request request = MPI_REQUEST_NULL;
    double start = MPI_Wtime();
    while ((process_exists(with.workers[0]) || process_exists(with.workers[1])) &&
           patient(start, LOSS_SECONDS))
        ;
    int32_t in = 1, out;
    int code = MPIX_Iinvoke(with.increment, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T,
                            0, with.lease, &request);
    if (code == MPI_SUCCESS)
        code = MPI_Wait(&request, MPI_STATUS_IGNORE);
    CHECK(error_class(code) == MPIX_ERR_WORKER_LOST ||
          error_class(code) == MPIX_ERR_LEASE);
    CHECK_OK(MPIX_Lease_release(&with.lease));
    start = MPI_Wtime();
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, MPI_INFO_NULL, &lease),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK(MPI_Wtime() - start < LOSS_SECONDS);
}

static void test_executor(void)
{
    if (!set_up(NULL))
        return;
    start_all(with.work, MPIX_ANY_WORKER);
    kill_9(with.executor);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "") > 0);
    check_executor_gone();
    tear_down();
}

static void test_executor_under_forever(void)
{
    if (!set_up(SETTINGS("slots=4")))
        return;
    start_all(with.forever, MPIX_ANY_WORKER);
    kill_9(with.executor);
    CHECK_EQUAL(end_all(MPIX_ERR_WORKER_LOST, ""), OUTSTANDING);
    check_executor_gone();
    tear_down();
}

/* Executor and workers at once. */
static void test_all_processes(void)
{
    if (!set_up(NULL))
        return;
    start_all(with.work, MPIX_ANY_WORKER);
    kill_9(with.workers[0]);
    kill_9(with.executor);
    kill(with.workers[1], SIGKILL);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "") > 0);
    check_executor_gone();
    tear_down();
}

/* It is there and does nothing: the client sees to its workers itself. */
static void test_stopped_executor(void)
{
    if (!set_up(NULL))
        return;
    CHECK_EQUAL(kill(with.executor, SIGSTOP), 0);
    start_all(with.forever, MPIX_ANY_WORKER);
    double start = MPI_Wtime();
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_EQUAL(end_all(MPIX_ERR_LEASE, "released"), OUTSTANDING);
    CHECK(MPI_Wtime() - start < LOSS_SECONDS);
    kill_9(with.executor);
    tear_down();
}

static void test_another_executor(void)
{
    char name[] = "rfaas-executor", manager[600], address[MPI_MAX_INFO_VAL + 1];
    const char *path = getenv("RFAAS_EXECUTOR");
    MPI_Info info;
    int found = 0;
    pid_t pid;
    if (!set_up(NULL))
        return;
    kill_9(with.executor);
    start_all(with.work, MPIX_ANY_WORKER);
    CHECK(end_all(MPIX_ERR_WORKER_LOST, "") > 0);
    check_executor_gone();
    CHECK_OK(MPIX_Pool_get_info(with.pool, &info));
    MPI_Info_get(info, "manager_address", MPI_MAX_INFO_VAL, address, &found);
    MPI_Info_free(&info);
    snprintf(manager, sizeof manager, "--manager=%.500s", address);
    char cores[] = "--cores=2", *arguments[] = {name, manager, cores, NULL};
    CHECK_FATAL(posix_spawn(&pid, path ? path : "./rfaas-executor", NULL, NULL,
                            arguments, environ) == 0);
    with.lease = lease_acquire(with.pool, WORKERS, NULL);
    start_all(with.work, MPIX_ANY_WORKER);
    CHECK_EQUAL(end_all(MPI_SUCCESS, ""), 0);
    tear_down();
    CHECK_EQUAL(waitpid(pid, NULL, 0), pid);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a worker of two is killed", test_worker},
        {"the worker of all is killed", test_worker_of_all},
        {"all workers are killed", test_all_workers},
        {"idle workers are killed", test_idle_worker},
        {"a worker is killed again and again", test_worker_again_and_again},
        {"a stopped worker is killed", test_stopped_worker},
        {"the executor is killed", test_executor},
        {"the executor is killed, and functions never return",
         test_executor_under_forever},
        {"the executor and its workers are killed", test_all_processes},
        {"the executor is stopped and the lease released", test_stopped_executor},
        {"another executor takes over", test_another_executor},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: losses", tests, MPI_THREAD_SINGLE, argc, argv);
}
