/* Parallel loops: the calls. */
#include "base/error.h"
#include "mpi/invocation.h"
#include "mpi/loop.h"
#include "mpi/settings.h"
#include <stdlib.h>

/* ---- loops that stay home -------------------------------------------------------- */

static bool sizes_known(MPI_Datatype intype, MPI_Datatype outtype, size_t *in_size,
                        size_t *out_size)
{
    MPI_Count in = mpix_named_size(intype), out = mpix_named_size(outtype);
    *in_size = (size_t)in;
    *out_size = (size_t)out;
    return in > 0 && out > 0;
}

/* Reading the clock twice takes as long as all the rest of the call: one of so many loops
 * is enough to see that they are still short. */
enum { HOME_LOOPS_PER_TIMED = 16 };

static bool is_timed(MPIX_Function function)
{
    /* Relaxed, and no read-modify-write: it doesn't matter which ones are. */
    unsigned turn = atomic_load_explicit(&function->home_turn, memory_order_relaxed);
    atomic_store_explicit(&function->home_turn, turn + 1, memory_order_relaxed);
    return turn % HOME_LOOPS_PER_TIMED == 0;
}

/* `ticks`: 0 if it wasn't timed. */
static void remember(MPIX_Function function, MPI_Count n, uint64_t ticks)
{
    if (mpix_multiple)
        pthread_mutex_lock(&function->mutex);
    function->home_elements = n;
    if (ticks > 0) {
        function->home_timed = n;
        function->home_ticks = ticks;
        if (ticks > function->home_ticks_most) /* it isn't what it was: look again */
            atomic_store_explicit(&function->home_most, n / 2, memory_order_relaxed);
    }
    if (mpix_multiple)
        pthread_mutex_unlock(&function->mutex);
}

/* Does a short loop at once, in one piece and in less time than a look at its settings
 * would take. False: it isn't short, or failed. */
static bool done_at_home(MPIX_Function function, MPI_Count n, const void *in,
                         MPI_Datatype intype, void *out, MPI_Datatype outtype,
                         MPIX_Lease lease, MPI_Info info)
{
    size_t in_size, out_size;
    if (!function || n <= 0 || info != MPI_INFO_NULL || !in || !out ||
        n > atomic_load_explicit(&function->home_most, memory_order_relaxed) ||
        !function->function ||
        (lease && (!lease->lease || lease->pool != function->pool)) ||
        !sizes_known(intype, outtype, &in_size, &out_size))
        return false;
    struct rfaas_call call = {
        .in = in,
        .in_size = (size_t)n * in_size,
        .out = out,
        .out_capacity = (size_t)n * out_size,
        .worker = -1,
        .workers = lease ? rfaas_lease_workers(lease->lease) : 0,
    };
    bool timed = is_timed(function);
    uint64_t begin = timed ? rfaas_ticks() : 0;
    int status =
        rfaas_callable_call(rfaas_function_callable(function->function), &call);
    uint64_t ticks = timed ? rfaas_ticks() - begin : 0;
    if (status != 0 || call.out_size != call.out_capacity)
        return false;
    remember(function, n, ticks);
    return true;
}

/* ---- arguments ------------------------------------------------------------------- */

static int shape_code(int class, const char *which)
{
    const char *what = class == MPI_ERR_COUNT    ? "count is negative or too large"
                       : class == MPI_ERR_BUFFER ? "buffer is NULL"
                                                 : "datatype can't be used";
    return mpix_code(class, "loop: the %s's %s", which, what);
}

/* What is wrong with the arguments as a code, or MPI_SUCCESS. */
static int check(struct loop_arguments *a, MPI_Datatype intype, MPI_Datatype outtype)
{
    if (!a->function)
        return mpix_code(MPI_ERR_ARG, "loop: the function is null");
    MPIX_Pool pool = a->function->pool;
    if (!a->function->function)
        return mpix_error_code(RFAAS_ERR_FUNCTION, "loop: the function was freed");
    if (a->lease && a->lease->pool != pool)
        return mpix_code(MPI_ERR_ARG,
                         "loop: function and lease are of different pools");
    if (a->lease && !a->lease->lease)
        return mpix_error_code(RFAAS_ERR_LEASE_RELEASED,
                               "loop: the lease was released");
    int class = mpix_shape(a->in, a->elements, intype, pool->comm, &a->in_shape);
    if (class != MPI_SUCCESS)
        return shape_code(class, "input");
    class = mpix_shape(a->out, a->elements, outtype, pool->comm, &a->out_shape);
    return class == MPI_SUCCESS ? MPI_SUCCESS : shape_code(class, "output");
}

