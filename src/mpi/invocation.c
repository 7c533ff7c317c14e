#include "mpi/invocation.h"

#include "base/error.h"

/* ---- arguments ------------------------------------------------------------------- */

int mpix_invocation_check(MPIX_Function function, MPIX_Lease lease)
{
    if (!lease || !function)
        return mpix_code(MPI_ERR_ARG, "invocation: the %s is null",
                         lease ? "function" : "lease");
    if (!lease->lease)
        return mpix_error_code(RFAAS_ERR_LEASE_RELEASED, "the lease was released");
    if (!function->function)
        return mpix_error_code(RFAAS_ERR_FUNCTION, "the function was freed");
    return MPI_SUCCESS;
}

int mpix_invocation_shape(const char *which, const void *buffer, MPI_Count count,
                          MPI_Datatype type, MPIX_Pool pool, struct mpix_shape *shape)
{
    int class = mpix_shape(buffer, count, type, pool->comm, shape);
    if (class == MPI_SUCCESS)
        return MPI_SUCCESS;
    const char *what = class == MPI_ERR_COUNT    ? "count is negative or too large"
                       : class == MPI_ERR_BUFFER ? "buffer is NULL"
                                                 : "datatype can't be used";
    return mpix_code(class, "invocation: the %s's %s", which, what);
}

int mpix_outcome(int status)
{
    return status == RFAAS_OK ? MPI_SUCCESS
                              : mpix_error_code(status, rfaas_last_error());
}

/* ---- beginning ------------------------------------------------------------------- */

static void packed_free(struct mpix_invocation *i)
{
    if (i->packed_in)
        rfaas_free(i->pool->session, i->packed_in);
    if (i->packed_out)
        rfaas_free(i->pool->session, i->packed_out);
    i->packed_in = i->packed_out = NULL;
    if (!i->out.contiguous)
        MPI_Type_free(&i->out.type);
}

/* Memory for data that have to be packed. */
static int packed_create(struct mpix_invocation *i, const struct mpix_shape *in,
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
    return mpix_outcome(status);
}

static int prepare(struct mpix_invocation *i, MPIX_Pool pool,
                   const struct mpix_shape *out, void *outbuf)
{
    *i = (struct mpix_invocation){
        .pool = pool, .out = *out, .outbuf = outbuf, .source = MPI_UNDEFINED};
    /* The user may free the datatype before the invocation ends. */
    if (i->out.contiguous)
        return MPI_SUCCESS;
    int code = MPI_Type_dup(out->type, &i->out.type);
    if (code != MPI_SUCCESS)
        i->out.contiguous = true; /* there is nothing to free */
    return code;
}

int mpix_invocation_begin(struct mpix_invocation *i, MPIX_Function function,
                          const struct mpix_shape *in, const void *inbuf,
                          const struct mpix_shape *out, void *outbuf, int worker,
                          MPIX_Lease lease, rfaas_done_call *done, void *arg)
{
    int code = prepare(i, lease->pool, out, outbuf);
    if (code == MPI_SUCCESS)
        code = packed_create(i, in, inbuf);
    if (code == MPI_SUCCESS)
        code = mpix_outcome(rfaas_invoke_call(
            lease->lease, worker, function->function,
            i->packed_in ? i->packed_in : inbuf, in->bytes,
            i->packed_out ? i->packed_out : outbuf, out->bytes, done, arg, &i->inner));
    if (code != MPI_SUCCESS)
        packed_free(i);
    return code;
}

/* ---- ending ---------------------------------------------------------------------- */

void mpix_invocation_conclude(struct mpix_invocation *i,
                              const struct rfaas_result *result, int code)
{
    i->source = result->worker >= 0 ? result->worker : MPI_UNDEFINED;
    i->tag = result->function_status;
    i->bytes = result->out_size;
    i->code = code;
    if (i->packed_out && i->code == MPI_SUCCESS)
        i->code =
            mpix_unpack(&i->out, i->packed_out, i->bytes, i->outbuf, i->pool->comm);
    packed_free(i);
}

void mpix_invocation_done(struct mpix_invocation *i, rfaas_request *inner)
{
    const struct rfaas_result *result = rfaas_request_result(inner);
    int code = MPI_SUCCESS;
    i->cancelled = result->status == RFAAS_ERR_CANCELLED;
    if (result->status != RFAAS_OK && !i->cancelled)
        code = mpix_error_code(result->status, rfaas_request_text(inner));
    mpix_invocation_conclude(i, result, code);
    rfaas_request_free(&i->inner);
}

void mpix_status_fill(MPI_Status *status, int source, int tag, size_t bytes,
                      bool cancelled)
{
    status->MPI_SOURCE = source;
    status->MPI_TAG = tag;
    /* As bytes: MPI_Get_count divides by the size of the type that it is asked with. */
    MPI_Status_set_elements_x(status, MPI_BYTE, (MPI_Count)bytes);
    MPI_Status_set_cancelled(status, cancelled);
}
