/* One function on all workers of a lease at once. */
#include "mpi/invocation.h"
#include "mpi/task.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* What one worker gets and gives. */
struct part {
    struct team *team;
    struct mpix_invocation run;
};

/* Parts that end together. */
struct team {
    struct mpix_task task;
    MPIX_Pool pool;
    _Atomic int pending; /* parts, and one more while they are begun */
    bool blocking;
    _Atomic bool over;
    MPI_Op op; /* MPI_OP_NULL: gather */
    struct mpix_shape result;
    void *outbuf;
    void *results;  /* to be reduced: of the pool's memory */
    bool owns_type; /* of the result */
    int code, source, tag;
    size_t bytes;
    int count;
    struct part parts[];
};

/* One side's data: in equal parts, or in those that the arrays say. */
struct side {
    const char *name;
    char *buffer;
    MPI_Count count;
    const MPI_Count *counts; /* NULL: equal parts */
    const MPI_Aint *displs;  /* in elements; NULL: one part behind the other */
    MPI_Datatype type;
};

/* ---- arguments ------------------------------------------------------------------- */

static MPI_Count part_count(const struct side *side, int parts, int i)
{
    if (side->counts)
        return side->counts[i];
    return side->count / parts + (i < side->count % parts);
}

/* Where part `i` begins, in elements, if nothing says so: where the last one ended. */
static MPI_Aint part_begin(const struct side *side, int i, MPI_Aint after)
{
    return side->displs ? side->displs[i] : after;
}

/* The shape of a part, and where it lies. */
static int part_shape(const struct side *side, int parts, int i, MPI_Aint *after,
                      MPIX_Pool pool, struct mpix_shape *shape, void **buffer)
{
    MPI_Aint lower, extent;
    MPI_Count count = part_count(side, parts, i);
    if (side->type == MPI_DATATYPE_NULL || count < 0)
        extent = 0; /* refused below */
    else if (MPI_Type_get_extent(side->type, &lower, &extent) != MPI_SUCCESS)
        return mpix_code(MPI_ERR_TYPE, "invocation: the %s's datatype can't be used",
                         side->name);
    MPI_Aint begin = part_begin(side, i, *after);
    *buffer = side->buffer ? side->buffer + begin * extent : NULL;
    *after = begin + (MPI_Aint)count;
    return mpix_invocation_shape(side->name, *buffer, count, side->type, pool, shape);
}

static int refuse(const char *what)
{
    return mpix_code(MPI_ERR_ARG, "MPIX_Invoke_all: %s", what);
}

/* With an operation all workers give the same elements, into one buffer. */
static int check_reduction(const struct side *out, MPIX_Pool pool,
                           struct mpix_shape *shape)
{
    if (out->counts || out->displs)
        return refuse(
            "with an operation each worker gives outcount elements: outcounts "
            "and outdispls have to be NULL");
    int code = mpix_invocation_shape(out->name, out->buffer, out->count, out->type,
                                     pool, shape);
    if (code == MPI_SUCCESS && !shape->contiguous)
        code = mpix_code(MPI_ERR_TYPE, "MPIX_Invoke_all: elements with gaps can't be "
                                       "reduced");
    return code;
}

static int check(MPIX_Function function, const struct side *in, const struct side *out,
                 MPIX_Lease lease)
{
    int code = mpix_invocation_check(function, lease);
    if (code != MPI_SUCCESS)
        return code;
    if ((!in->counts && in->count < 0) || (!out->counts && out->count < 0))
        return mpix_code(MPI_ERR_COUNT, "MPIX_Invoke_all: the %s's count is negative",
                         !in->counts && in->count < 0 ? in->name : out->name);
    if ((in->displs && !in->counts) || (out->displs && !out->counts))
        return refuse("displacements need counts");
    return MPI_SUCCESS;
}

/* ---- results --------------------------------------------------------------------- */

