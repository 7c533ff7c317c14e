/* Invocations as MPI requests. */
#include "mpi/mpix.h"

#include "base/error.h"
#include <sched.h>
#include <stdlib.h>

/* One invocation. It has two owners: its request, until on_free, and what runs, until
 * that has ended. MPI_Request_free of MPICH calls on_free while it runs. It is sent
 * before its request is made, because it is on its way meanwhile: whichever is later,
 * its end or its request, completes the request. */
enum { INVOCATION_HAS_REQUEST = 1, INVOCATION_HAS_ENDED = 2 };

struct invocation {
    _Atomic int owners;
    _Atomic int reached; /* what of the above */
    MPIX_Pool pool;
    MPI_Request request;
    rfaas_request *inner; /* NULL once it is over */
    struct mpix_shape out;
    void *outbuf;
    void *packed_in, *packed_out; /* of the pool's memory; NULL: the user's are used */
    int code, source, tag;
    size_t bytes;
    bool cancelled;
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

/* What mpix_shape says of a buffer, in words. */
static int shape_code(int class, const char *which)
{
    const char *what = class == MPI_ERR_COUNT    ? "count is negative or too large"
                       : class == MPI_ERR_BUFFER ? "buffer is NULL"
                                                 : "datatype can't be used";
    return mpix_code(class, "invocation: the %s's %s", which, what);
}

/* What is wrong with the arguments as a code, or MPI_SUCCESS. */
static int check(MPIX_Function function, const void *inbuf, MPI_Count incount,
                 MPI_Datatype intype, void *outbuf, MPI_Count outcount,
                 MPI_Datatype outtype, int worker, MPIX_Lease lease,
                 struct arguments *a)
{
    a->pool = lease ? lease->pool : function ? function->pool : NULL;
    if (!lease || !function)
        return mpix_code(MPI_ERR_ARG, "invocation: the %s is null",
                         lease ? "function" : "lease");
    if (!lease->lease)
        return mpix_error_code(RFAAS_ERR_LEASE_RELEASED, "the lease was released");
    if (!function->function)
        return mpix_error_code(RFAAS_ERR_FUNCTION, "the function was freed");
    int class = mpix_shape(inbuf, incount, intype, a->pool->comm, &a->in);
    if (class != MPI_SUCCESS)
        return shape_code(class, "input");
    class = mpix_shape(outbuf, outcount, outtype, a->pool->comm, &a->out);
    if (class != MPI_SUCCESS)
        return shape_code(class, "output");
    /* Of a lease that is over there is more to say than that it has no workers. */
    int workers = rfaas_lease_workers(lease->lease);
    if (worker != MPIX_ANY_WORKER && workers > 0 && (worker < 0 || worker >= workers))
        return mpix_code(MPI_ERR_RANK, "invocation: worker %d is not in 0..%d", worker,
                         workers - 1);
    return MPI_SUCCESS;
}

static void packed_free(struct invocation *i)
{
    if (i->packed_in)
        rfaas_free(i->pool->session, i->packed_in);
    if (i->packed_out)
        rfaas_free(i->pool->session, i->packed_out);
    i->packed_in = i->packed_out = NULL;
}

/* For a call of the library that has just failed, or not. */
static int outcome(int status)
{
    return status == RFAAS_OK ? MPI_SUCCESS
                              : mpix_error_code(status, rfaas_last_error());
}

/* Memory for data that have to be packed. */
static int packed_create(struct invocation *i, const struct mpix_shape *in,
                         const void *inbuf)
{
    int status = RFAAS_OK;
    if (!in->contiguous) {
        status = rfaas_alloc(i->pool->session, in->bytes, &i->packed_in);
        if (status == RFAAS_OK &&
            mpix_pack(in, inbuf, i->packed_in, i->pool->comm) != MPI_SUCCESS)
            return mpix_code(MPI_ERR_TYPE, "invocation: the input can't be packed");
    }
    if (status == RFAAS_OK && !i->out.contiguous)
        status = rfaas_alloc(i->pool->session, i->out.bytes, &i->packed_out);
    return outcome(status);
}

static int begin(MPIX_Function function, const void *inbuf, void *outbuf, int worker,
                 MPIX_Lease lease, const struct arguments *a, struct invocation *i,
                 rfaas_done_call *done)
{
    int code = packed_create(i, &a->in, inbuf);
    if (code != MPI_SUCCESS)
        return code;
    int status = rfaas_invoke_call(lease->lease, worker, function->function,
                                   i->packed_in ? i->packed_in : inbuf, a->in.bytes,
                                   i->packed_out ? i->packed_out : outbuf, a->out.bytes,
                                   done, i, &i->inner);
    return outcome(status);
}

/* Takes over what has become of it; `code` says how it failed. */
static void conclude(struct invocation *i, const struct rfaas_result *result, int code)
{
    i->source = result->worker >= 0 ? result->worker : MPI_UNDEFINED;
    i->tag = result->function_status;
    i->bytes = result->out_size;
    i->code = code;
    if (i->packed_out && i->code == MPI_SUCCESS)
        i->code =
            mpix_unpack(&i->out, i->packed_out, i->bytes, i->outbuf, i->pool->comm);
    if (!i->out.contiguous)
        MPI_Type_free(&i->out.type);
    packed_free(i);
}

static void status_fill(const struct invocation *i, MPI_Status *status)
{
    status->MPI_SOURCE = i->source;
    status->MPI_TAG = i->tag;
    /* As bytes: MPI_Get_count divides by the size of the type that it is asked with. */
    MPI_Status_set_elements_x(status, MPI_BYTE, (MPI_Count)i->bytes);
    MPI_Status_set_cancelled(status, i->cancelled);
}

static int prepare(struct invocation *i, const struct arguments *a, void *outbuf)
{
    *i = (struct invocation){.owners = 2,
                             .pool = a->pool,
                             .out = a->out,
                             .outbuf = outbuf,
                             .source = MPI_UNDEFINED};
    /* The user may free the datatype before the invocation ends. */
    if (i->out.contiguous)
        return MPI_SUCCESS;
    int code = MPI_Type_dup(a->out.type, &i->out.type);
    if (code != MPI_SUCCESS)
        i->out.contiguous = true; /* there is nothing to free */
    return code;
}

/* Frees an invocation that didn't start. */
static void discard(struct invocation *i)
{
    if (!i->out.contiguous)
        MPI_Type_free(&i->out.type);
    packed_free(i);
    invocation_recycle(i);
}

/* ---- nonblocking ----------------------------------------------------------------- */

static int on_query(void *state, MPI_Status *status)
{
    struct invocation *i = state;
    status_fill(i, status);
    return mpix_query_result(i->code);
}

/* One of the two owners is through with it. */
static void owner_leaves(struct invocation *i)
{
    int left;
    if (mpix_multiple) { /* what each has done happens before the other frees it */
        left = atomic_fetch_sub_explicit(&i->owners, 1, memory_order_acq_rel) - 1;
    } else {
        left = atomic_load_explicit(&i->owners, memory_order_relaxed) - 1;
        atomic_store_explicit(&i->owners, left, memory_order_relaxed);
    }
    if (left == 0)
        invocation_recycle(i);
}

static int on_free(void *state)
{
    owner_leaves(state);
    return MPI_SUCCESS;
}

/* Completes the request when it exists and what runs has ended. */
static void reach(struct invocation *i, int what)
{
    int reached;
    if (mpix_multiple) { /* what led there happens before the other completes it */
        reached = atomic_fetch_or_explicit(&i->reached, what, memory_order_acq_rel);
    } else {
        reached = atomic_load_explicit(&i->reached, memory_order_relaxed);
        atomic_store_explicit(&i->reached, reached | what, memory_order_relaxed);
    }
    if ((reached | what) != (INVOCATION_HAS_REQUEST | INVOCATION_HAS_ENDED))
        return;
    MPI_Grequest_complete(i->request);
    owner_leaves(i);
}

static int on_cancel(void *state, int completed)
{
    struct invocation *i = state;
    /* Its end comes by progress as any other's: MPICH lets nothing complete in here. */
    if (!completed)
        rfaas_request_withdraw(i->pool->session, &i->inner, i);
    return MPI_SUCCESS;
}

static void on_done(rfaas_request *inner, void *arg)
{
    struct invocation *i = arg;
    const struct rfaas_result *result = rfaas_request_result(inner);
    int code = MPI_SUCCESS;
    i->cancelled = result->status == RFAAS_ERR_CANCELLED;
    if (result->status != RFAAS_OK && !i->cancelled)
        code = mpix_error_code(result->status, rfaas_request_text(inner));
    conclude(i, result, code);
    rfaas_request_free(&i->inner);
    reach(i, INVOCATION_HAS_ENDED);
}

/* Waits for an invocation whose request couldn't be made: until it has ended, the
 * worker writes to the user's memory. */
static void see_off(struct invocation *i)
{
    /* Acquire: see reach. */
    while (!(atomic_load_explicit(&i->reached, memory_order_acquire) &
             INVOCATION_HAS_ENDED))
        mpix_progress_poll();
    invocation_recycle(i);
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
    code = prepare(i, &a, outbuf);
    if (code == MPI_SUCCESS)
        code = begin(function, inbuf, outbuf, worker, lease, &a, i, on_done);
    if (code != MPI_SUCCESS) {
        discard(i);
        return mpix_raise_in(a.pool, code);
    }
    code = mpix_request_start(on_query, on_free, on_cancel, i, &i->request);
    if (code != MPI_SUCCESS) {
        see_off(i);
        return mpix_raise_in(a.pool, code);
    }
    *request = i->request;
    reach(i, INVOCATION_HAS_REQUEST);
    return MPI_SUCCESS;
}

/* ---- blocking -------------------------------------------------------------------- */

/* Waits for the result; messages of others are served meanwhile. */
static int await(struct invocation *i, struct rfaas_result *result)
{
    enum { POLLS_PER_PROBE = 64, POLLS_PER_YIELD = 512 };
    int status, flag;
    for (unsigned turn = 1;
         (status = rfaas_test(&i->inner, result)) == RFAAS_IN_PROGRESS; turn++) {
        if (turn % POLLS_PER_PROBE == 0)
            MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, i->pool->comm, &flag,
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
    int code = check(function, inbuf, incount, intype, outbuf, outcount, outtype,
                     worker, lease, &a);
    if (code != MPI_SUCCESS)
        return mpix_raise_in(a.pool, code);
    struct invocation *i = invocation_new();
    if (!i)
        return mpix_raise_in(a.pool, MPI_ERR_NO_MEM);
    code = prepare(i, &a, outbuf);
    if (code == MPI_SUCCESS)
        code = begin(function, inbuf, outbuf, worker, lease, &a, i, NULL);
    if (code != MPI_SUCCESS) {
        discard(i);
        return mpix_raise_in(a.pool, code);
    }
    struct rfaas_result result;
    conclude(i, &result, outcome(await(i, &result)));
    if (status != MPI_STATUS_IGNORE)
        status_fill(i, status);
    code = i->code;
    invocation_recycle(i);
    return mpix_raise(a.pool->comm, code);
}
