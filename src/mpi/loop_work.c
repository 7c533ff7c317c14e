#include "mpi/loop_work.h"

#include <stdio.h>
#include <stdlib.h>

void loop_work_create(struct loop_work *work, int64_t elements)
{
    *work =
        (struct loop_work){.back = elements, .undecided = elements, .first_failed = -1};
}

void loop_work_free(struct loop_work *work)
{
    free(work->again);
    work->again = NULL;
}

void loop_work_divide(struct loop_work *work, int64_t offloaded)
{
    work->border = work->back - offloaded;
    work->has_border = true;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- deciding -------------------------------------------------------------------- */

static void fail(struct loop_work *work, const struct loop_span *span, const char *text)
{
    work->failed += span->count;
    work->undecided -= span->count;
    if (work->first_failed >= 0 && work->first_failed < span->first)
        return;
    work->first_failed = span->first;
    snprintf(work->text, sizeof work->text, "%s", text);
}

/* A span that has to be done again; without memory for it it has failed. */
static void push(struct loop_work *work, struct loop_span span)
{
    if (work->again_count == work->again_room) {
        size_t room = work->again_room > 0 ? 2 * work->again_room : 64;
        void *again = realloc(work->again, room * sizeof *work->again);
        if (!again) {
            fail(work, &span, "out of memory for doing it again");
            return;
        }
        work->again = again;
        work->again_room = room;
    }
    work->again[work->again_count++] = span;
}

void loop_work_done(struct loop_work *work, const struct loop_span *span,
                    bool offloaded)
{
    work->undecided -= span->count;
    *(offloaded ? &work->offloaded : &work->local) += span->count;
}

/* The halves, the first one on top: they are done again next. */
static void push_halves(struct loop_work *work, struct loop_span span)
{
    struct loop_span first = span, second = span;
    first.count = span.count / 2;
    second.first += first.count;
    second.count -= first.count;
    push(work, second);
    push(work, first);
}

void loop_work_failed(struct loop_work *work, const struct loop_span *span, bool crash,
                      const char *text)
{
    struct loop_span again = *span;
    work->crashes += crash;
    again.crashed |= crash;
    if (span->count == 1 || (again.crashed && work->crashes > LOOP_CRASHES_MOST))
        fail(work, span, text);
    else
        push_halves(work, again);
}

void loop_work_lost(struct loop_work *work, const struct loop_span *span, bool guilty,
                    const char *text)
{
    struct loop_span again = *span;
    bool often = guilty && ++again.losses >= LOOP_LOSSES_MOST;
    if (often && span->count == 1) {
        fail(work, span, text);
        return;
    }
    work->retried++;
    if (!often) {
        push(work, again);
        return;
    }
    again.losses = 1; /* still nothing for threads of the rank */
    push_halves(work, again);
}

void loop_work_return(struct loop_work *work, const struct loop_span *span)
{
    push(work, *span);
}

void loop_work_condemn(struct loop_work *work)
{
    size_t kept = 0;
    for (size_t i = 0; i < work->again_count; i++)
        if (work->again[i].crashed)
            fail(work, &work->again[i],
                 "with its neighbours it crashed a worker, and there is no other");
        else
            work->again[kept++] = work->again[i];
    work->again_count = kept;
}

/* ---- taking ---------------------------------------------------------------------- */

static bool take_again(struct loop_work *work, size_t index, struct loop_span *span)
{
    *span = work->again[index];
    work->again_count--;
    for (size_t i = index; i < work->again_count; i++)
        work->again[i] = work->again[i + 1];
    work->chunks++;
    return true;
}

static bool suits_threads(const struct loop_span *span)
{
    return !span->crashed && span->losses == 0;
}

bool loop_work_suits_threads(const struct loop_work *work)
{
    return work->again_count > 0 && suits_threads(&work->again[work->again_count - 1]);
}

bool loop_work_take_first(struct loop_work *work, int64_t most, bool alone,
                          struct loop_span *span)
{
    for (size_t i = work->again_count; i-- > 0;)
        if (suits_threads(&work->again[i]) || (alone && !work->again[i].crashed))
            return take_again(work, i, span);
    int64_t end =
        work->has_border && !alone ? smaller(work->border, work->back) : work->back;
    if (work->front >= end)
        return false;
    int64_t next = smaller(most, end - work->front) + work->front;
    if (most >= LOOP_GRAIN && next < end)
        next -= next % LOOP_GRAIN;
    if (next <= work->front) /* it began amid a grain, and ends there */
        next = smaller(work->front + most, end);
    *span = (struct loop_span){.first = work->front, .count = next - work->front};
    work->front = next;
    work->chunks++;
    return true;
}

int64_t loop_work_offered(const struct loop_work *work)
{
    int64_t begin = work->front;
    if (work->has_border && work->border > begin)
        begin = work->border;
    return work->back > begin ? work->back - begin : 0;
}

bool loop_work_take_last(struct loop_work *work, int64_t most, struct loop_span *span)
{
    if (work->again_count > 0)
        return take_again(work, work->again_count - 1, span);
    int64_t offered = loop_work_offered(work);
    int64_t count = smaller(most, offered);
    if (count <= 0)
        return false;
    int64_t first = work->back - count;
    if (count >= LOOP_GRAIN && count < offered) {
        int64_t aligned = first + LOOP_GRAIN - 1;
        aligned -= aligned % LOOP_GRAIN;
        if (aligned < work->back)
            first = aligned;
    }
    *span = (struct loop_span){.first = first, .count = work->back - first};
    work->back = first;
    work->chunks++;
    return true;
}
