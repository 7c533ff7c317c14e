/* Progress of invocations inside MPI_Test, MPI_Wait and their like.
 *
 * Standard generalized requests don't drive anything. Open MPI calls a hook, for all
 * requests together, whenever it makes progress itself; MPICH has requests with a
 * poll function. Where there is neither, a thread polls, which MPI allows only with
 * MPI_THREAD_MULTIPLE. A test request shows at the first pool that it works. */
#include "mpi/mpix.h"

#include "base/clock.h"
#include "base/error.h"
#include <dlfcn.h>
#include <sched.h>
#include <string.h>

enum {
    POLLS_PER_YIELD = 256, /* without a result: others may need the core for it */
    SELF_TEST_SECONDS = 2,
};

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* or stopping */

static struct {
    pthread_mutex_t mutex; /* of `pools` */
    MPIX_Pool pools;
    unsigned idle_polls;
    int (*unregister)(int (*callback)(void)); /* the hook is registered */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stop;
    _Atomic bool test_wanted; /* the self-test's request is to be completed */
    MPI_Request test_request;
} progress = {.mutex = PTHREAD_MUTEX_INITIALIZER};

bool mpix_multiple;

/* Polls all pools; returns how many invocations ended. */
static int poll_pools(void)
{
    /* Another thread is at it, or a pool is coming or going. */
    if (mpix_multiple && pthread_mutex_trylock(&progress.mutex) != 0)
        return 0;
    int n = 0;
    for (MPIX_Pool pool = progress.pools; pool; pool = pool->next) {
        n += rfaas_progress(pool->session);
        if (atomic_load_explicit(&pool->acquiring, memory_order_relaxed) > 0)
            mpix_acquisitions_poll(pool);
        if (atomic_load_explicit(&pool->looping, memory_order_relaxed) > 0)
            mpix_loops_poll(pool);
    }
    if (mpix_multiple)
        pthread_mutex_unlock(&progress.mutex);
    if (atomic_load_explicit(&progress.test_wanted, memory_order_relaxed) &&
        atomic_exchange_explicit(&progress.test_wanted, false, memory_order_relaxed))
        MPI_Grequest_complete(progress.test_request);
    if (n > 0)
        progress.idle_polls = 0;
    else if (++progress.idle_polls % POLLS_PER_YIELD == 0)
        sched_yield();
    return n;
}

void mpix_progress_poll(void)
{
    poll_pools();
}

/* ---- the rungs of the ladder ----------------------------------------------------- */

#if defined(MPICH_VERSION)

static int on_poll(void *state, MPI_Status *status)
{
    (void)state;
    (void)status;
    poll_pools();
    return MPI_SUCCESS;
}

/* MPICH wants one, and calls it when all requests waited for are of one class; to
 * return without having waited is allowed, it goes on polling. */
static int on_wait(int count, void **states, double timeout, MPI_Status *status)
{
    (void)count;
    (void)states;
    (void)timeout;
    (void)status;
    poll_pools();
    return MPI_SUCCESS;
}

int mpix_request_start(MPI_Grequest_query_function *query,
                       MPI_Grequest_free_function *free_function,
                       MPI_Grequest_cancel_function *cancel, void *state,
                       MPI_Request *request)
{
    return MPIX_Grequest_start(query, free_function, cancel, on_poll, on_wait, state,
                               request);
}

static bool hook_register(void)
{
    return true; /* each request has it */
}

#else

int mpix_request_start(MPI_Grequest_query_function *query,
                       MPI_Grequest_free_function *free_function,
                       MPI_Grequest_cancel_function *cancel, void *state,
                       MPI_Request *request)
{
    return MPI_Grequest_start(query, free_function, cancel, state, request);
}

/* Open MPI exports its registration without a header: found by name, so that its
 * absence is no error at link time. */
