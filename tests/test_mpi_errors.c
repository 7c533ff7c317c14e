/* Bad arguments: the class and the text that they get; nothing else happens. */
#include "mpi_pool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What most tests here need. */
static struct {
    MPIX_Pool pool;
    MPIX_Lease lease; /* of two workers */
    MPIX_Function increment;
} with;

static void acquire(void)
{
    with.pool = shared_pool();
    with.increment = function_load(with.pool, "increment");
    with.lease = lease_acquire(with.pool, 2, NULL);
}

/* The program goes on. */
static void release(void)
{
    CHECK(increments(with.increment, with.lease, MPIX_ANY_WORKER, 41));
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPIX_Function_free(&with.increment));
}

/* An info object that is used once. */
static MPI_Info once(const char *setting)
{
    static MPI_Info info = MPI_INFO_NULL;
    if (info != MPI_INFO_NULL)
        MPI_Info_free(&info);
    return info = info_of(SETTINGS(setting));
}

/* ---- classes --------------------------------------------------------------------- */

static void test_classes(void)
{
    shared_pool();
    const int classes[] = {MPIX_ERR_NO_RESOURCES, MPIX_ERR_LEASE, MPIX_ERR_WORKER_LOST,
                           MPIX_ERR_FUNCTION, MPIX_ERR_MANAGER};
    static const char *const names[] = {"MPIX_ERR_NO_RESOURCES", "MPIX_ERR_LEASE",
                                        "MPIX_ERR_WORKER_LOST", "MPIX_ERR_FUNCTION",
                                        "MPIX_ERR_MANAGER"};
    int of_rank_0[5];
    memcpy(of_rank_0, classes, sizeof classes);
    MPI_Bcast(of_rank_0, 5, MPI_INT, 0, MPI_COMM_WORLD);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(classes[i], of_rank_0[i]);
        CHECK(classes[i] > MPI_SUCCESS && classes[i] != MPI_ERR_OTHER);
        CHECK(strstr(error_string(classes[i]), names[i]) != NULL);
        for (int j = 0; j < i; j++)
            CHECK(classes[i] != classes[j]);
    }
}

/* Errors on one rank alone don't shift the classes that the program makes itself. */
static void test_own_classes(void)
{
    MPIX_Function function;
    int class, of_rank_0;
    char path[64];
    for (int i = 0; i < 50 * (mpi_rank + 1); i++) {
        snprintf(path, sizeof path, "/no/such/library.%d.so", i);
        CHECK_CODE(MPIX_Function_load(shared_pool(), path, "f", &function),
                   MPIX_ERR_FUNCTION, path);
    }
    CHECK_OK(MPI_Add_error_class(&class));
    of_rank_0 = class;
    MPI_Bcast(&of_rank_0, 1, MPI_INT, 0, MPI_COMM_WORLD);
    CHECK_EQUAL(class, of_rank_0);
}

/* ---- pools ----------------------------------------------------------------------- */

static void test_pool_arguments(void)
{
    MPIX_Pool pool = shared_pool(), none = MPIX_POOL_NULL, untouched = pool;
    MPI_Info info;
    void *memory;
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_NULL, MPI_INFO_NULL, &none), MPI_ERR_COMM, "");
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_SELF, MPI_INFO_NULL, NULL), MPI_ERR_ARG,
               "null");
    CHECK_CODE(MPIX_Pool_free(NULL), MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Pool_free(&none), MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Pool_get_info(MPIX_POOL_NULL, &info), MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Pool_get_info(pool, NULL), MPI_ERR_ARG, "info");
    CHECK_CODE(MPIX_Pool_alloc_mem(8, MPIX_POOL_NULL, &memory), MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Pool_alloc_mem(8, pool, NULL), MPI_ERR_ARG, "address");
    CHECK_CODE(MPIX_Pool_alloc_mem(-1, pool, &memory), MPI_ERR_SIZE, "-1");
    CHECK_CODE(MPIX_Pool_free_mem(MPIX_POOL_NULL, &memory), MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Pool_free_mem(pool, NULL), MPI_ERR_BASE, "");
    CHECK_CODE(MPIX_Pool_free_mem(pool, &memory), MPI_ERR_BASE, "MPIX_Pool_alloc_mem");
    CHECK(none == MPIX_POOL_NULL && pool == untouched);
}

