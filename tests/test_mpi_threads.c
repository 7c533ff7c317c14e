/* Threads of one rank, as the level allows that the first argument names: all of them
 * invoke, wait and acquire at once (multiple), in turns (serialized), or one does for
 * all (funneled, single). */
#include "mpi_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 60, WINDOW = 8 };

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease; /* of two workers, for all threads */
    MPIX_Function increment, work;
    MPI_Info dynamic;
    pthread_mutex_t turn; /* serialized: who may call MPI */
    bool in_turns;
} with = {.turn = PTHREAD_MUTEX_INITIALIZER};

struct thread {
    pthread_t thread;
    int number;
    int wrong; /* CUnit is for one thread alone */
};

static void turn_take(void)
{
    if (with.in_turns)
        pthread_mutex_lock(&with.turn);
}

static void turn_give(void)
{
    if (with.in_turns)
        pthread_mutex_unlock(&with.turn);
}

static void run_threads(void *(*body)(void *thread))
{
    struct thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i};
        CHECK_FATAL(pthread_create(&threads[i].thread, NULL, body, &threads[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        CHECK_EQUAL(threads[i].wrong, 0);
    }
}

static void set_up(void)
{
    with.pool = shared_pool();
    with.increment = function_load(with.pool, "increment");
    with.work = function_load(with.pool, "work");
    with.lease = lease_acquire(with.pool, 2, NULL);
}

static void tear_down(void)
{
    CHECK_OK(MPIX_Lease_release(&with.lease));
}

static bool good(int code)
{
    return code == MPI_SUCCESS;
}

/* ---- invoking -------------------------------------------------------------------- */

/* Completes the requests in the round's own way. */
static bool complete(int round, MPI_Request *requests)
{
    int done = 0, index, count, indices[WINDOW];
    switch (round % 4) {
    case 0:
        return good(MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE));
    case 1:
        for (int i = 0; i < WINDOW; i++)
            if (!good(MPI_Waitany(WINDOW, requests, &index, MPI_STATUS_IGNORE)))
                return false;
        return true;
    case 2:
        for (int left = WINDOW; left > 0; left -= count)
            if (!good(MPI_Waitsome(WINDOW, requests, &count, indices,
                                   MPI_STATUSES_IGNORE)))
                return false;
        return true;
    default:
        while (!done)
            if (!good(MPI_Testall(WINDOW, requests, &done, MPI_STATUSES_IGNORE)))
                return false;
        return true;
    }
}

/* A window of invocations, and a message to itself among them. */
static bool round_of(int number, int round)
{
    int32_t in[WINDOW], out[WINDOW] = {0};
    MPI_Request requests[WINDOW];
    MPI_Status status;
    int tag = number * ROUNDS + round, sent = tag, received = -1;
    bool right = true;
    for (int i = 0; i < WINDOW - 2; i++) {
        in[i] = 1000 * tag + i;
        right &=
            good(MPIX_Iinvoke(with.increment, &in[i], 1, MPI_INT32_T, &out[i], 1,
                              MPI_INT32_T, MPIX_ANY_WORKER, with.lease, &requests[i]));
    }
    right &= good(
        MPI_Irecv(&received, 1, MPI_INT, 0, tag, MPI_COMM_SELF, &requests[WINDOW - 2]));
    right &= good(
        MPI_Isend(&sent, 1, MPI_INT, 0, tag, MPI_COMM_SELF, &requests[WINDOW - 1]));
    right &= complete(round, requests);
    for (int i = 0; i < WINDOW - 2; i++)
        right &= out[i] == in[i] + 1;
    right &= received == sent;
    in[0] = tag;
    right &= good(MPIX_Invoke(with.increment, in, 1, MPI_INT32_T, out, 1, MPI_INT32_T,
                              tag % 2, with.lease, &status));
    return right && out[0] == tag + 1 && status.MPI_SOURCE == tag % 2;
}

static void *invoke_all_ways(void *arg)
{
    struct thread *thread = arg;
    for (int round = 0; round < ROUNDS; round++) {
        turn_take();
        thread->wrong += !round_of(thread->number, round);
        turn_give();
    }
    return NULL;
}

static void test_invoke(void)
{
    set_up();
    run_threads(invoke_all_ways);
    tear_down();
}

/* Nothing but invocations, as fast as they go. */
static void *hammer(void *arg)
{
    struct thread *thread = arg;
    for (int32_t i = 0, out; i < 2000; i++) {
        MPI_Request request;
        bool right =
            good(MPIX_Iinvoke(with.increment, &i, 1, MPI_INT32_T, &out, 1, MPI_INT32_T,
                              MPIX_ANY_WORKER, with.lease, &request)) &&
            good(MPI_Wait(&request, MPI_STATUS_IGNORE)) && out == i + 1;
        thread->wrong += !right;
    }
    return NULL;
}

static void test_hammer(void)
{
    set_up();
    run_threads(hammer);
    tear_down();
}

