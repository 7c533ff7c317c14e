#include "mpi/mpix.h"
#include "mpi/settings.h"

#include "base/error.h"
#include <stdlib.h>
#include <utlist.h>

/* A lease that is being acquired in the background. It has two owners: its request,
 * until on_free, and the pool's list. MPI_Request_free of MPICH calls on_free early. */
struct mpix_acquisition {
    _Atomic int owners;
    MPI_Request request;
    MPIX_Lease lease;
    rfaas_lease *failed; /* to be released */
    int code;
    struct mpix_acquisition *next;
};

static MPIX_Lease handle_create(MPIX_Pool pool)
{
    MPIX_Lease handle = calloc(1, sizeof *handle);
    if (!handle)
        return NULL;
    handle->pool = pool;
    pthread_mutex_lock(&pool->mutex);
    handle->next = pool->leases;
    pool->leases = handle;
    pthread_mutex_unlock(&pool->mutex);
    return handle;
}

/* Takes a handle back that nobody was given, and its lease. */
static void handle_drop(MPIX_Lease handle)
{
    MPIX_Pool pool = handle->pool;
    rfaas_lease_release(handle->lease);
    pthread_mutex_lock(&pool->mutex);
    LL_DELETE(pool->leases, handle);
    pthread_mutex_unlock(&pool->mutex);
    free(handle);
}

/* The lease behind a handle, or the error of the handle. */
static int lease_of(MPIX_Lease handle, rfaas_lease **lease)
{
    if (!handle)
        return mpix_refuse(NULL, MPI_ERR_ARG, "the lease is null");
    *lease = handle->lease;
    if (handle->lease)
        return MPI_SUCCESS;
    return mpix_raise_status(
        handle->pool, rfaas_fail(RFAAS_ERR_LEASE_RELEASED, "the lease was released"));
}

/* Of several who want to release a lease one gets it; the others NULL. */
rfaas_lease *mpix_lease_take(MPIX_Lease handle)
{
    pthread_mutex_lock(&handle->pool->mutex);
    rfaas_lease *lease = handle->lease;
    handle->lease = NULL;
    pthread_mutex_unlock(&handle->pool->mutex);
    return lease;
}

/* Starts to acquire; the handle is made only if that goes well. */
static int begin(MPIX_Pool pool, int workers, MPI_Info info, MPIX_Lease *handle)
{
    struct mpix_settings settings;
    int code = mpix_settings_read(info, &settings);
    if (code != MPI_SUCCESS)
        return mpix_raise(pool->comm, code);
    rfaas_lease *lease;
    int status = rfaas_lease_iacquire(pool->session, workers, settings.list, &lease);
    mpix_settings_free(&settings);
    if (status == RFAAS_ERR_ARGUMENT) /* in the info object: the rest was checked */
        return mpix_refuse(pool, MPI_ERR_INFO_VALUE, "%s", rfaas_last_error());
    if (status != RFAAS_OK)
        return mpix_raise_status(pool, status);
    *handle = handle_create(pool);
    if (!*handle) {
        rfaas_lease_release(lease);
        return mpix_refuse(pool, MPI_ERR_NO_MEM, "acquiring a lease: out of memory");
    }
    (*handle)->lease = lease;
    return MPI_SUCCESS;
}

/* Whether the arguments are in order; if not, the error has been raised. */
static int acquire_check(MPIX_Pool pool, int workers, const void *lease,
                         const void *request)
{
    if (!pool || !lease || !request)
        return mpix_refuse(pool, MPI_ERR_ARG, "acquiring a lease: %s is null",
                           !pool    ? "the pool"
                           : !lease ? "where to put the handle"
                                    : "where to put the request");
    if (workers < 1)
        return mpix_refuse(pool, MPI_ERR_ARG, "acquiring a lease: of %d workers",
                           workers);
    return MPI_SUCCESS;
}

/* Waiting may take wait_seconds: messages of others are served meanwhile. */
static void serve_others(MPIX_Pool pool)
{
    int flag;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, pool->comm, &flag, MPI_STATUS_IGNORE);
}