static void test_pool_settings(void)
{
    static const struct {
        const char *setting, *words;
    } bad[] = {
        {"transport=carrier-pigeon", "carrier-pigeon"},
        {"cores=0", "cores"},
        {"cores=-2", "cores"},
        {"cores=many", "many"},
        {"slots=0", "slots"},
        {"slots=257", "slots"},
        {"executors=perhaps", "perhaps"},
        {"inline_max=1", "inline_max"},
        {"lease_seconds=-1", "lease_seconds"},
        {"lease_seconds=0", "lease_seconds"},
        {"wait_seconds=nan", "wait_seconds"},
        {"min_workers=x", "min_workers"},
        {"cores_per_worker=0", "cores_per_worker"},
        {"hot_timeout_us=-2", "hot_timeout"},
        {"memory_per_worker=12", "memory_per_worker"},
        {"log_level=loud", "loud"},
        {"manager_address=nonsense", "nonsense"},
    };
    MPIX_Pool pool = MPIX_POOL_NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD, once(bad[i].setting), &pool),
                   MPI_ERR_INFO_VALUE, bad[i].words);
    CHECK(pool == MPIX_POOL_NULL);
    /* Nobody is there. */
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD,
                                once("manager_address=unix:@rfaas-nobody-is-here"),
                                &pool),
               MPIX_ERR_MANAGER, "rfaas-nobody-is-here");
    CHECK(pool == MPIX_POOL_NULL);
    /* Of the environment. */
    setenv("RFAAS_SLOTS", "none", 1);
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool),
               MPI_ERR_INFO_VALUE, "RFAAS_SLOTS");
    unsetenv("RFAAS_SLOTS");
    CHECK(pool == MPIX_POOL_NULL);
}

/* What is wrong on one rank is told to all. */
static void test_pool_one_rank(void)
{
    MPIX_Pool pool = MPIX_POOL_NULL;
    int last = mpi_ranks - 1;
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD,
                                once(mpi_rank == last ? "slots=-3" : "slots=3"), &pool),
               MPI_ERR_INFO_VALUE, "-3");
    CHECK(pool == MPIX_POOL_NULL);
}

static void test_no_executor(void)
{
    MPIX_Pool pool = MPIX_POOL_NULL;
    char path[4096];
    snprintf(path, sizeof path, "%s", getenv("RFAAS_EXECUTOR"));
    setenv("RFAAS_EXECUTOR", "/no/such/program", 1);
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool),
               MPIX_ERR_NO_RESOURCES, "/no/such/program");
    setenv("RFAAS_EXECUTOR", "/bin/true", 1);
    CHECK_CODE(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool),
               MPIX_ERR_NO_RESOURCES, "/bin/true");
    CHECK(pool == MPIX_POOL_NULL);
    setenv("RFAAS_EXECUTOR", path, 1);
}

/* ---- leases ---------------------------------------------------------------------- */