/* The pool's settings, and what the info object says instead. */
static int settings_read(MPIX_Pool pool, MPI_Info info, struct loop_settings *settings)
{
    struct rfaas_config config = pool->config;
    if (info != MPI_INFO_NULL) {
        struct mpix_settings given;
        int code = mpix_settings_read(info, &given);
        if (code != MPI_SUCCESS)
            return code;
        int status = rfaas_config_apply(&config, given.list);
        mpix_settings_free(&given);
        if (status != RFAAS_OK)
            return mpix_code(MPI_ERR_INFO_VALUE, "%s", rfaas_last_error());
    }
    *settings = (struct loop_settings){
        .schedule = (enum rfaas_schedule)config.schedule,
        .offload = config.offload,
        .threads = (int)config.local_threads,
        .chunk = config.chunk,
    };
    return MPI_SUCCESS;
}

static int begin(const struct loop_arguments *a, MPI_Info info, bool blocking,
                 struct mpix_loop **loop)
{
    struct loop_settings settings;
    int code = settings_read(a->function->pool, info, &settings);
    return code == MPI_SUCCESS ? loop_create(a, &settings, blocking, loop) : code;
}

/* ---- the calls ------------------------------------------------------------------- */

MPIX_DEFINE(Parallel_for,
            (MPIX_Function function, MPI_Count n, const void *in, MPI_Datatype intype,
             void *out, MPI_Datatype outtype, MPIX_Lease lease, MPI_Info info))
{
    if (done_at_home(function, n, in, intype, out, outtype, lease, info))
        return MPI_SUCCESS;
    struct loop_arguments a = {
        .function = function, .elements = n, .in = in, .out = out, .lease = lease};
    struct mpix_loop *loop;
    MPIX_Pool pool = function ? function->pool : NULL;
    int code = check(&a, intype, outtype);
    if (code == MPI_SUCCESS)
        code = begin(&a, info, true, &loop);
    if (code != MPI_SUCCESS)
        return mpix_raise_in(pool, code);
    loop_run(loop);
    loop_conclude(loop);
    code = loop->code;
    loop_free(loop);
    return mpix_raise_in(pool, code);
}

static int on_query(const struct mpix_task *task, MPI_Status *status)
{
    const struct mpix_loop *loop = (const struct mpix_loop *)task;
    int64_t done = loop->work.local + loop->work.offloaded;
    mpix_status_fill(status, MPI_UNDEFINED, 0, (size_t)done * loop->out_size, false);
    return loop->code;
}

static void on_cancel(struct mpix_task *task)
{
    (void)task; /* its elements can't be taken back */
}

static void on_free(struct mpix_task *task)
{
    free(task);
}

static const struct mpix_task_kind kind = {
    .query = on_query,
    .cancel = on_cancel,
    .free = on_free,
};

MPIX_DEFINE(Iparallel_for, (MPIX_Function function, MPI_Count n, const void *in,
                            MPI_Datatype intype, void *out, MPI_Datatype outtype,
                            MPIX_Lease lease, MPI_Info info, MPI_Request *request))
{
    struct loop_arguments a = {
        .function = function, .elements = n, .in = in, .out = out, .lease = lease};
    struct mpix_loop *loop;
    MPIX_Pool pool = function ? function->pool : NULL;
    int code = check(&a, intype, outtype);
    if (code == MPI_SUCCESS && !request)
        code = mpix_code(MPI_ERR_ARG, "loop: where to put the request is null");
    if (code == MPI_SUCCESS)
        code = begin(&a, info, false, &loop);
    if (code != MPI_SUCCESS)
        return mpix_raise_in(pool, code);
    mpix_task_init(&loop->task, &kind);
    loop_begin(loop);
    return mpix_raise_in(pool, mpix_task_publish(&loop->task, request));
}

/* With the mutex. */
static MPIX_Loop home_stats(MPIX_Function function)
{
    double n = (double)function->home_elements;
    uint64_t ns = rfaas_ticks_to_ns(&function->pool->origin, function->home_ticks);
    return (MPIX_Loop){
        .elements = function->home_elements,
        .local = function->home_elements,
        .first_failed = -1,
        .chunks = 1,
        .predicted_ns = (uint64_t)(loop_rate_of(&function->model.local) * n),
        .real_ns = function->home_timed > 0
                       ? (uint64_t)((double)ns * n / (double)function->home_timed)
                       : 0,
    };
}

MPIX_DEFINE(Loop_stats, (MPIX_Function function, MPIX_Loop *stats))
{
    if (!function || !stats)
        return mpix_refuse(function ? function->pool : NULL, MPI_ERR_ARG,
                           "MPIX_Loop_stats: %s is null",
                           function ? "where to put them" : "the function");
    pthread_mutex_lock(&function->mutex);
    MPIX_Loop last =
        function->home_elements > 0 ? home_stats(function) : function->last;
    pthread_mutex_unlock(&function->mutex);
    *stats = last;
    return MPI_SUCCESS;
}