/* results[0] op results[1] op …, into the user's buffer. */
static int reduce(struct team *team)
{
    const struct mpix_shape *shape = &team->result;
    size_t size = (size_t)shape->type_size;
    char *results = team->results, *out = team->outbuf;
    if (shape->bytes == 0)
        return MPI_SUCCESS;
    memcpy(out, results + (size_t)(team->count - 1) * shape->bytes, shape->bytes);
    for (int i = team->count - 1; i-- > 0;) {
        char *from = results + (size_t)i * shape->bytes;
        for (MPI_Count done = 0, n; done < shape->count; done += n) {
            n = shape->count - done < INT_MAX ? shape->count - done : INT_MAX;
            int code =
                MPI_Reduce_local(from + (size_t)done * size, out + (size_t)done * size,
                                 (int)n, shape->type, team->op);
            if (code != MPI_SUCCESS)
                return code;
        }
    }
    return MPI_SUCCESS;
}

/* The first failure in the workers' order, or else the first return value that isn't 0,
 * is that of all. */
static void gather(struct team *team)
{
    bool reducing = team->op != MPI_OP_NULL;
    for (int i = 0; i < team->count; i++) {
        const struct mpix_invocation *run = &team->parts[i].run;
        int code = run->code;
        if (code == MPI_SUCCESS && reducing && run->bytes != team->result.bytes)
            code = mpix_code(MPIX_ERR_FUNCTION,
                             "MPIX_Invoke_all: worker %d gave %zu bytes to be reduced, "
                             "instead of %zu",
                             i, run->bytes, team->result.bytes);
        if (team->code == MPI_SUCCESS && code != MPI_SUCCESS) {
            team->code = code;
            team->source = i;
            team->tag = 0;
        } else if (team->source == MPI_UNDEFINED && run->tag != 0) {
            team->source = i;
            team->tag = run->tag;
        }
        team->bytes += reducing ? 0 : run->bytes;
    }
    if (reducing && team->code == MPI_SUCCESS) {
        team->code = reduce(team);
        team->bytes = team->result.bytes;
    }
}

/* What belongs to the pool, which may be freed before the request. */
static void results_free(struct team *team)
{
    if (team->results)
        rfaas_free(team->pool->session, team->results);
    if (team->owns_type)
        MPI_Type_free(&team->result.type);
}

/* A part has ended, or all are begun. */
static void leave(struct team *team)
{
    /* Acquire and release: whoever is last sees what all parts have brought. */
    if (atomic_fetch_sub_explicit(&team->pending, 1, memory_order_acq_rel) > 1)
        return;
    gather(team);
    results_free(team);
    if (!team->blocking)
        mpix_task_end(&team->task);
    else /* release: pairs with the acquire of who waits */
        atomic_store_explicit(&team->over, true, memory_order_release);
}

static void on_done(rfaas_request *inner, void *arg)
{
    struct part *part = arg;
    mpix_invocation_done(&part->run, inner);
    leave(part->team);
}

/* ---- beginning ------------------------------------------------------------------- */

static bool is_predefined(MPI_Datatype type)
{
    int integers, addresses, types, combiner;
    return mpix_named_size(type) >= 0 ||
           (MPI_Type_get_envelope(type, &integers, &addresses, &types, &combiner) ==
                MPI_SUCCESS &&
            combiner == MPI_COMBINER_NAMED);
}

/* Room for the results of all workers, where they are to be reduced. */
static int results_create(struct team *team, const struct side *out)
{
    ptrdiff_t bytes;
    int code = check_reduction(out, team->pool, &team->result);
    if (code != MPI_SUCCESS)
        return code;
    if (__builtin_mul_overflow(team->result.bytes, team->count, &bytes))
        return mpix_code(MPI_ERR_COUNT, "MPIX_Invoke_all: outcount is too large");
    if (bytes > 0)
        code = mpix_outcome(
            rfaas_alloc(team->pool->session, (size_t)bytes, &team->results));
    /* The user may free the datatype meanwhile, unless it is a predefined one, and of
     * these MPI's operations don't take duplicates. */
    if (code != MPI_SUCCESS || is_predefined(out->type))
        return code;
    code = MPI_Type_dup(out->type, &team->result.type);
    team->owns_type = code == MPI_SUCCESS;
    return code;
}