static bool hook_register(void)
{
    int (*enroll)(int (*callback)(void));
    void *symbol = dlsym(RTLD_DEFAULT, "opal_progress_register");
    void *undo = dlsym(RTLD_DEFAULT, "opal_progress_unregister");
    if (!symbol || !undo)
        return false;
    memcpy(&enroll, &symbol, sizeof symbol);
    if (enroll(poll_pools) != 0)
        return false;
    memcpy(&progress.unregister, &undo, sizeof undo);
    return true;
}

#endif

static void *thread_main(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&progress.stop, memory_order_relaxed))
        poll_pools();
    return NULL;
}

static bool thread_start(void)
{
    if (!mpix_multiple)
        return false;
    atomic_store_explicit(&progress.stop, false, memory_order_relaxed);
    progress.has_thread =
        pthread_create(&progress.thread, NULL, thread_main, NULL) == 0;
    return progress.has_thread;
}

/* ---- self-test ------------------------------------------------------------------- */

static int test_query(void *state, MPI_Status *status)
{
    (void)state;
    MPI_Status_set_elements(status, MPI_BYTE, 0);
    MPI_Status_set_cancelled(status, 0);
    return MPI_SUCCESS;
}

static int test_free(void *state)
{
    (void)state;
    return MPI_SUCCESS;
}

static int test_cancel(void *state, int complete)
{
    (void)state;
    (void)complete;
    return MPI_SUCCESS;
}

static bool self_test(void)
{
    MPI_Request request;
    int done = 0;
    if (mpix_request_start(test_query, test_free, test_cancel, NULL, &request) !=
        MPI_SUCCESS)
        return false;
    progress.test_request = request;
    atomic_store_explicit(&progress.test_wanted, true, memory_order_relaxed);
    uint64_t end = rfaas_clock_ns() + SELF_TEST_SECONDS * 1000000000ull;
    while (!done && rfaas_clock_ns() < end)
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return false;
    if (!done &&
        atomic_exchange_explicit(&progress.test_wanted, false, memory_order_relaxed)) {
        MPI_Grequest_complete(progress.test_request);
        MPI_Request_free(&request);
    }
    return done;
}

/* ---- pools ----------------------------------------------------------------------- */

static void stop(void)
{
    if (progress.unregister)
        progress.unregister(poll_pools);
    progress.unregister = NULL;
    if (progress.has_thread) {
        atomic_store_explicit(&progress.stop, true, memory_order_relaxed);
        pthread_join(progress.thread, NULL);
    }
    progress.has_thread = false;
}

static int start(void)
{
    int level;
    MPI_Query_thread(&level);
    mpix_multiple = level == MPI_THREAD_MULTIPLE;
    if (hook_register() && self_test())
        return RFAAS_OK;
    stop();
    if (thread_start() && self_test())
        return RFAAS_OK;
    stop();
    return rfaas_fail(RFAAS_ERR_UNSUPPORTED,
                      "this MPI makes no progress for others: initialize it with "
                      "MPI_THREAD_MULTIPLE, and a thread will");
}

int mpix_progress_add(MPIX_Pool pool)
{
    pthread_mutex_lock(&starting);
    int status = progress.pools ? RFAAS_OK : start();
    if (status == RFAAS_OK) {
        pthread_mutex_lock(&progress.mutex);
        pool->next = progress.pools;
        progress.pools = pool;
        pthread_mutex_unlock(&progress.mutex);
    }
    pthread_mutex_unlock(&starting);
    return status;
}

void mpix_progress_remove(MPIX_Pool pool)
{
    pthread_mutex_lock(&starting);
    pthread_mutex_lock(&progress.mutex);
    for (MPIX_Pool *p = &progress.pools; *p; p = &(*p)->next)
        if (*p == pool) {
            *p = pool->next;
            break;
        }
    pthread_mutex_unlock(&progress.mutex);
    if (!progress.pools)
        stop();
    pthread_mutex_unlock(&starting);
}