/* Each waits for its own, which takes a while; none holds up the others. */
static void *wait_long(void *arg)
{
    struct thread *thread = arg;
    int32_t us = thread->number == 0 ? 300000 : 500, out = 0;
    for (int round = 0; round < (thread->number == 0 ? 1 : 50); round++) {
        MPI_Request request;
        bool right =
            good(MPIX_Iinvoke(with.work, &us, 1, MPI_INT32_T, &out, 1, MPI_INT32_T,
                              thread->number == 0, with.lease, &request)) &&
            good(MPI_Wait(&request, MPI_STATUS_IGNORE)) && out == us;
        thread->wrong += !right;
    }
    return NULL;
}

static void test_wait_long(void)
{
    set_up();
    run_threads(wait_long);
    tear_down();
}

/* ---- loops ----------------------------------------------------------------------- */

/* Blocking loops and others, all on one lease and of one function. */
static void *run_loops(void *arg)
{
    enum { ELEMENTS = 5000 };
    struct thread *thread = arg;
    int32_t *in = malloc(sizeof *in * ELEMENTS), *out = malloc(sizeof *out * ELEMENTS);
    for (int round = 0; round < ROUNDS; round++) {
        int n = round % 3 ? ELEMENTS : 50;
        MPI_Request request;
        bool right = true;
        for (int i = 0; i < n; i++)
            in[i] = thread->number * 1000000 + round + i;
        memset(out, 0, sizeof *out * (size_t)n);
        turn_take();
        if ((round + thread->number) % 2)
            right &= good(MPIX_Parallel_for(with.increment, n, in, MPI_INT32_T, out,
                                            MPI_INT32_T, with.lease, with.dynamic));
        else
            right &= good(MPIX_Iparallel_for(with.increment, n, in, MPI_INT32_T, out,
                                             MPI_INT32_T, with.lease, MPI_INFO_NULL,
                                             &request)) &&
                     good(MPI_Wait(&request, MPI_STATUS_IGNORE));
        turn_give();
        for (int i = 0; i < n; i++)
            right &= out[i] == in[i] + 1;
        thread->wrong += !right;
    }
    free(in);
    free(out);
    return NULL;
}

static void test_loops(void)
{
    set_up();
    MPI_Info_create(&with.dynamic);
    MPI_Info_set(with.dynamic, "schedule", "dynamic");
    run_threads(run_loops);
    MPI_Info_free(&with.dynamic);
    tear_down();
}

/* ---- handing over ---------------------------------------------------------------- */

enum { HANDED = 200 };
static struct {
    MPI_Request requests[HANDED];
    int32_t in[HANDED], out[HANDED];
    _Atomic int started, taken;
} handed;

/* Even threads start, odd ones wait for what others have started. */
static void *hand_over(void *arg)
{
    struct thread *thread = arg;
    for (;;) {
        turn_take();
        bool right = true, over = false;
        if (thread->number == 0) {
            int i = handed.started;
            over = i == HANDED;
            if (!over) {
                handed.in[i] = i;
                right = good(MPIX_Iinvoke(
                    with.increment, &handed.in[i], 1, MPI_INT32_T, &handed.out[i], 1,
                    MPI_INT32_T, MPIX_ANY_WORKER, with.lease, &handed.requests[i]));
                handed.started = i + 1;
            }
        } else {
            int i = handed.taken;
            over = i >= HANDED;
            if (!over && i < handed.started &&
                atomic_compare_exchange_strong(&handed.taken, &i, i + 1))
                right = good(MPI_Wait(&handed.requests[i], MPI_STATUS_IGNORE)) &&
                        handed.out[i] == i + 1;
        }
        turn_give();
        thread->wrong += !right;
        if (over)
            return NULL;
    }
}

static void test_hand_over(void)
{
    set_up();
    handed.started = handed.taken = 0;
    run_threads(hand_over);
    tear_down();
}

/* ---- everything else ------------------------------------------------------------- */

/* Leases of its own, functions and memory, and an error now and then. */
static void *use_all_calls(void *arg)
{
    struct thread *thread = arg;
    for (int round = 0; round < 4; round++) {
        MPIX_Lease lease = MPIX_LEASE_NULL;
        MPIX_Function function = MPIX_FUNCTION_NULL;
        MPIX_Usage usage;
        MPI_Request request;
        MPI_Info info;
        int32_t *memory = NULL;
        turn_take();
        MPI_Info_create(&info);
        MPI_Info_set(info, "wait_seconds", "20");
        bool right = good(MPIX_Function_load(with.pool, functions_path(), "increment",
                                             &function)) &&
                     good(MPIX_Pool_alloc_mem(8000, with.pool, &memory));
        if (round % 2)
            right &= good(MPIX_Lease_acquire(with.pool, 1, info, &lease));
        else
            right &= good(MPIX_Lease_iacquire(with.pool, 1, info, &lease, &request)) &&
                     good(MPI_Wait(&request, MPI_STATUS_IGNORE));
        for (int i = 0; right && i < 20; i++) {
            memory[0] = i;
            right &=
                good(MPIX_Invoke(function, memory, 1000, MPI_INT32_T, memory + 1000,
                                 1000, MPI_INT32_T, 0, lease, MPI_STATUS_IGNORE)) &&
                memory[1000] == i + 1;
        }
        right &= MPIX_Invoke(function, memory, -1, MPI_INT, memory, 1, MPI_INT, 0,
                             lease, MPI_STATUS_IGNORE) != MPI_SUCCESS;
        right &= good(MPIX_Lease_get_usage(lease, &usage)) && usage.invocations == 20;
        right &= good(MPIX_Lease_release(&lease)) &&
                 good(MPIX_Function_free(&function)) &&
                 good(MPIX_Pool_free_mem(with.pool, memory));
        MPI_Info_free(&info);
        turn_give();
        thread->wrong += !right;
    }
    return NULL;
}