static int team_create(MPIX_Lease lease, const struct side *out, MPI_Op op,
                       bool blocking, struct team **created)
{
    int count = rfaas_lease_workers(lease->lease);
    if (count == 0)
        return mpix_code(MPIX_ERR_LEASE, "MPIX_Invoke_all: the lease has no workers");
    struct team *team = calloc(1, sizeof *team + (size_t)count * sizeof *team->parts);
    if (!team)
        return mpix_code(MPI_ERR_NO_MEM, "MPIX_Invoke_all: out of memory");
    team->pool = lease->pool;
    team->op = op;
    team->outbuf = out->buffer;
    team->source = MPI_UNDEFINED;
    team->blocking = blocking;
    team->count = count;
    atomic_init(&team->pending, 1);
    *created = team;
    return op == MPI_OP_NULL ? MPI_SUCCESS : results_create(team, out);
}

/* Where worker `i` gets its part from and puts its result. */
struct place {
    struct mpix_shape in, out;
    void *inbuf, *outbuf;
};

static int place_of(struct team *team, const struct side *in, const struct side *out,
                    int i, MPI_Aint after[2], struct place *place)
{
    int code = part_shape(in, team->count, i, &after[0], team->pool, &place->in,
                          &place->inbuf);
    if (code != MPI_SUCCESS)
        return code;
    if (team->op == MPI_OP_NULL)
        return part_shape(out, team->count, i, &after[1], team->pool, &place->out,
                          &place->outbuf);
    place->out = team->result;
    place->outbuf =
        team->results ? (char *)team->results + (size_t)i * team->result.bytes : NULL;
    return MPI_SUCCESS;
}

/* Before anything is sent all parts have to be in order. */
static int places_check(struct team *team, const struct side *in,
                        const struct side *out)
{
    MPI_Aint after[2] = {0, 0};
    struct place place;
    int code = MPI_SUCCESS;
    for (int i = 0; i < team->count && code == MPI_SUCCESS; i++)
        code = place_of(team, in, out, i, after, &place);
    return code;
}

/* Sends all parts. One that can't be sent has failed; the others go on. */
static void team_begin(struct team *team, MPIX_Function function, const struct side *in,
                       const struct side *out, MPIX_Lease lease)
{
    MPI_Aint after[2] = {0, 0};
    for (int i = 0; i < team->count; i++) {
        struct part *part = &team->parts[i];
        struct place place;
        part->team = team;
        int code = place_of(team, in, out, i, after, &place);
        /* Relaxed: what it guards is in order by the subtraction. */
        atomic_fetch_add_explicit(&team->pending, 1, memory_order_relaxed);
        if (code == MPI_SUCCESS)
            code = mpix_invocation_begin(&part->run, function, &place.in, place.inbuf,
                                         &place.out, place.outbuf, i, lease, on_done,
                                         part);
        if (code != MPI_SUCCESS) {
            part->run.code = code;
            atomic_fetch_sub_explicit(&team->pending, 1, memory_order_relaxed);
        }
    }
}

static int begin(MPIX_Function function, const struct side *in, const struct side *out,
                 MPI_Op op, MPIX_Lease lease, bool blocking, struct team **begun)
{
    struct team *team = NULL;
    int code = check(function, in, out, lease);
    if (code == MPI_SUCCESS)
        code = team_create(lease, out, op, blocking, &team);
    if (code == MPI_SUCCESS)
        code = places_check(team, in, out);
    if (code == MPI_SUCCESS) {
        team_begin(team, function, in, out, lease);
        *begun = team;
        return MPI_SUCCESS;
    }
    if (team)
        results_free(team);
    free(team);
    return code;
}

