/* Processes that are killed, stopped, or strangers, while 64 invocations are outstanding.
 * Whoever lives has its answers within 2 seconds, and nothing is left behind. */
#include "session_pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 64, WORK_US = 1500 }; /* 96 ms of work for one worker */

static struct batch batch;
static rfaas_function *increment;

/* COUNT invocations on the lease that take some time; some have ended when this
 * returns, others haven't begun. */
static void start_work(rfaas_lease *lease, int worker)
{
    batch.count = 0;
    batch_add(&batch, lease, worker, function_of("work"), COUNT, WORK_US);
    double start = seconds_now();
    while (batch.requests[3] && patient(start, PATIENCE_SECONDS))
        rfaas_test(&batch.requests[3], &batch.results[3]);
    CHECK_FATAL(!batch.requests[3]);
}

/* All have ended within the time since `start`; those that failed did so with one of
 * the two. Returns how many failed. */
static int check_ends(double start, int status, int or_status)
{
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    double took = seconds_now() - start;
    if (took >= LOSS_SECONDS)
        printf("\n    took %.3f s", took);
    CHECK(took < LOSS_SECONDS);
    int right = batch_right(&batch, 0, COUNT, 0);
    int failed = batch_count(&batch, 0, COUNT, status);
    if (or_status != status)
        failed += batch_count(&batch, 0, COUNT, or_status);
    CHECK_EQUAL(right + failed, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK(batch.results[i].status == RFAAS_OK || batch.texts[i][0] != '\0');
    return failed;
}

/* ---- a worker -------------------------------------------------------------------- */

static void test_kill_worker(void)
{
    pool_begin(1);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=32"));
    for (int round = 0; round < 3; round++) {
        pid_t pid = worker_pid(lease, 0);
        start_work(lease, round % 2 ? RFAAS_ANY_WORKER : 0);
        double start = seconds_now();
        CHECK_EQUAL(kill(pid, SIGKILL), 0);
        /* The one that it was running, at most; the others wait for its successor. */
        CHECK(check_ends(start, RFAAS_ERR_WORKER_LOST, RFAAS_ERR_WORKER_LOST) <= 1);
        CHECK(process_ends(pid, 0));
        CHECK(increments(increment, lease, 0, round));
    }
    pool_end();
}

/* What it had taken and not begun comes first, then what waited. */
static void test_order_after_kill(void)
{
    rfaas_request *request;
    int out_of_order = 0;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=8", "hot_timeout_us=-1"));
    rfaas_function *sequence = function_of("sequence");
    pid_t pid = worker_pid(lease, 0);
    CHECK_OK_FATAL(
        rfaas_invoke(lease, 0, function_of("forever"), NULL, 0, NULL, 0, &request));
    batch.count = 0;
    for (int i = 0; i < COUNT; i++) /* both of its queues */
        batch_add(&batch, lease, i % 3 ? 0 : RFAAS_ANY_WORKER, sequence, 1, 0);
    double start = seconds_now(); /* it sleeps in the function only */
    while (process_state(pid, NULL) != 'S' && patient(start, PATIENCE_SECONDS))
        continue;
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_WORKER_LOST, "forever");
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    for (int i = 0; i < COUNT; i++)
        out_of_order += batch.out[i] != i + 1;
    CHECK_EQUAL(out_of_order, 0);
    pool_end();
}

/* While nothing runs: no invocation is harmed. */
static void test_kill_idle_worker(void)
{
    pool_begin(1);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(1, NULL);
    for (int32_t i = 0; i < 5; i++) {
        pid_t pid = worker_pid(lease, 0);
        double start = seconds_now();
        CHECK_EQUAL(kill(pid, SIGKILL), 0);
        for (int n = 0; n < 20; n++)
            CHECK(increments(increment, lease, 0, i));
        CHECK(seconds_now() - start < LOSS_SECONDS);
        CHECK(process_ends(pid, 0));
    }
    pool_end();
}

/* The worker's process that has come after `before`, found without the client's help,
 * once it waits for something. */
static pid_t successor(pid_t before)
{
    char path[64], line[128];
    double start = seconds_now();
    while (patient(start, PATIENCE_SECONDS)) {
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pool.executors[0],
                 (int)pool.executors[0]);
        FILE *children = fopen(path, "r");
        CHECK_FATAL(children != NULL);
        pid_t pid = fgets(line, sizeof line, children) ? (pid_t)atoi(line) : 0;
        fclose(children);
        if (pid > 0 && pid != before && process_state(pid, NULL) == 'S')
            return pid;
    }
    return 0;
}

/* While the client looks elsewhere a worker dies, and its successor too: what was meant
 * for the first successor must not reach the second. */