MPIX_DEFINE(Lease_acquire,
            (MPIX_Pool pool, int workers, MPI_Info info, MPIX_Lease *lease))
{
    MPIX_Lease handle;
    int code = acquire_check(pool, workers, lease, lease);
    if (code == MPI_SUCCESS)
        code = begin(pool, workers, info, &handle);
    if (code != MPI_SUCCESS)
        return code;
    int status;
    while ((status = rfaas_lease_test(handle->lease)) == RFAAS_IN_PROGRESS)
        serve_others(pool);
    if (status == RFAAS_OK) {
        *lease = handle;
        return MPI_SUCCESS;
    }
    code = mpix_error_code(status, rfaas_last_error());
    handle_drop(handle);
    return mpix_raise(pool->comm, code);
}

/* ---- acquiring in the background ------------------------------------------------- */

static int on_query(void *state, MPI_Status *status)
{
    struct mpix_acquisition *a = state;
    status->MPI_SOURCE = MPI_UNDEFINED;
    status->MPI_TAG = MPI_UNDEFINED;
    MPI_Status_set_elements(status, MPI_BYTE, 0);
    MPI_Status_set_cancelled(status, 0);
    return mpix_query_result(a->code);
}

static void owner_leaves(struct mpix_acquisition *a)
{
    /* Acquire and release: what each has done happens before the other frees it. */
    if (atomic_fetch_sub_explicit(&a->owners, 1, memory_order_acq_rel) == 1)
        free(a);
}

static int on_free(void *state)
{
    owner_leaves(state);
    return MPI_SUCCESS;
}

static int on_cancel(void *state, int complete)
{
    (void)state;
    (void)complete;
    return MPI_SUCCESS; /* a request that the manager has can't be taken back */
}

MPIX_DEFINE(Lease_iacquire, (MPIX_Pool pool, int workers, MPI_Info info,
                             MPIX_Lease *lease, MPI_Request *request))
{
    int code = acquire_check(pool, workers, lease, request);
    if (code != MPI_SUCCESS)
        return code;
    struct mpix_acquisition *a = calloc(1, sizeof *a);
    if (!a)
        return mpix_refuse(pool, MPI_ERR_NO_MEM, "acquiring a lease: out of memory");
    a->owners = 2;
    code = begin(pool, workers, info, &a->lease);
    if (code != MPI_SUCCESS) {
        free(a);
        return code;
    }
    code = mpix_request_start(on_query, on_free, on_cancel, a, &a->request);
    if (code != MPI_SUCCESS) {
        handle_drop(a->lease);
        free(a);
        return mpix_raise(pool->comm, code);
    }
    *lease = a->lease;
    *request = a->request;
    pthread_mutex_lock(&pool->mutex);
    a->next = pool->acquisitions;
    pool->acquisitions = a;
    atomic_fetch_add_explicit(&pool->acquiring, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pool->mutex);
    return MPI_SUCCESS;
}

/* Takes one that is over out of the list. */
static struct mpix_acquisition *take_over(MPIX_Pool pool)
{
    struct mpix_acquisition *found = NULL;
    pthread_mutex_lock(&pool->mutex);
    for (struct mpix_acquisition **a = &pool->acquisitions; *a; a = &(*a)->next) {
        int status = (*a)->lease->lease ? rfaas_lease_test((*a)->lease->lease)
                                        : rfaas_fail(RFAAS_ERR_LEASE_RELEASED,
                                                     "the lease was released");
        if (status == RFAAS_IN_PROGRESS)
            continue;
        found = *a;
        *a = found->next;
        atomic_fetch_sub_explicit(&pool->acquiring, 1, memory_order_relaxed);
        found->code = mpix_error_code(status, rfaas_last_error());
        if (status != RFAAS_OK) {
            found->failed = found->lease->lease;
            found->lease->lease = NULL;
        }
        break;
    }
    pthread_mutex_unlock(&pool->mutex);
    return found;
}

void mpix_acquisitions_poll(MPIX_Pool pool)
{
    struct mpix_acquisition *a;
    while ((a = take_over(pool))) {
        rfaas_lease_release(a->failed);
        MPI_Grequest_complete(a->request);
        owner_leaves(a);
    }
}

