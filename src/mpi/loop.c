/* Loops from their start to their end. */
#include "mpi/loop.h"

#include "base/error.h"
#include "mpi/invocation.h"
#include <sched.h>
#include <stdlib.h>

enum { POLLS_PER_PROBE = 64, POLLS_PER_YIELD = 256 }; /* that bring nothing */

/* Whole loops that take less aren't worth sending: so much is gone before a worker has
 * begun and its answer is back. */
static const double HOME_NS = 20e3;

/* ---- start ----------------------------------------------------------------------- */

/* Elements as functions want them: without gaps, in memory that workers reach. */
static int pack(struct mpix_loop *loop, const struct loop_arguments *a)
{
    rfaas_session *session = loop->pool->session;
    int code = MPI_SUCCESS;
    loop->in = a->in;
    loop->out = a->out;
    if (!loop->in_shape.contiguous) {
        code =
            mpix_outcome(rfaas_alloc(session, loop->in_shape.bytes, &loop->packed_in));
        if (code == MPI_SUCCESS && mpix_pack(&loop->in_shape, a->in, loop->packed_in,
                                             loop->pool->comm) != MPI_SUCCESS)
            code = mpix_code(MPI_ERR_TYPE, "loop: the input can't be packed");
        loop->in = loop->packed_in;
    }
    if (loop->out_shape.contiguous || code != MPI_SUCCESS)
        return code;
    loop->outbuf = a->out;
    code = mpix_outcome(rfaas_alloc(session, loop->out_shape.bytes, &loop->packed_out));
    loop->out = loop->packed_out;
    /* Elements that fail stay as they were. The user may free the type meanwhile. */
    if (code == MPI_SUCCESS)
        code = mpix_pack(&loop->out_shape, a->out, loop->packed_out, loop->pool->comm);
    if (code == MPI_SUCCESS)
        code = MPI_Type_dup(a->out_shape.type, &loop->out_shape.type);
    loop->out_shape.contiguous = code != MPI_SUCCESS; /* then nothing is to be freed */
    return code;
}

static void divide(struct mpix_loop *loop)
{
    struct loop_settings *s = &loop->settings;
    if (s->schedule == RFAAS_SCHEDULE_STATIC && s->threads > 0)
        loop_work_divide(&loop->work,
                         (int64_t)(s->offload * (double)loop->elements + 0.5));
}

int loop_create(const struct loop_arguments *a, const struct loop_settings *settings,
                bool blocking, struct mpix_loop **out)
{
    struct mpix_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return mpix_code(MPI_ERR_NO_MEM, "loop: out of memory");
    loop->pool = a->function->pool;
    loop->lease = a->lease;
    loop->handle = a->function;
    loop->function = a->function->function;
    loop->callable = *rfaas_function_callable(loop->function);
    loop->settings = *settings;
    loop->elements = a->elements;
    loop->in_shape = a->in_shape;
    loop->out_shape = a->out_shape;
    loop->in_size = (size_t)a->in_shape.type_size;
    loop->out_size = (size_t)a->out_shape.type_size;
    loop->sender_works = blocking && settings->threads > 0;
    loop->begin = rfaas_clock_ns();
    rfaas_function_hold(loop->function);
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_cond_init(&loop->changed, NULL);
    loop_work_create(&loop->work, a->elements);
    loop->ended = a->elements == 0;
    int code = pack(loop, a);
    if (code == MPI_SUCCESS)
        code = loop_workers_create(loop);
    if (code != MPI_SUCCESS) {
        loop_free(loop);
        return code;
    }
    divide(loop);
    pthread_mutex_lock(&loop->handle->mutex);
    loop->model = loop->handle->model;
    pthread_mutex_unlock(&loop->handle->mutex);
    loop->predicted = loop_predict(loop, loop->begin);
    *out = loop;
    return MPI_SUCCESS;
}

/* ---- end ------------------------------------------------------------------------- */

void loop_wake(struct mpix_loop *loop)
{
    if (loop->work.undecided == 0)
        loop->ended = true;
    if (loop->sleepers > 0 &&
        (loop->ended || loop->work.again_count > 0 || loop->usable == 0))
        pthread_cond_broadcast(&loop->changed);
}

/* With the mutex. */
static bool is_over(const struct mpix_loop *loop)
{
    return loop->ended && loop->underway == 0;
}

