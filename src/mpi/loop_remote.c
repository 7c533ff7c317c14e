/* The workers' part of a loop. */
#include "mpi/loop.h"

#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    LOOKS_PER_WITHDRAWAL = 256, /* with nothing to send */
    /* Chunks for each worker and thread where no model chooses them. */
    CHUNKS_OF_EACH = 16,
    DEPTH_WITHOUT_MODEL = 2,
};

/* A loop that takes longer sends a chunk in any case: otherwise a function that was once
 * found not to be worth sending would stay at home for ever. */
static const double TRIAL_NS = 500e3;
static const double TRIAL_LATENCIES =
    4; /* and no worker has to be waited for so long */

/* ---- workers --------------------------------------------------------------------- */

/* What a worker reads and writes for a chunk should stay in its core's second-level
 * cache, beside what the function itself needs. */
static int64_t cached_elements(const struct mpix_loop *loop)
{
    long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache / 2 : 128 << 10;
    size_t of_element = loop->in_size + loop->out_size;
    if (of_element == 0)
        return loop->elements;
    return of_element < bytes ? (int64_t)(bytes / of_element) : 1;
}

/* Without a model: even chunks that fit into a cache. */
static int64_t even_chunk(const struct mpix_loop *loop)
{
    int64_t shares =
        (int64_t)CHUNKS_OF_EACH * (loop->worker_count + loop->settings.threads);
    int64_t chunk = loop->elements / shares, most = cached_elements(loop);
    return chunk < 1 ? 1 : chunk < most ? chunk : most;
}

int loop_workers_create(struct mpix_loop *loop)
{
    int count = loop->lease ? rfaas_lease_workers(loop->lease->lease) : 0;
    if (count == 0)
        return MPI_SUCCESS;
    size_t chunks = (size_t)count * LOOP_DEPTH;
    loop->workers = calloc((size_t)count, sizeof *loop->workers);
    loop->ready = calloc((size_t)count, sizeof *loop->ready);
    loop->chunks = calloc(chunks, sizeof *loop->chunks);
    loop->free_chunks = calloc(chunks, sizeof(struct loop_chunk *));
    if (!loop->workers || !loop->ready || !loop->chunks || !loop->free_chunks)
        return mpix_code(MPI_ERR_NO_MEM, "loop: out of memory");
    loop->worker_count = loop->usable = count;
    for (size_t i = 0; i < chunks; i++) {
        loop->chunks[i].loop = loop;
        loop->free_chunks[loop->free_count++] = &loop->chunks[i];
    }
    if (loop->settings.schedule != RFAAS_SCHEDULE_MODEL && loop->settings.chunk == 0)
        loop->settings.chunk = even_chunk(loop);
    return MPI_SUCCESS;
}

void loop_workers_free(struct mpix_loop *loop)
{
    free(loop->workers);
    free(loop->ready);
    free(loop->chunks);
    free(loop->free_chunks);
}

static void worker_leaves(struct mpix_loop *loop, struct loop_worker *worker)
{
    if (worker->gone)
        return;
    worker->gone = true;
    if (--loop->usable > 0)
        return;
    loop_work_condemn(&loop->work);
    loop_wake(loop);
}

static void all_leave(struct mpix_loop *loop)
{
    for (int i = 0; i < loop->worker_count; i++)
        worker_leaves(loop, &loop->workers[i]);
}

/* ---- answers --------------------------------------------------------------------- */

/* What a failed chunk means: the function's fault, the worker's, or nobody's. */
static void judge(struct mpix_loop *loop, const struct loop_chunk *chunk,
                  const struct rfaas_result *result, enum request_answer answer,
                  const char *text)
{
    struct loop_worker *worker = &loop->workers[chunk->worker];
    bool ran = result->worker >= 0; /* if not, its worker has left the lease */
    switch (result->status) {
    case RFAAS_ERR_CANCELLED:
        worker->away = true;
        loop_work_return(&loop->work, &chunk->span);
        break;
    case RFAAS_ERR_FUNCTION:
    case RFAAS_ERR_TRUNCATE:
        if (answer == REQUEST_NOT_LOADED) {
            loop_work_return(&loop->work, &chunk->span);
            worker_leaves(loop, worker);
            break;
        }
        /* What writes behind its output is as bad as a crash: the rank has no guard. */
        loop_work_failed(
            &loop->work, &chunk->span,
            answer != REQUEST_ANSWERED || result->status == RFAAS_ERR_TRUNCATE, text);
        break;
    case RFAAS_ERR_WORKER_LOST:
    case RFAAS_ERR_LEASE_EXPIRED:
    case RFAAS_ERR_LEASE_RELEASED:
    case RFAAS_ERR_LEASE_REVOKED:
        loop->suspicion = true;
        loop_work_lost(&loop->work, &chunk->span,
                       ran && result->status == RFAAS_ERR_WORKER_LOST, text);
        break;
    default: /* it can't get at the elements, and wouldn't the next time */
        rfaas_debug("loop: worker %d gets no more: %s", chunk->worker, text);
        loop_work_return(&loop->work, &chunk->span);
        worker_leaves(loop, worker);
    }
    if (loop->usable == 0)
        loop_work_condemn(&loop->work);
}