static void test_lease_arguments(void)
{
    acquire();
    MPIX_Lease none = MPIX_LEASE_NULL;
    MPI_Request request = MPI_REQUEST_NULL;
    MPIX_Usage usage;
    int workers = -5;
    CHECK_CODE(MPIX_Lease_acquire(MPIX_POOL_NULL, 1, MPI_INFO_NULL, &none), MPI_ERR_ARG,
               "pool");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, MPI_INFO_NULL, NULL), MPI_ERR_ARG,
               "handle");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 0, MPI_INFO_NULL, &none), MPI_ERR_ARG,
               "0");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, -3, MPI_INFO_NULL, &none), MPI_ERR_ARG,
               "-3");
    CHECK_CODE(MPIX_Lease_iacquire(MPIX_POOL_NULL, 1, MPI_INFO_NULL, &none, &request),
               MPI_ERR_ARG, "pool");
    CHECK_CODE(MPIX_Lease_iacquire(with.pool, 1, MPI_INFO_NULL, NULL, &request),
               MPI_ERR_ARG, "handle");
    CHECK_CODE(MPIX_Lease_iacquire(with.pool, 1, MPI_INFO_NULL, &none, NULL),
               MPI_ERR_ARG, "request");
    CHECK_CODE(MPIX_Lease_iacquire(with.pool, 0, MPI_INFO_NULL, &none, &request),
               MPI_ERR_ARG, "0");
    CHECK(none == MPIX_LEASE_NULL && request == MPI_REQUEST_NULL);
    CHECK_CODE(MPIX_Lease_get_workers(MPIX_LEASE_NULL, &workers), MPI_ERR_ARG, "lease");
    CHECK_CODE(MPIX_Lease_get_workers(with.lease, NULL), MPI_ERR_ARG, "null");
    CHECK_EQUAL(workers, -5);
    CHECK_CODE(MPIX_Lease_renew(MPIX_LEASE_NULL, 1), MPI_ERR_ARG, "lease");
    CHECK_CODE(MPIX_Lease_release(NULL), MPI_ERR_ARG, "null");
    CHECK_CODE(MPIX_Lease_release(&none), MPI_ERR_ARG, "lease");
    CHECK_CODE(MPIX_Lease_get_usage(MPIX_LEASE_NULL, &usage), MPI_ERR_ARG, "lease");
    CHECK_CODE(MPIX_Lease_get_usage(with.lease, NULL), MPI_ERR_ARG, "null");
    release();
}

static void test_lease_settings(void)
{
    acquire();
    MPIX_Lease none = MPIX_LEASE_NULL;
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, once("lease_seconds=soon"), &none),
               MPI_ERR_INFO_VALUE, "soon");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, once("transport=none"), &none),
               MPI_ERR_INFO_VALUE, "transport");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, once("slots=1000"), &none),
               MPI_ERR_INFO_VALUE, "1000");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, once("min_workers=2"), &none),
               MPI_ERR_INFO_VALUE, "min_workers");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 100000, MPI_INFO_NULL, &none),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, once("memory_per_worker=1024G"), &none),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK(none == MPIX_LEASE_NULL);
    MPIX_Lease lease = MPIX_LEASE_NULL;
    CHECK_OK(MPIX_Lease_acquire(with.pool, 1, once("nobody_knows=this"), &lease));
    CHECK_OK(MPIX_Lease_release(&lease));
    release();
}

/* Copies of the handles of what is no more. */
static void test_stale_handles(void)
{
    acquire();
    MPIX_Lease lease = lease_acquire(with.pool, 1, NULL), old_lease = lease;
    MPIX_Function function = function_load(with.pool, "echo"), old_function = function;
    MPI_Request request = MPI_REQUEST_NULL;
    MPIX_Usage usage;
    int workers;
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Function_free(&function));
    CHECK_CODE(MPIX_Iinvoke(with.increment, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 0,
                            old_lease, &request),
               MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Invoke(with.increment, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 0,
                           old_lease, MPI_STATUS_IGNORE),
               MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_get_workers(old_lease, &workers), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_renew(old_lease, 1), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_get_usage(old_lease, &usage), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_release(&old_lease), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Iinvoke(old_function, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 0,
                            with.lease, &request),
               MPIX_ERR_FUNCTION, "freed");
    CHECK(request == MPI_REQUEST_NULL);
    release();
}

/* ---- functions ------------------------------------------------------------------- */