static int code_of(const struct mpix_loop *loop)
{
    const struct loop_work *work = &loop->work;
    const char *name = rfaas_function_name(loop->function);
    if (work->undecided > 0)
        return mpix_code(MPIX_ERR_LEASE,
                         "loop of function '%s': %lld of %lld elements weren't done, "
                         "because the pool was freed",
                         name, (long long)work->undecided, (long long)loop->elements);
    if (work->failed == 0)
        return MPI_SUCCESS;
    return mpix_code(
        MPIX_ERR_FUNCTION,
        "loop of function '%s': %lld of %lld elements failed, the first is %lld: %s",
        name, (long long)work->failed, (long long)loop->elements,
        (long long)work->first_failed, work->text);
}

/* Up to how many elements are left home without a longer look, from the next loop on. */
static void learn_home(struct mpix_loop *loop)
{
    const struct rfaas_config *defaults = &loop->pool->config;
    const struct rfaas_tick_origin *origin = &loop->pool->origin;
    struct rfaas_tick_origin now = rfaas_tick_origin_now();
    double each = loop_rate_of(&loop->model.local);
    if (each <= 0 || !loop->callable.function || now.ns == origin->ns ||
        defaults->schedule != RFAAS_SCHEDULE_MODEL || defaults->local_threads == 0)
        return;
    double ticks = (double)(now.ticks - origin->ticks) / (double)(now.ns - origin->ns);
    loop->handle->home_ticks_most = (uint64_t)(2 * HOME_NS * ticks);
    /* Relaxed: a late look takes the longer way. */
    atomic_store_explicit(&loop->handle->home_most, (int64_t)(HOME_NS / each),
                          memory_order_relaxed);
}

static void learn(struct mpix_loop *loop)
{
    const struct loop_work *work = &loop->work;
    MPIX_Function handle = loop->handle;
    uint64_t ns = rfaas_clock_ns() - loop->begin;
    pthread_mutex_lock(&handle->mutex);
    if (loop->usable > 0 && loop->sent == 0)
        loop_model_stayed(&loop->model);
    handle->model = loop->model;
    handle->home_elements = handle->home_timed = 0;
    atomic_store_explicit(&handle->home_turn, 0, memory_order_relaxed);
    handle->last = (MPIX_Loop){
        .elements = loop->elements,
        .local = work->local,
        .offloaded = work->offloaded,
        .failed = work->failed,
        .first_failed = work->first_failed,
        .chunks = work->chunks,
        .retried = work->retried,
        .offload =
            loop->elements > 0 ? (double)work->offloaded / (double)loop->elements : 0,
        .predicted_ns = (uint64_t)loop->predicted,
        .real_ns = ns,
    };
    learn_home(loop);
    pthread_mutex_unlock(&handle->mutex);
}

void loop_conclude(struct mpix_loop *loop)
{
    loop->code = code_of(loop);
    if (loop->packed_out) {
        int code = mpix_unpack(&loop->out_shape, loop->packed_out,
                               loop->out_shape.bytes, loop->outbuf, loop->pool->comm);
        if (loop->code == MPI_SUCCESS)
            loop->code = code;
    }
    learn(loop);
}

/* All that belongs to the pool, which may be freed before the request. */
static void resources_free(struct mpix_loop *loop)
{
    if (loop->packed_in)
        rfaas_free(loop->pool->session, loop->packed_in);
    if (loop->packed_out)
        rfaas_free(loop->pool->session, loop->packed_out);
    if (loop->packed_out && !loop->out_shape.contiguous)
        MPI_Type_free(&loop->out_shape.type);
    rfaas_function_free(loop->function);
    loop_workers_free(loop);
    loop_work_free(&loop->work);
    pthread_cond_destroy(&loop->changed);
    pthread_mutex_destroy(&loop->mutex);
}

void loop_free(struct mpix_loop *loop)
{
    resources_free(loop);
    free(loop);
}

/* ---- blocking -------------------------------------------------------------------- */

/* What the caller knows of a loop that others change, too. */
struct view {
    int64_t offloaded;
    bool underway, alone, over;
};

static void look(const struct mpix_loop *loop, struct view *view)
{
    *view = (struct view){
        .offloaded = loop->work.offloaded,
        .underway = loop->underway > 0,
        .alone = loop->usable == 0,
        .over = is_over(loop),
    };
}

