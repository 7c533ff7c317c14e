/* The rank's own part of a loop. */
#include "mpi/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs the function on a span, in place. True if it has done what it should; else the
 * text says what not. */
static bool run(const struct mpix_loop *loop, const struct loop_span *span, char *text,
                size_t size)
{
    struct rfaas_call call = {
        .in = loop->in + (size_t)span->first * loop->in_size,
        .in_size = (size_t)span->count * loop->in_size,
        .out = loop->out + (size_t)span->first * loop->out_size,
        .out_capacity = (size_t)span->count * loop->out_size,
        .worker = -1,
        .workers = loop->worker_count,
    };
    void *copy = NULL;
    if (loop->callable.classic && call.in_size > 0) { /* it may write to its input */
        copy = call.in_size <= UINT32_MAX ? malloc(call.in_size) : NULL;
        if (!copy) {
            snprintf(text, size, "there is no memory for a copy of its input");
            return false;
        }
        call.in = memcpy(copy, call.in, call.in_size);
    }
    int status = rfaas_callable_call(&loop->callable, &call);
    free(copy);
    if (status != 0)
        snprintf(text, size, "the function returned %d", status);
    else if (call.out_size != call.out_capacity)
        snprintf(text, size, "the function gave %zu bytes instead of %zu",
                 call.out_size, call.out_capacity);
    return status == 0 && call.out_size == call.out_capacity;
}

/* With the mutex. */
static bool take(struct mpix_loop *loop, struct loop_span *span)
{
    double left = (double)(loop->work.back - loop->work.front);
    double step = loop_model_step(&loop->model, left);
    int64_t most = step < (double)loop->elements ? (int64_t)step : loop->elements;
    return !loop->ended &&
           loop_work_take_first(&loop->work, most, loop->usable == 0, span);
}

/* Runs a span that was taken with the mutex, which is given up meanwhile. */
static void run_taken(struct mpix_loop *loop, const struct loop_span *span)
{
    char text[LOOP_TEXT_MAX];
    pthread_mutex_unlock(&loop->mutex);
    uint64_t begin = rfaas_clock_ns();
    bool good = run(loop, span, text, sizeof text);
    uint64_t end = rfaas_clock_ns();
    pthread_mutex_lock(&loop->mutex);
    loop_model_worked(&loop->model, (double)(end - begin), (double)span->count);
    if (good)
        loop_work_done(&loop->work, span, false);
    else
        loop_work_failed(&loop->work, span, false, text);
    loop_wake(loop);
}

bool loop_local_turn(struct mpix_loop *loop)
{
    struct loop_span span;
    pthread_mutex_lock(&loop->mutex);
    bool taken = take(loop, &span);
    if (taken)
        run_taken(loop, &span);
    pthread_mutex_unlock(&loop->mutex);
    return taken;
}

/* ---- threads --------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    struct mpix_loop *loop = arg;
    struct loop_span span;
    pthread_mutex_lock(&loop->mutex);
    while (!loop->ended)
        if (take(loop, &span)) {
            run_taken(loop, &span);
        } else { /* woken when something is to be done again, or at the end */
            loop->sleepers++;
            pthread_cond_wait(&loop->changed, &loop->mutex);
            loop->sleepers--;
        }
    pthread_mutex_unlock(&loop->mutex);
    return NULL;
}

void loop_threads_start(struct mpix_loop *loop, int count)
{
    sigset_t all, before;
    if (count <= 0)
        return;
    loop->threads = calloc((size_t)count, sizeof *loop->threads);
    if (!loop->threads)
        return;
    sigfillset(&all); /* signals are the application's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (loop->thread_count < count &&
           pthread_create(&loop->threads[loop->thread_count], NULL, thread_main,
                          loop) == 0)
        loop->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (loop->thread_count == 0) {
        free(loop->threads);
        loop->threads = NULL;
    }
}

void loop_threads_join(struct mpix_loop *loop)
{
    for (int i = 0; i < loop->thread_count; i++)
        pthread_join(loop->threads[i], NULL);
    free(loop->threads);
    loop->threads = NULL;
    loop->thread_count = 0;
}