static void test_function_arguments(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function none = MPIX_FUNCTION_NULL;
    const char *path = functions_path();
    char text[256], empty[256];
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    CHECK_CODE(MPIX_Function_load(MPIX_POOL_NULL, path, "echo", &none), MPI_ERR_ARG,
               "pool");
    CHECK_CODE(MPIX_Function_load(pool, NULL, "echo", &none), MPI_ERR_ARG, "library");
    CHECK_CODE(MPIX_Function_load(pool, path, NULL, &none), MPI_ERR_ARG, "name");
    CHECK_CODE(MPIX_Function_load(pool, path, "echo", NULL), MPI_ERR_ARG, "handle");
    CHECK_CODE(MPIX_Function_load(pool, "/no/such/library.so", "echo", &none),
               MPIX_ERR_FUNCTION, "/no/such/library.so");
    CHECK_CODE(MPIX_Function_load(pool, path, "no_such_symbol", &none),
               MPIX_ERR_FUNCTION, "no_such_symbol");
    CHECK_CODE(MPIX_Function_load(pool, tmp, "echo", &none), MPIX_ERR_FUNCTION, tmp);
    snprintf(text, sizeof text, "%s/rfaas-text-%d", tmp, (int)getpid());
    FILE *file = fopen(text, "w");
    CHECK_FATAL(file != NULL);
    fputs("This is no library.\n", file);
    fclose(file);
    CHECK_CODE(MPIX_Function_load(pool, text, "echo", &none), MPIX_ERR_FUNCTION, text);
    unlink(text);
    snprintf(empty, sizeof empty, "%s/rfaas-empty-%d", tmp, (int)getpid());
    file = fopen(empty, "w");
    CHECK_FATAL(file != NULL);
    fclose(file);
    CHECK_CODE(MPIX_Function_load(pool, empty, "echo", &none), MPIX_ERR_FUNCTION,
               empty);
    unlink(empty);
    CHECK(none == MPIX_FUNCTION_NULL);
    CHECK_CODE(MPIX_Function_free(NULL), MPI_ERR_ARG, "function");
    CHECK_CODE(MPIX_Function_free(&none), MPI_ERR_ARG, "function");
}

/* ---- invocations ----------------------------------------------------------------- */

struct attempt {
    int function, lease; /* whether they are given */
    const void *in;
    MPI_Count in_count;
    MPI_Datatype in_type;
    void *out;
    MPI_Count out_count;
    MPI_Datatype out_type;
    int worker, class;
    const char *words;
};

/* Both forms say the same, and write nothing. */
static void check_attempt(const struct attempt *a)
{
    MPIX_Function function = a->function ? with.increment : MPIX_FUNCTION_NULL;
    MPIX_Lease lease = a->lease ? with.lease : MPIX_LEASE_NULL;
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Status status = {.MPI_TAG = 99};
    CHECK_CODE(MPIX_Iinvoke(function, a->in, a->in_count, a->in_type, a->out,
                            a->out_count, a->out_type, a->worker, lease, &request),
               a->class, a->words);
    CHECK(request == MPI_REQUEST_NULL);
    CHECK_CODE(MPIX_Invoke(function, a->in, a->in_count, a->in_type, a->out,
                           a->out_count, a->out_type, a->worker, lease, &status),
               a->class, a->words);
    CHECK_EQUAL(status.MPI_TAG, 99);
}