static void take_in(struct mpix_loop *loop, const struct loop_chunk *chunk,
                    const struct rfaas_result *result, enum request_answer answer,
                    const char *text)
{
    char sentence[LOOP_TEXT_MAX];
    size_t wanted = (size_t)chunk->span.count * loop->out_size;
    if (result->status != RFAAS_OK) {
        judge(loop, chunk, result, answer, text);
    } else if (result->function_status == 0 && result->out_size == wanted) {
        loop_work_done(&loop->work, &chunk->span, true);
    } else {
        if (result->function_status != 0)
            snprintf(sentence, sizeof sentence, "the function returned %d on worker %d",
                     result->function_status, chunk->worker);
        else
            snprintf(sentence, sizeof sentence,
                     "the function gave %zu bytes instead of %zu on worker %d",
                     result->out_size, wanted, chunk->worker);
        loop_work_failed(&loop->work, &chunk->span, false, sentence);
    }
}

static void on_done(rfaas_request *inner, void *arg)
{
    struct loop_chunk *chunk = arg;
    struct mpix_loop *loop = chunk->loop;
    struct rfaas_result result = *rfaas_request_result(inner);
    enum request_answer answer = rfaas_request_answer(inner);
    char text[LOOP_TEXT_MAX] = "";
    if (result.status != RFAAS_OK)
        snprintf(text, sizeof text, "%s", rfaas_request_text(inner));
    rfaas_request_free(&chunk->request);
    uint64_t now = rfaas_clock_ns();
    pthread_mutex_lock(&loop->mutex);
    struct loop_worker *worker = &loop->workers[chunk->worker];
    if (result.status == RFAAS_OK)
        loop_model_answered(&loop->model, (double)(now - worker->since),
                            (double)chunk->span.count, chunk->to_idle);
    if (result.status != RFAAS_ERR_CANCELLED) {
        worker->since = now;
        worker->away = false;
    }
    worker->chunks--;
    worker->queued -= chunk->span.count;
    take_in(loop, chunk, &result, answer, text);
    loop->free_chunks[loop->free_count++] = chunk;
    loop->underway--;
    loop_wake(loop);
    pthread_mutex_unlock(&loop->mutex);
}

/* ---- sending --------------------------------------------------------------------- */

static void look_ahead(struct mpix_loop *loop, uint64_t now)
{
    double each = loop_model_remote(&loop->model);
    for (int i = 0; i < loop->worker_count; i++) {
        const struct loop_worker *worker = &loop->workers[i];
        double ready = loop->model.latency;
        if (worker->gone)
            ready = 1e300;
        else if (worker->chunks > 0)
            ready = (double)worker->queued * each - (double)(now - worker->since);
        loop->ready[i] = ready > 0 ? ready : 0;
    }
}

static double expected_end(const struct mpix_loop *loop)
{
    struct loop_outlook outlook = {
        .left = (double)(loop->work.back - loop->work.front),
        .threads = loop->settings.threads,
        .sender_works = loop->sender_works,
        .ready = loop->ready,
        .workers = loop->worker_count,
    };
    return loop_model_end(&loop->model, &outlook);
}

double loop_predict(struct mpix_loop *loop, uint64_t now)
{
    look_ahead(loop, now);
    return expected_end(loop);
}

/* A first chunk that shows whether sending pays off now, or a next one where there are no
 * threads that would do it instead. */
static double chunk_anyway(const struct mpix_loop *loop)
{
    double all = (double)loop->work.undecided * loop_model_local(&loop->model);
    bool trial = loop->sent == 0 && all > TRIAL_NS &&
                 all > TRIAL_LATENCIES * loop->model.latency;
    if (trial || (loop->settings.threads == 0 && loop->underway == 0))
        return loop_model_least(&loop->model);
    return 0;
}

