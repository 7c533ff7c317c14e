/* Pools: who may make one, what it tells of itself, executors that come and go. */
#include "mpi_pool.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Every rank of the pool's communicator gets an answer of a worker of its own. */
static void check_works(MPIX_Pool pool)
{
    MPIX_Function increment = function_load(pool, "increment");
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    CHECK(increments(increment, lease, 0, mpi_rank));
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Function_free(&increment));
}

static void pool_end(MPIX_Pool *pool)
{
    CHECK_OK(MPIX_Pool_free(pool));
    CHECK(*pool == MPIX_POOL_NULL);
}

/* ---- communicators --------------------------------------------------------------- */

static void test_self(void)
{
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=1"));
    check_works(pool);
    pool_end(&pool);
}

/* Ranks in reverse, in two halves: the managers are not in rank 0 of the world. */
static void test_subcommunicator(void)
{
    MPI_Comm half;
    MPI_Comm_split(MPI_COMM_WORLD, mpi_rank % 2, -mpi_rank, &half);
    MPIX_Pool pool = pool_create(half, SETTINGS("cores=2"));
    MPI_Comm_free(&half); /* the pool has a duplicate */
    check_works(pool);
    pool_end(&pool);
}

/* A member of only some ranks' pool; the others take no part. */
static void test_some_ranks(void)
{
    MPI_Comm some;
    MPI_Comm_split(MPI_COMM_WORLD, mpi_rank == mpi_ranks - 1 ? 0 : MPI_UNDEFINED, 0,
                   &some);
    if (some != MPI_COMM_NULL) {
        MPIX_Pool pool = pool_create(some, SETTINGS("cores=1"));
        check_works(pool);
        pool_end(&pool);
        MPI_Comm_free(&some);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void test_two_pools(void)
{
    MPIX_Pool world = shared_pool();
    MPIX_Pool own = pool_create(MPI_COMM_SELF, SETTINGS("cores=1"));
    MPIX_Function in_world = function_load(world, "increment");
    MPIX_Function in_own = function_load(own, "increment");
    MPIX_Lease world_lease = lease_acquire(world, 1, NULL);
    MPIX_Lease own_lease = lease_acquire(own, 1, NULL);
    int32_t values[2] = {1, 2}, results[2] = {0, 0};
    MPI_Request requests[2];
    CHECK_OK(MPIX_Iinvoke(in_world, &values[0], 1, MPI_INT32_T, &results[0], 1,
                          MPI_INT32_T, 0, world_lease, &requests[0]));
    CHECK_OK(MPIX_Iinvoke(in_own, &values[1], 1, MPI_INT32_T, &results[1], 1,
                          MPI_INT32_T, 0, own_lease, &requests[1]));
    CHECK_OK(MPI_Waitall(2, requests, MPI_STATUSES_IGNORE));
    CHECK_EQUAL(results[0], 2);
    CHECK_EQUAL(results[1], 3);
    /* Things of one pool are strangers in the other. */
    CHECK_CODE(MPIX_Iinvoke(in_own, &values[0], 1, MPI_INT32_T, &results[0], 1,
                            MPI_INT32_T, 0, world_lease, &requests[0]),
               MPI_ERR_ARG, "session");
    CHECK_OK(MPIX_Lease_release(&own_lease));
    pool_end(&own);
    CHECK(increments(in_world, world_lease, 0, 7));
    CHECK_OK(MPIX_Lease_release(&world_lease));
    CHECK_OK(MPIX_Function_free(&in_world));
}

/* Errors go to the handler that the communicator had when the pool was made. */
static int handled;
static void on_error(MPI_Comm *comm, int *code, ...)
{
    (void)comm;
    (void)code;
    handled++;
}

static void test_error_handler(void)
{
    MPI_Errhandler handler;
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(comm, handler);
    MPIX_Pool pool = pool_create(comm, SETTINGS("cores=1"));
    MPIX_Lease lease = MPIX_LEASE_NULL;
    handled = 0;
    CHECK_CODE(MPIX_Lease_acquire(pool, 0, MPI_INFO_NULL, &lease), MPI_ERR_ARG, "");
    CHECK_EQUAL(handled, 1);
    CHECK_CODE(MPIX_Lease_acquire(pool, 2, MPI_INFO_NULL, &lease),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK_EQUAL(handled, 2);
    pool_end(&pool);
    MPI_Comm_free(&comm);
    MPI_Errhandler_free(&handler);
}

/* ---- again and again ------------------------------------------------------------- */

static int entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    CHECK_FATAL(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void test_again_and_again(void)
{
    enum { TIMES = 20 };
    int files = 0, threads = 0;
    for (int i = 0; i < TIMES; i++) {
        MPIX_Pool pool = pool_create(MPI_COMM_WORLD, SETTINGS("cores=4"));
        if (i % 5 == 0)
            check_works(pool);
        pool_end(&pool);
        if (i > 0) { /* what is made once in a process is there now */
            CHECK_EQUAL(entries("/proc/self/fd"), files);
            CHECK_EQUAL(entries("/proc/self/task"), threads);
        }
        files = entries("/proc/self/fd");
        threads = entries("/proc/self/task");
    }
}

/* ---- what a pool tells of itself ------------------------------------------------- */

/* What the pool says of this key; valid until the next call. */
static const char *info_value(MPIX_Pool pool, const char *key)
{
    static char value[MPI_MAX_INFO_VAL + 1];
    MPI_Info info;
    int found = 0;
    CHECK_OK(MPIX_Pool_get_info(pool, &info));
    MPI_Info_get(info, key, MPI_MAX_INFO_VAL, value, &found);
    MPI_Info_free(&info);
    return found ? value : "";
}

static bool info_has(MPIX_Pool pool, const char *key, const char *wanted)
{
    const char *value = info_value(pool, key);
    if (value[0] && (!wanted || strcmp(value, wanted) == 0))
        return true;
    printf("\n    %s is \"%s\", not \"%s\"\n", key, value,
           wanted ? wanted : "something");
    return false;
}

static void test_every_key(void)
{
    static const char *const keys[] = {
        "transport",    "manager_address", "executors",        "cores",
        "slots",        "hot_timeout_us",  "inline_max",       "lease_seconds",
        "wait_seconds", "min_workers",     "cores_per_worker", "memory_per_worker",
        "log_level",
    };
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        CHECK(info_has(pool, keys[i], NULL));
    /* What was left to the library has been decided. */
    CHECK(info_has(pool, "transport", "shm"));
    CHECK(atoi(info_value(pool, "cores")) >= 1);
    check_works(pool);
    pool_end(&pool);
}

static void test_values(void)
{
    static const char *const settings[] = {
        "transport=shm",
        "cores=3",
        "slots=5",
        "hot_timeout_us=77",
        "inline_max=128",
        "wait_seconds=2",
        "min_workers=1",
        "lease_seconds=33.5",
        "cores_per_worker=2",
        "memory_per_worker=2M",
        "log_level=error",
        NULL,
    };
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, settings);
    for (int i = 0; settings[i]; i++) {
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(settings[i], "="), settings[i]);
        CHECK(info_has(pool, key, strchr(settings[i], '=') + 1));
    }
    check_works(pool); /* with those values */
    pool_end(&pool);
}

/* Info object over environment over file over default. */
static void test_precedence(void)
{
    char path[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/rfaas-test-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    CHECK_FATAL(fd >= 0);
    CHECK(dprintf(fd, "[rfaas]\ncores = 2\nslots = 3\ninline_max = 256\n"
                      "lease_seconds = 44\n") > 0);
    close(fd);
    setenv("RFAAS_CONFIG_FILE", path, 1);
    setenv("RFAAS_SLOTS", "4", 1);
    setenv("RFAAS_INLINE_MAX", "512", 1);
    MPIX_Pool pool = pool_create(
        MPI_COMM_SELF, SETTINGS("inline_max=128", "nobody=knows", "host=ignored"));
    CHECK(info_has(pool, "inline_max", "128"));
    CHECK(info_has(pool, "slots", "4"));
    CHECK(info_has(pool, "lease_seconds", "44"));
    CHECK(info_has(pool, "cores", "2"));
    CHECK(info_has(pool, "wait_seconds", "0"));
    check_works(pool);
    pool_end(&pool);
    unsetenv("RFAAS_SLOTS");
    unsetenv("RFAAS_INLINE_MAX");
    unsetenv("RFAAS_CONFIG_FILE");
    unlink(path);
}

/* ---- executors by hand ----------------------------------------------------------- */

static pid_t executor_start(MPIX_Pool pool, int cores)
{
    pid_t pid = 0;
    char name[] = "rfaas-executor", manager[600], offer[32];
    const char *path = getenv("RFAAS_EXECUTOR");
    snprintf(manager, sizeof manager, "--manager=%s",
             info_value(pool, "manager_address"));
    snprintf(offer, sizeof offer, "--cores=%d", cores);
    char *arguments[] = {name, manager, offer, NULL};
    CHECK_FATAL(posix_spawn(&pid, path ? path : "./rfaas-executor", NULL, NULL,
                            arguments, environ) == 0);
    return pid;
}

static void executor_ended(pid_t pid)
{
    double start = MPI_Wtime();
    int status = -1;
    pid_t ended;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 &&
           patient(start, PATIENCE_SECONDS))
        ;
    CHECK_EQUAL(ended, pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_executor_by_hand(void)
{
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, SETTINGS("executors=none"));
    MPIX_Lease lease = MPIX_LEASE_NULL;
    CHECK_CODE(MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &lease),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK(lease == MPIX_LEASE_NULL);
    pid_t first = executor_start(pool, 1);
    check_works(pool); /* waits for a core */
    /* Another joins the running pool: a lease on both. */
    pid_t second = executor_start(pool, 2);
    MPIX_Function increment = function_load(pool, "increment");
    lease = lease_acquire(pool, 3, NULL);
    for (int i = 0; i < 3; i++)
        CHECK(increments(increment, lease, i, i));
    CHECK_OK(MPIX_Lease_release(&lease));
    /* One leaves: the other is enough for one worker, not for three. */
    CHECK_EQUAL(kill(first, SIGTERM), 0);
    executor_ended(first);
    check_works(pool);
    CHECK_CODE(MPIX_Lease_acquire(pool, 3, MPI_INFO_NULL, &lease),
               MPIX_ERR_NO_RESOURCES, "");
    pool_end(&pool);
    executor_ended(second);
}

/* A pool of one communicator uses the manager of another's. */
static void test_manager_elsewhere(void)
{
    char address[600];
    MPIX_Pool world = shared_pool();
    snprintf(address, sizeof address, "manager_address=%s",
             info_value(world, "manager_address"));
    MPIX_Pool guest = pool_create(MPI_COMM_SELF, SETTINGS(address, "executors=none"));
    CHECK(info_has(guest, "manager_address", strchr(address, '=') + 1));
    check_works(guest);
    pool_end(&guest);
    check_works(world);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* With an executor of its own, which goes with the guest and not with the manager. */
static void test_executor_for_another(void)
{
    char address[600];
    MPIX_Pool world = shared_pool(), guest;
    MPIX_Lease lease = MPIX_LEASE_NULL;
    int all = CORES_PER_RANK * mpi_ranks;
    snprintf(address, sizeof address, "manager_address=%s",
             info_value(world, "manager_address"));
    guest = pool_create(MPI_COMM_WORLD, SETTINGS(address, "cores=1"));
    if (mpi_rank == 0) {
        lease = lease_acquire(world, all + 1, NULL);
        CHECK_OK(MPIX_Lease_release(&lease));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    pool_end(&guest);
    CHECK(MPI_Wtime() - start < LOSS_SECONDS);
    CHECK_CODE(MPIX_Lease_acquire(world, all + 1, MPI_INFO_NULL, &lease),
               MPIX_ERR_NO_RESOURCES, "");
    MPI_Barrier(MPI_COMM_WORLD);
}

/* All that is left when it is freed goes with it. */
static void test_free_with_everything(void)
{
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    MPIX_Function forever = function_load(pool, "forever");
    MPIX_Function whoami = function_load(pool, "whoami");
    MPIX_Lease lease = lease_acquire(pool, 2, NULL);
    pid_t worker = worker_pid(lease, whoami, 0), executor = parent_of(worker);
    void *memory;
    MPI_Request requests[20];
    CHECK_OK(MPIX_Pool_alloc_mem(1000, pool, &memory));
    for (int i = 0; i < 20; i++)
        CHECK_OK(MPIX_Iinvoke(forever, NULL, 0, MPI_BYTE, NULL, 0, MPI_BYTE,
                              MPIX_ANY_WORKER, lease, &requests[i]));
    CHECK(process_exists(worker) && process_exists(executor));
    pool_end(&pool);
    CHECK(!process_exists(worker) && !process_exists(executor));
    for (int i = 0; i < 20; i++)
        CHECK_CODE(MPI_Wait(&requests[i], MPI_STATUS_IGNORE), MPIX_ERR_LEASE,
                   "released");
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"each rank has a pool of its own on MPI_COMM_SELF", test_self},
        {"a pool on a subcommunicator in another order", test_subcommunicator},
        {"a pool of some ranks alone", test_some_ranks},
        {"two pools at once", test_two_pools},
        {"errors go to the communicator's handler", test_error_handler},
        {"20 pools one after the other leave nothing behind", test_again_and_again},
        {"MPIX_Pool_get_info has every key", test_every_key},
        {"MPIX_Pool_get_info has the values that were set", test_values},
        {"info beats environment beats file beats default", test_precedence},
        {"executors started by hand join and leave", test_executor_by_hand},
        {"a pool with the manager of another", test_manager_elsewhere},
        {"a pool that brings an executor to another's manager",
         test_executor_for_another},
        {"freeing a pool ends all that is left in it", test_free_with_everything},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: pools", tests, MPI_THREAD_SINGLE, argc, argv);
}