/* Takes in answers; what that took is a part of what offloading costs. */
static void receive(struct mpix_loop *loop, const struct view *before)
{
    uint64_t begin = rfaas_clock_ns();
    if (rfaas_progress(loop->pool->session) == 0)
        return;
    uint64_t end = rfaas_clock_ns();
    pthread_mutex_lock(&loop->mutex);
    int64_t elements = loop->work.offloaded - before->offloaded;
    if (elements > 0)
        loop_model_received(&loop->model, (double)(end - begin), (double)elements);
    pthread_mutex_unlock(&loop->mutex);
}

/* Takes in answers and sends more. */
static void exchange(struct mpix_loop *loop, struct view *view)
{
    if (view->underway)
        receive(loop, view);
    pthread_mutex_lock(&loop->pool->mutex);
    pthread_mutex_lock(&loop->mutex);
    loop_feed(loop);
    look(loop, view);
    pthread_mutex_unlock(&loop->mutex);
    pthread_mutex_unlock(&loop->pool->mutex);
}

/* Nothing to do but wait for workers: messages of others are served meanwhile. */
static void idle(struct mpix_loop *loop, unsigned turn)
{
    int flag;
    if (turn % POLLS_PER_PROBE == 0)
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, loop->pool->comm, &flag,
                   MPI_STATUS_IGNORE);
    if (turn % POLLS_PER_YIELD == 0)
        sched_yield();
}

void loop_run(struct mpix_loop *loop)
{
    struct view view = {0};
    unsigned idle_turns = 0;
    loop_threads_start(loop, loop->settings.threads - 1);
    for (;;) {
        exchange(loop, &view);
        if (view.over)
            break;
        if ((loop->settings.threads > 0 || view.alone) && loop_local_turn(loop))
            idle_turns = 0;
        else
            idle(loop, ++idle_turns);
    }
    loop_threads_join(loop);
}

/* ---- nonblocking ----------------------------------------------------------------- */

void loop_begin(struct mpix_loop *loop)
{
    MPIX_Pool pool = loop->pool;
    loop_threads_start(loop, loop->settings.threads);
    pthread_mutex_lock(&pool->mutex);
    pthread_mutex_lock(&loop->mutex);
    if (loop->thread_count == 0) { /* it works as well without, if it has to */
        loop->settings.threads = 0;
        loop->work.has_border = false;
    }
    loop_feed(loop);
    pthread_mutex_unlock(&loop->mutex);
    loop->next = pool->loops;
    pool->loops = loop;
    atomic_fetch_add_explicit(&pool->looping, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Lets it go on; whether it is over. */
static bool go_on(struct mpix_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    loop_feed(loop);
    bool over = is_over(loop);
    bool orphaned = !over && loop->usable == 0 && loop->thread_count == 0;
    pthread_mutex_unlock(&loop->mutex);
    if (orphaned) { /* no workers any more, and never had threads */
        loop_threads_start(loop, 1);
        if (loop->thread_count == 0)
            loop_local_turn(loop);
    }
    return over;
}

static struct mpix_loop *take_over(MPIX_Pool pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct mpix_loop **place = &pool->loops, *found;
    while (*place && !go_on(*place))
        place = &(*place)->next;
    found = *place;
    if (found) {
        *place = found->next;
        atomic_fetch_sub_explicit(&pool->looping, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->mutex);
    return found;
}

void mpix_loops_poll(MPIX_Pool pool)
{
    struct mpix_loop *loop;
    while ((loop = take_over(pool))) {
        loop_threads_join(loop);
        loop_conclude(loop);
        resources_free(loop);
        mpix_task_end(&loop->task);
    }
}

void mpix_loops_abandon(MPIX_Pool pool)
{
    pthread_mutex_lock(&pool->mutex);
    for (struct mpix_loop *loop = pool->loops; loop; loop = loop->next) {
        pthread_mutex_lock(&loop->mutex);
        loop->ended = true;
        loop_wake(loop);
        pthread_mutex_unlock(&loop->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    while (atomic_load_explicit(&pool->looping, memory_order_relaxed) > 0) {
        rfaas_progress(pool->session);
        mpix_loops_poll(pool);
    }
}
