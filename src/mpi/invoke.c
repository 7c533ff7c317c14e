/* Invocations as MPI requests. */
#include "mpi/invocation.h"
#include "mpi/task.h"

#include <sched.h>
#include <stdlib.h>

struct invocation {
    struct mpix_task task;
    struct mpix_invocation run;
    struct invocation *next; /* free */
};

/* Free ones, so that the usual invocation allocates nothing. One list for all pools:
 * an invocation may be freed after its pool. */
static struct {
    pthread_mutex_t mutex;
    struct invocation *free;
} cache = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void cache_lock(void)
{
    if (mpix_multiple)
        pthread_mutex_lock(&cache.mutex);
}

static void cache_unlock(void)
{
    if (mpix_multiple)
        pthread_mutex_unlock(&cache.mutex);
}

static struct invocation *invocation_new(void)
{
    cache_lock();
    struct invocation *i = cache.free;
    if (i)
        cache.free = i->next;
    cache_unlock();
    return i ? i : malloc(sizeof *i);
}

static void invocation_recycle(struct invocation *i)
{
    cache_lock();
    i->next = cache.free;
    cache.free = i;
    cache_unlock();
}

/* ---- arguments ------------------------------------------------------------------- */

struct arguments {
    struct mpix_shape in, out;
    MPIX_Pool pool;
};

/* What is wrong with the arguments as a code, or MPI_SUCCESS. */
static int check(MPIX_Function function, const void *inbuf, MPI_Count incount,
                 MPI_Datatype intype, void *outbuf, MPI_Count outcount,
                 MPI_Datatype outtype, int worker, MPIX_Lease lease,
                 struct arguments *a)
{
    a->pool = lease ? lease->pool : function ? function->pool : NULL;
    int code = mpix_invocation_check(function, lease);
    if (code == MPI_SUCCESS)
        code = mpix_invocation_shape("input", inbuf, incount, intype, a->pool, &a->in);
    if (code == MPI_SUCCESS)
        code = mpix_invocation_shape("output", outbuf, outcount, outtype, a->pool,
                                     &a->out);
    if (code != MPI_SUCCESS)
        return code;
    /* Of a lease that is over there is more to say than that it has no workers. */
    int workers = rfaas_lease_workers(lease->lease);
    if (worker != MPIX_ANY_WORKER && workers > 0 && (worker < 0 || worker >= workers))
        return mpix_code(MPI_ERR_RANK, "invocation: worker %d is not in 0..%d", worker,
                         workers - 1);
    return MPI_SUCCESS;
}

static void status_of(const struct mpix_invocation *run, MPI_Status *status)
{
    mpix_status_fill(status, run->source, run->tag, run->bytes, run->cancelled);
}

/* ---- nonblocking ----------------------------------------------------------------- */

static int on_query(const struct mpix_task *task, MPI_Status *status)
{
    const struct invocation *i = (const struct invocation *)task;
    status_of(&i->run, status);
    return i->run.code;
}

static void on_cancel(struct mpix_task *task)
{
    struct invocation *i = (struct invocation *)task;
    rfaas_request_withdraw(i->run.pool->session, &i->run.inner, i);
}

static void on_free(struct mpix_task *task)
{
    invocation_recycle((struct invocation *)task);
}

static const struct mpix_task_kind kind = {
    .query = on_query,
    .cancel = on_cancel,
    .free = on_free,
};

static void on_done(rfaas_request *inner, void *arg)
{
    struct invocation *i = arg;
    mpix_invocation_done(&i->run, inner);
    mpix_task_end(&i->task);
}

MPIX_DEFINE(Iinvoke,
            (MPIX_Function function, const void *inbuf, MPI_Count incount,
             MPI_Datatype intype, void *outbuf, MPI_Count outcount,
             MPI_Datatype outtype, int worker, MPIX_Lease lease, MPI_Request *request))
{
    struct arguments a;
    int code = check(function, inbuf, incount, intype, outbuf, outcount, outtype,
                     worker, lease, &a);
    if (code == MPI_SUCCESS && !request)
        code = mpix_code(MPI_ERR_ARG, "invocation: where to put the request is null");
    if (code != MPI_SUCCESS)
        return mpix_raise_in(a.pool, code);
    struct invocation *i = invocation_new();
    if (!i)
        return mpix_raise_in(a.pool, MPI_ERR_NO_MEM);
    mpix_task_init(&i->task, &kind);
    code = mpix_invocation_begin(&i->run, function, &a.in, inbuf, &a.out, outbuf,
                                 worker, lease, on_done, i);
    if (code == MPI_SUCCESS)
        code = mpix_task_publish(&i->task, request);
    else
        invocation_recycle(i);
    return mpix_raise_in(a.pool, code);
}

/* ---- blocking -------------------------------------------------------------------- */

/* Waits for the result; messages of others are served meanwhile. */
static int await(struct mpix_invocation *run, struct rfaas_result *result)
{
    enum { POLLS_PER_PROBE = 64, POLLS_PER_YIELD = 512 };
    int status, flag;
    for (unsigned turn = 1;
         (status = rfaas_test(&run->inner, result)) == RFAAS_IN_PROGRESS; turn++) {
        if (turn % POLLS_PER_PROBE == 0)
            MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, run->pool->comm, &flag,
                       MPI_STATUS_IGNORE);
        if (turn % POLLS_PER_YIELD == 0)
            sched_yield();
    }
    return status;
}

MPIX_DEFINE(Invoke,
            (MPIX_Function function, const void *inbuf, MPI_Count incount,
             MPI_Datatype intype, void *outbuf, MPI_Count outcount,
             MPI_Datatype outtype, int worker, MPIX_Lease lease, MPI_Status *status))
{
    struct arguments a;
    struct mpix_invocation run;
    struct rfaas_result result;
    int code = check(function, inbuf, incount, intype, outbuf, outcount, outtype,
                     worker, lease, &a);
    if (code == MPI_SUCCESS)
        code = mpix_invocation_begin(&run, function, &a.in, inbuf, &a.out, outbuf,
                                     worker, lease, NULL, NULL);
    if (code != MPI_SUCCESS)
        return mpix_raise_in(a.pool, code);
    mpix_invocation_conclude(&run, &result, mpix_outcome(await(&run, &result)));
    if (status != MPI_STATUS_IGNORE)
        status_of(&run, status);
    return mpix_raise(a.pool->comm, run.code);
}