/* How many elements worker `i` should get now; 0: none. */
static int64_t wanted(struct mpix_loop *loop, int i)
{
    const struct loop_settings *settings = &loop->settings;
    const struct loop_worker *worker = &loop->workers[i];
    if (settings->schedule != RFAAS_SCHEDULE_MODEL)
        return worker->chunks < DEPTH_WITHOUT_MODEL ? settings->chunk : 0;
    if (worker->chunks >= LOOP_DEPTH)
        return 0;
    double end = expected_end(loop), most = (double)cached_elements(loop);
    if (end <= 0) /* nothing is known: one element shows what it takes */
        return worker->chunks == 0 ? 1 : 0;
    double chunk = loop_model_chunk(&loop->model, end, loop->ready[i], most);
    if (chunk < 1)
        chunk = chunk_anyway(loop);
    if (chunk >= 1 && settings->chunk > 0)
        return settings->chunk;
    return chunk < most ? (int64_t)chunk : (int64_t)most;
}

/* Sends a chunk; false: the worker can't have it, and gets no more. */
static bool chunk_send(struct mpix_loop *loop, rfaas_lease *lease, int i,
                       const struct loop_span *span)
{
    struct loop_worker *worker = &loop->workers[i];
    struct loop_chunk *chunk = loop->free_chunks[--loop->free_count];
    uint64_t begin = rfaas_clock_ns();
    chunk->span = *span;
    chunk->worker = i;
    chunk->to_idle = worker->chunks == 0;
    int status = rfaas_invoke_call(
        lease, i, loop->function, loop->in + (size_t)span->first * loop->in_size,
        (size_t)span->count * loop->in_size,
        loop->out + (size_t)span->first * loop->out_size,
        (size_t)span->count * loop->out_size, on_done, chunk, &chunk->request);
    if (status != RFAAS_OK) {
        loop->free_chunks[loop->free_count++] = chunk;
        loop_work_return(&loop->work, span);
        worker_leaves(loop, worker);
        return false;
    }
    uint64_t now = rfaas_clock_ns();
    loop_model_sent(&loop->model, (double)(now - begin), (double)span->count);
    if (chunk->to_idle)
        worker->since = now;
    worker->chunks++;
    worker->queued += span->count;
    loop->underway++;
    loop->sent += span->count;
    loop->ready[i] += (double)span->count * loop_model_remote(&loop->model);
    return true;
}

/* Takes back what waits for a worker that isn't there, when there is nothing else to do.
 * Elements that a worker was lost with stay with the workers; so do all when the function
 * has crashed one: the next may crash the rank. */
static void withdraw(struct mpix_loop *loop)
{
    if (loop->settings.threads == 0 || loop->work.crashes > 0 ||
        ++loop->idle % LOOKS_PER_WITHDRAWAL != 0)
        return;
    for (int i = 0; i < loop->worker_count * LOOP_DEPTH; i++) {
        struct loop_chunk *chunk = &loop->chunks[i];
        if (chunk->span.losses == 0 && !chunk->span.crashed)
            rfaas_request_withdraw(loop->pool->session, &chunk->request, chunk);
    }
}

/* The lease, unless it was released or none of its workers is left. */
static rfaas_lease *lease_of(struct mpix_loop *loop)
{
    rfaas_lease *lease = loop->lease ? loop->lease->lease : NULL;
    if (!lease)
        all_leave(loop);
    for (int i = 0; lease && loop->suspicion && i < loop->worker_count; i++)
        if (!rfaas_lease_has_worker(lease, i))
            worker_leaves(loop, &loop->workers[i]);
    loop->suspicion = false;
    return loop->usable > 0 ? lease : NULL;
}

/* Of elements that are done again a chunk is given as a whole: 1, or 0 for a worker that
 * shall get none. What was taken back from one that isn't there is left to threads. */
static int64_t takes_again(const struct mpix_loop *loop,
                           const struct loop_worker *worker)
{
    if (worker->gone)
        return 0;
    return !worker->away || loop->settings.threads == 0 ||
           !loop_work_suits_threads(&loop->work);
}

void loop_feed(struct mpix_loop *loop)
{
    if (loop->usable == 0 || loop->ended)
        return;
    rfaas_lease *lease = lease_of(loop);
    if (!lease)
        return;
    if (loop->work.again_count == 0 && loop_work_offered(&loop->work) == 0) {
        withdraw(loop);
        return;
    }
    look_ahead(loop, rfaas_clock_ns());
    bool sent = true;
    while (sent) { /* a round gives each worker one */
        sent = false;
        for (int i = 0; i < loop->worker_count; i++) {
            struct loop_span span;
            int64_t most = loop->workers[i].gone ? 0 : wanted(loop, i);
            if (loop->work.again_count > 0 && loop->workers[i].chunks == 0)
                most = takes_again(loop, &loop->workers[i]);
            if (most > 0 && loop_work_take_last(&loop->work, most, &span))
                sent |= chunk_send(loop, lease, i, &span);
        }
    }
}