static void test_two_deaths_unseen(void)
{
    char name[] = "/tmp/rfaas-runs.XXXXXX";
    pool_begin(1);
    int fd = mkstemp(name);
    CHECK_FATAL(fd >= 0);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=4"));
    rfaas_function *append = function_of("append");
    off_t runs = 0;
    for (int round = 0; round < 5; round++) {
        pid_t pid = worker_pid(lease, 0);
        for (int death = 0; death < 2; death++) {
            CHECK_EQUAL(kill(pid, SIGKILL), 0);
            pid = successor(pid);
            CHECK_FATAL(pid > 0);
        }
        rfaas_request *requests[16];
        for (int i = 0; i < 16; i++)
            CHECK_OK(rfaas_invoke(lease, 0, append, name, sizeof name, NULL, 0,
                                  &requests[i]));
        for (int i = 0; i < 16; i++)
            CHECK_OK(rfaas_wait(&requests[i], NULL));
        runs += 16;
        CHECK_EQUAL(lseek(fd, 0, SEEK_END), runs);
    }
    close(fd);
    unlink(name);
    pool_end();
}

/* ---- an executor ----------------------------------------------------------------- */

static void test_kill_executor(void)
{
    pool_begin(2);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(2, NULL);
    pid_t pids[2] = {worker_pid(lease, 0), worker_pid(lease, 1)};
    start_work(lease, RFAAS_ANY_WORKER);
    double start = seconds_now();
    CHECK_EQUAL(kill(pool.executors[0], SIGKILL), 0);
    CHECK(check_ends(start, RFAAS_ERR_WORKER_LOST, RFAAS_ERR_LEASE_REVOKED) > 0);
    CHECK(process_ends(pids[0], LOSS_SECONDS) && process_ends(pids[1], LOSS_SECONDS));
    rfaas_lease_release(lease);
    executor_start(1); /* the session goes on */
    lease = lease_of(1, SETTINGS("wait_seconds=10"));
    CHECK(increments(increment, lease, 0, 1));
    pool_end();
}