/* ---- the calls ------------------------------------------------------------------- */

static int on_query(const struct mpix_task *task, MPI_Status *status)
{
    const struct team *team = (const struct team *)task;
    mpix_status_fill(status, team->source, team->tag, team->bytes, false);
    return team->code;
}

static void on_cancel(struct mpix_task *task)
{
    (void)task; /* some of it is done */
}

static void on_free(struct mpix_task *task)
{
    free(task); /* its first member */
}

static const struct mpix_task_kind kind = {
    .query = on_query,
    .cancel = on_cancel,
    .free = on_free,
};

static struct side side_of(const char *name, const void *buffer, MPI_Count count,
                           const MPI_Count *counts, const MPI_Aint *displs,
                           MPI_Datatype type)
{
    return (struct side){.name = name,
                         .buffer = (char *)(uintptr_t)buffer,
                         .count = count,
                         .counts = counts,
                         .displs = displs,
                         .type = type};
}

MPIX_DEFINE(Invoke_all,
            (MPIX_Function function, const void *inbuf, MPI_Count incount,
             const MPI_Count incounts[], const MPI_Aint indispls[], MPI_Datatype intype,
             void *outbuf, MPI_Count outcount, const MPI_Count outcounts[],
             const MPI_Aint outdispls[], MPI_Datatype outtype, MPI_Op op,
             MPIX_Lease lease, MPI_Status *status))
{
    enum { POLLS_PER_PROBE = 64, POLLS_PER_YIELD = 512 };
    struct side in = side_of("input", inbuf, incount, incounts, indispls, intype);
    struct side out =
        side_of("output", outbuf, outcount, outcounts, outdispls, outtype);
    struct team *team;
    int flag, code = begin(function, &in, &out, op, lease, true, &team);
    MPIX_Pool pool = lease ? lease->pool : function ? function->pool : NULL;
    if (code != MPI_SUCCESS)
        return mpix_raise_in(pool, code);
    leave(team);
    /* Acquire: see leave. Messages of others are served meanwhile. */
    for (unsigned turn = 1; !atomic_load_explicit(&team->over, memory_order_acquire);
         turn++) {
        rfaas_progress(pool->session);
        if (turn % POLLS_PER_PROBE == 0)
            MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, pool->comm, &flag,
                       MPI_STATUS_IGNORE);
        if (turn % POLLS_PER_YIELD == 0)
            sched_yield();
    }
    if (status != MPI_STATUS_IGNORE)
        mpix_status_fill(status, team->source, team->tag, team->bytes, false);
    code = team->code;
    free(team);
    return mpix_raise(pool->comm, code);
}

MPIX_DEFINE(Iinvoke_all,
            (MPIX_Function function, const void *inbuf, MPI_Count incount,
             const MPI_Count incounts[], const MPI_Aint indispls[], MPI_Datatype intype,
             void *outbuf, MPI_Count outcount, const MPI_Count outcounts[],
             const MPI_Aint outdispls[], MPI_Datatype outtype, MPI_Op op,
             MPIX_Lease lease, MPI_Request *request))
{
    struct side in = side_of("input", inbuf, incount, incounts, indispls, intype);
    struct side out =
        side_of("output", outbuf, outcount, outcounts, outdispls, outtype);
    struct team *team;
    MPIX_Pool pool = lease ? lease->pool : function ? function->pool : NULL;
    int code = request ? MPI_SUCCESS : refuse("where to put the request is null");
    if (code == MPI_SUCCESS)
        code = begin(function, &in, &out, op, lease, false, &team);
    if (code != MPI_SUCCESS)
        return mpix_raise_in(pool, code);
    mpix_task_init(&team->task, &kind);
    leave(team);
    return mpix_raise_in(pool, mpix_task_publish(&team->task, request));
}