static void test_invoke_arguments(void)
{
    static const MPI_Count huge = (MPI_Count)1 << 62;
    acquire();
    int in = 1, out = -1;
    const MPI_Datatype i = MPI_INT, none = MPI_DATATYPE_NULL;
    const struct attempt attempts[] = {
        {0, 1, &in, 1, i, &out, 1, i, 0, MPI_ERR_ARG, "function"},
        {1, 0, &in, 1, i, &out, 1, i, 0, MPI_ERR_ARG, "lease"},
        {0, 0, &in, 1, i, &out, 1, i, 0, MPI_ERR_ARG, "null"},
        {1, 1, &in, -1, i, &out, 1, i, 0, MPI_ERR_COUNT, "input"},
        {1, 1, &in, 1, i, &out, -1, i, 0, MPI_ERR_COUNT, "output"},
        {1, 1, &in, huge, i, &out, 1, i, 0, MPI_ERR_COUNT, "input"},
        {1, 1, &in, 1, i, &out, huge, i, 0, MPI_ERR_COUNT, "output"},
        {1, 1, NULL, 1, i, &out, 1, i, 0, MPI_ERR_BUFFER, "input"},
        {1, 1, &in, 1, i, NULL, 1, i, 0, MPI_ERR_BUFFER, "output"},
        {1, 1, &in, 1, none, &out, 1, i, 0, MPI_ERR_TYPE, "input"},
        {1, 1, &in, 1, i, &out, 1, none, 0, MPI_ERR_TYPE, "output"},
        {1, 1, &in, 1, i, &out, 1, i, 2, MPI_ERR_RANK, "worker 2"},
        {1, 1, &in, 1, i, &out, 1, i, -2, MPI_ERR_RANK, "worker -2"},
        {1, 1, &in, 1, i, &out, 1, i, INT_MIN, MPI_ERR_RANK, "worker"},
    };
    for (size_t n = 0; n < sizeof attempts / sizeof attempts[0]; n++)
        check_attempt(&attempts[n]);
    CHECK_CODE(MPIX_Iinvoke(with.increment, &in, 1, i, &out, 1, i, 0, with.lease, NULL),
               MPI_ERR_ARG, "request");
    CHECK_EQUAL(out, -1);
    release();
}

/* One that wasn't committed; whatever handler MPI_COMM_SELF has. */
static void test_uncommitted(void)
{
    MPI_Datatype type;
    int in[6] = {1, 2, 3, 4, 5, 6}, out[6] = {0};
    acquire();
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_ARE_FATAL);
    for (int stride = 1; stride <= 2; stride++) {
        MPI_Type_vector(3, 1, stride, MPI_INT, &type);
        int code = MPIX_Invoke(with.increment, in, 1, type, out, 3, MPI_INT, 0,
                               with.lease, MPI_STATUS_IGNORE);
        CHECK(code == MPI_SUCCESS || error_class(code) == MPI_ERR_TYPE);
        code = MPIX_Invoke(with.increment, in, 3, MPI_INT, out, 1, type, 0, with.lease,
                           MPI_STATUS_IGNORE);
        CHECK(code == MPI_SUCCESS || error_class(code) == MPI_ERR_TYPE);
        MPI_Type_free(&type);
    }
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    release();
}

/* More memory than there is ends the request, not the program. */
static void test_no_memory(void)
{
    acquire();
    MPIX_Function fill = function_load(with.pool, "fill");
    char out[8];
    const MPI_Count most = (MPI_Count)1 << 60;
    int code = MPIX_Invoke(fill, NULL, 0, MPI_BYTE, out, most, MPI_BYTE, 0, with.lease,
                           MPI_STATUS_IGNORE);
    CHECK_CODE(code, MPI_ERR_NO_MEM, "");
    void *memory = NULL;
    CHECK_CODE(MPIX_Pool_alloc_mem((MPI_Aint)most, with.pool, &memory), MPI_ERR_NO_MEM,
               "");
    CHECK(memory == NULL);
    CHECK_OK(MPIX_Function_free(&fill));
    release();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"error classes are the same on all ranks", test_classes},
        {"errors of one rank don't shift the program's own classes", test_own_classes},
        {"pools: bad arguments", test_pool_arguments},
        {"pools: bad settings", test_pool_settings},
        {"pools: what is wrong on one rank is told to all", test_pool_one_rank},
        {"pools: no executor can be started", test_no_executor},
        {"leases: bad arguments", test_lease_arguments},
        {"leases: bad settings", test_lease_settings},
        {"copies of released and freed handles", test_stale_handles},
        {"functions: bad arguments", test_function_arguments},
        {"invocations: bad arguments", test_invoke_arguments},
        {"invocations: a datatype that isn't committed", test_uncommitted},
        {"invocations: out of memory", test_no_memory},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: errors", tests, MPI_THREAD_SINGLE, argc, argv);
}