/* Nobody is left who knows of it. */
static void check_child_of_killed_executor(const char *name)
{
    int32_t child = 0;
    rfaas_request *request;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    CHECK_OK(rfaas_invoke(lease, 0, function_of(name), NULL, 0, &child, sizeof child,
                          &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    CHECK_FATAL(child > 1 && !process_ends(child, 0));
    batch.count = 0;
    batch_add(&batch, lease, 0, function_of("forever"), COUNT, 0);
    double start = seconds_now();
    CHECK_EQUAL(kill(pool.executors[0], SIGKILL), 0);
    CHECK_EQUAL(check_ends(start, RFAAS_ERR_WORKER_LOST, RFAAS_ERR_LEASE_REVOKED),
                COUNT);
    CHECK(process_ends(child, LOSS_SECONDS));
    pool_end();
}

static void test_kill_executor_of_children(void)
{
    check_child_of_killed_executor("forks");
    check_child_of_killed_executor("spawns");
    check_child_of_killed_executor("shells");
}

/* One of two: what the other's worker does comes right. */
static void test_kill_one_executor(void)
{
    pool_begin(1);
    increment = function_of("increment");
    executor_start(1);
    rfaas_lease *lease = lease_of(2, NULL);
    start_work(lease, RFAAS_ANY_WORKER);
    double start = seconds_now();
    CHECK_EQUAL(kill(pool.executors[0], SIGKILL), 0);
    int failed = check_ends(start, RFAAS_ERR_WORKER_LOST, RFAAS_ERR_WORKER_LOST);
    CHECK(failed <= 8); /* what was in its slots */
    for (int32_t i = 0; i < 10; i++)
        CHECK(increments(increment, lease, RFAAS_ANY_WORKER, i));
    CHECK_OK(rfaas_lease_test(lease));
    pool_end();
}

/* Stopped, so that it can't end the workers: the client does, since what they run might
 * still write to the caller's memory. */
static void test_stop_executor(void)
{
    pool_begin(1);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(1, NULL);
    pid_t pid = worker_pid(lease, 0);
    batch.count = 0;
    batch_add(&batch, lease, 0, function_of("forever"), COUNT, 0);
    CHECK_EQUAL(kill(pool.executors[0], SIGSTOP), 0);
    double start = seconds_now();
    rfaas_lease_release(lease);
    CHECK(process_ends(pid, LOSS_SECONDS));
    CHECK_EQUAL(check_ends(start, RFAAS_ERR_LEASE_RELEASED, RFAAS_ERR_LEASE_RELEASED),
                COUNT);
    kill(pool.executors[0], SIGCONT);
    lease = lease_of(1, SETTINGS("wait_seconds=10"));
    CHECK(increments(increment, lease, 0, 1));
    pool_end();
}

/* ---- the manager ----------------------------------------------------------------- */

/* What is true of the session when its manager has gone. */
static void check_without_manager(rfaas_lease *lease, const pid_t pids[2])
{
    rfaas_lease *other = NULL;
    rfaas_request *request;
    CHECK(process_ends(pids[0], LOSS_SECONDS) && process_ends(pids[1], LOSS_SECONDS));
    CHECK(process_ends(pool.executors[0], PATIENCE_SECONDS));
    double start = seconds_now();
    while (rfaas_lease_test(lease) == RFAAS_OK)
        if (!patient(start, LOSS_SECONDS))
            break;
    CHECK(rfaas_lease_test(lease) < 0);
    CHECK_STATUS(rfaas_lease_acquire(pool.session, 1, NULL, &other), RFAAS_ERR_MANAGER,
                 "manager");
    CHECK(rfaas_invoke(lease, 0, increment, NULL, 0, NULL, 0, &request) < 0);
    rfaas_lease_release(lease);
}

static void test_stop_manager(void)
{
    pool_begin(2);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(2, NULL);
    pid_t pids[2] = {worker_pid(lease, 0), worker_pid(lease, 1)};
    start_work(lease, RFAAS_ANY_WORKER);
    double start = seconds_now();
    manager_end();
    CHECK(check_ends(start, RFAAS_ERR_LEASE_REVOKED, RFAAS_ERR_MANAGER) > 0);
    check_without_manager(lease, pids);
    pool_end();
}

static void test_kill_manager(void)
{
    pid_t manager_pid;
    pool_begin_with_program(2, &manager_pid);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(2, NULL);
    pid_t pids[2] = {worker_pid(lease, 0), worker_pid(lease, 1)};
    start_work(lease, RFAAS_ANY_WORKER);
    double start = seconds_now();
    CHECK_EQUAL(kill(manager_pid, SIGKILL), 0);
    CHECK(check_ends(start, RFAAS_ERR_LEASE_REVOKED, RFAAS_ERR_MANAGER) > 0);
    check_without_manager(lease, pids);
    pool_end();
}

/* ---- a client -------------------------------------------------------------------- */

/* This program as another client: leases a worker, has COUNT invocations outstanding
 * for ever, and tells its worker's pid. */
static int be_client(const char *address)
{
    char setting[160];
    int32_t who[3], us = 1000, done[COUNT];
    rfaas_session *session;
    rfaas_lease *lease;
    rfaas_function *work, *whoami;
    rfaas_request *requests[COUNT];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(setting, sizeof setting, "manager_address=%s", address);
    if (rfaas_session_open(SETTINGS(setting), &session) != RFAAS_OK ||
        rfaas_lease_acquire(session, 1, NULL, &lease) != RFAAS_OK ||
        rfaas_function_load(session, functions_path(), "work", &work) != RFAAS_OK ||
        rfaas_function_load(session, functions_path(), "whoami", &whoami) != RFAAS_OK ||
        rfaas_invoke(lease, 0, whoami, NULL, 0, who, sizeof who, requests) !=
            RFAAS_OK ||
        rfaas_wait(requests, NULL) != RFAAS_OK)
        return 1;
    for (int i = 0; i < COUNT; i++)
        rfaas_invoke(lease, 0, work, &us, sizeof us, &done[i], sizeof *done,
                     &requests[i]);
    printf("%d\n", (int)who[2]);
    fflush(stdout);
    for (int i = 0;; i = (i + 1) % COUNT) {
        rfaas_wait(&requests[i], NULL);
        rfaas_invoke(lease, 0, work, &us, sizeof us, &done[i], sizeof *done,
                     &requests[i]);
    }
}

static void test_kill_client(void)
{
    char line[128];
    pool_begin(2);
    increment = function_of("increment");
    rfaas_lease *lease = lease_of(1, NULL);
    pid_t client =
        program_start((const char *const[]){"--client", pool.address, NULL}, line);
    pid_t its_worker = atoi(line);
    CHECK_FATAL(its_worker > 1 && !process_ends(its_worker, 0));
    pid_t mine = worker_pid(lease, 0);
    CHECK(mine != its_worker);
    start_work(lease, 0);
    double start = seconds_now();
    CHECK_EQUAL(kill(client, SIGKILL), 0);
    CHECK_EQUAL(check_ends(start, RFAAS_ERR_WORKER_LOST, RFAAS_ERR_WORKER_LOST), 0);
    CHECK(process_ends(its_worker, LOSS_SECONDS));
    CHECK_EQUAL(worker_pid(lease, 0), mine);
    rfaas_lease *other = lease_of(1, SETTINGS("wait_seconds=10")); /* its core */
    CHECK(increments(increment, other, 0, 1));
    pool_end();
}

static const struct test tests[] = {
    {"a worker that is killed costs one invocation at most", test_kill_worker},
    {"what a killed worker hadn't begun runs in order", test_order_after_kill},
    {"an idle worker that is killed costs none", test_kill_idle_worker},
    {"two deaths that the client didn't see make nothing run twice",
     test_two_deaths_unseen},
    {"an executor that is killed", test_kill_executor},
    {"an executor that is killed takes a function's children along",
     test_kill_executor_of_children},
    {"one of two executors that is killed", test_kill_one_executor},
    {"an executor that is stopped during a release", test_stop_executor},
    {"a manager that stops", test_stop_manager},
    {"a manager that is killed", test_kill_manager},
    {"a client that is killed", test_kill_client},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--client") == 0)
        return be_client(argv[2]);
    return test_main("session: killed", tests, argc, argv);
}