static void test_all_calls(void)
{
    set_up();
    run_threads(use_all_calls);
    tear_down();
}

/* Pools that come and go in every thread. */
static MPI_Comm comms[THREADS];

static void *make_pools(void *arg)
{
    struct thread *thread = arg;
    for (int round = 0; round < 4; round++) {
        MPIX_Pool pool = MPIX_POOL_NULL;
        MPIX_Lease lease = MPIX_LEASE_NULL;
        MPIX_Function function = MPIX_FUNCTION_NULL;
        int32_t in = 10 * thread->number + round, out = 0;
        bool right =
            good(MPIX_Pool_create(comms[thread->number], MPI_INFO_NULL, &pool)) &&
            good(MPIX_Function_load(pool, functions_path(), "increment", &function)) &&
            good(MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &lease)) &&
            good(MPIX_Invoke(function, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, 0,
                             lease, MPI_STATUS_IGNORE)) &&
            good(MPIX_Pool_free(&pool)) && out == in + 1;
        thread->wrong += !right;
    }
    return NULL;
}

static void test_pools(void)
{
    for (int i = 0; i < THREADS; i++)
        MPI_Comm_dup(MPI_COMM_SELF, &comms[i]);
    run_threads(make_pools);
    for (int i = 0; i < THREADS; i++)
        MPI_Comm_free(&comms[i]);
}

/* ---- one thread for all ---------------------------------------------------------- */

static _Atomic bool computing;

static void *compute(void *arg)
{
    struct thread *thread = arg;
    volatile double sum = 0;
    while (computing)
        for (int i = 0; i < 1000; i++)
            sum = sum + i;
    thread->wrong += sum < 0;
    return NULL;
}

/* Only this thread calls MPI; others compute. */
static void test_one_for_all(void)
{
    struct thread helpers[2] = {{0}, {0}};
    set_up();
    computing = true;
    for (int i = 0; i < 2; i++)
        CHECK_FATAL(pthread_create(&helpers[i].thread, NULL, compute, &helpers[i]) ==
                    0);
    for (int round = 0; round < ROUNDS; round++)
        CHECK(round_of(0, round));
    computing = false;
    for (int i = 0; i < 2; i++)
        pthread_join(helpers[i].thread, NULL);
    tear_down();
}

static void test_single(void)
{
    set_up();
    for (int round = 0; round < ROUNDS; round++)
        CHECK(round_of(0, round));
    tear_down();
}

/* ---- levels ---------------------------------------------------------------------- */

static const struct test single[] = {
    {"one thread", test_single},
    {NULL, NULL},
};
static const struct test funneled[] = {
    {"one thread of several", test_one_for_all},
    {NULL, NULL},
};
static const struct test serialized[] = {
    {"threads in turns invoke", test_invoke},
    {"threads in turns run loops", test_loops},
    {"threads in turns hand requests over", test_hand_over},
    {"threads in turns use all calls", test_all_calls},
    {NULL, NULL},
};
static const struct test multiple[] = {
    {"threads make pools at once", test_pools},
    {"threads invoke at once", test_invoke},
    {"threads invoke as fast as they can", test_hammer},
    {"threads wait at once", test_wait_long},
    {"threads run loops at once", test_loops},
    {"threads hand requests over", test_hand_over},
    {"threads use all calls at once", test_all_calls},
    {"one thread of several", test_one_for_all},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *suite;
        int level;
        const struct test *tests;
    } levels[] = {
        {"single", "MPI: threads, single", MPI_THREAD_SINGLE, single},
        {"funneled", "MPI: threads, funneled", MPI_THREAD_FUNNELED, funneled},
        {"serialized", "MPI: threads, serialized", MPI_THREAD_SERIALIZED, serialized},
        {"multiple", "MPI: threads, multiple", MPI_THREAD_MULTIPLE, multiple},
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (argc > 1 && strcmp(argv[1], levels[i].name) == 0) {
            with.in_turns = levels[i].level != MPI_THREAD_MULTIPLE;
            return mpi_test_main(levels[i].suite, levels[i].tests, levels[i].level,
                                 argc - 1, argv + 1);
        }
    fprintf(stderr, "Usage: test_mpi_threads single|funneled|serialized|multiple\n");
    return 2;
}