/* ---- using ----------------------------------------------------------------------- */

MPIX_DEFINE(Lease_get_workers, (MPIX_Lease lease, int *workers))
{
    rfaas_lease *l;
    int code = lease_of(lease, &l);
    if (code != MPI_SUCCESS)
        return code;
    if (!workers)
        return mpix_refuse(lease->pool, MPI_ERR_ARG,
                           "MPIX_Lease_get_workers: where to put the number is null");
    *workers = rfaas_lease_workers(l);
    return MPI_SUCCESS;
}

MPIX_DEFINE(Lease_renew, (MPIX_Lease lease, double seconds))
{
    rfaas_lease *l;
    int code = lease_of(lease, &l);
    if (code != MPI_SUCCESS)
        return code;
    int status = rfaas_lease_renew(l, seconds);
    return status == RFAAS_OK ? MPI_SUCCESS : mpix_raise_status(lease->pool, status);
}

/* Begins; the errors of a bad number and of the info object are MPI's. */
static int resize_begin(MPIX_Lease lease, rfaas_lease *l, int workers, MPI_Info info)
{
    struct mpix_settings settings;
    if (workers < 1 || workers > LEASE_WORKERS_MAX)
        return mpix_refuse(lease->pool, MPI_ERR_ARG, "resizing a lease: to %d workers",
                           workers);
    int code = mpix_settings_read(info, &settings);
    if (code != MPI_SUCCESS)
        return mpix_raise(lease->pool->comm, code);
    int status = rfaas_lease_resize_begin(l, workers, settings.list);
    mpix_settings_free(&settings);
    if (status == RFAAS_ERR_ARGUMENT)
        return mpix_refuse(lease->pool, MPI_ERR_INFO_VALUE, "%s", rfaas_last_error());
    return status == RFAAS_OK ? MPI_SUCCESS : mpix_raise_status(lease->pool, status);
}

MPIX_DEFINE(Lease_resize, (MPIX_Lease lease, int workers, MPI_Info info))
{
    rfaas_lease *l;
    int status, code = lease_of(lease, &l);
    if (code == MPI_SUCCESS)
        code = resize_begin(lease, l, workers, info);
    if (code != MPI_SUCCESS)
        return code;
    while ((status = rfaas_lease_resize_test(l)) == RFAAS_IN_PROGRESS)
        serve_others(lease->pool);
    return status == RFAAS_OK ? MPI_SUCCESS : mpix_raise_status(lease->pool, status);
}

MPIX_DEFINE(Lease_release, (MPIX_Lease * lease))
{
    if (!lease)
        return mpix_refuse(NULL, MPI_ERR_ARG, "MPIX_Lease_release: a null argument");
    rfaas_lease *l;
    int code = lease_of(*lease, &l);
    if (code != MPI_SUCCESS)
        return code;
    l = mpix_lease_take(*lease);
    mpix_acquisitions_poll((*lease)->pool);
    rfaas_lease_release(l);
    *lease = MPIX_LEASE_NULL;
    return MPI_SUCCESS;
}

MPIX_DEFINE(Lease_get_usage, (MPIX_Lease lease, MPIX_Usage *usage))
{
    rfaas_lease *l;
    struct rfaas_usage u;
    int code = lease_of(lease, &l);
    if (code != MPI_SUCCESS)
        return code;
    if (!usage)
        return mpix_refuse(lease->pool, MPI_ERR_ARG,
                           "MPIX_Lease_get_usage: where to put it is null");
    int status = rfaas_lease_usage(l, &u);
    if (status != RFAAS_OK)
        return mpix_raise_status(lease->pool, status);
    *usage = (MPIX_Usage){
        .invocations = u.invocations,
        .failures = u.failures,
        .execute_ns = u.execute_ns,
        .hot_ns = u.hot_ns,
        .bytes_in = u.bytes_in,
        .bytes_out = u.bytes_out,
        .lease_ns = u.lease_ns,
    };
    return MPI_SUCCESS;
}
