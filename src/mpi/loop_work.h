/* The books of a loop: which elements nobody has had yet, which have to be done again,
 * and what became of the others. An element is taken by one at a time, and decided once.
 * No lock, no MPI. */
#ifndef RFAAS_MPI_LOOP_WORK_H
#define RFAAS_MPI_LOOP_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* A chunk with which so many workers were lost may be the cause: it is halved, and a
     * single element has failed. */
    LOOP_LOSSES_MOST = 5,
    /* Workers that a loop may crash in the search for the elements that do it: each costs
     * the start of another. */
    LOOP_CRASHES_MOST = 64,
    /* Chunks of at least so many elements begin at a multiple of it, so that data are
     * aligned as their buffer is, up to a cache line. */
    LOOP_GRAIN = 64,
    LOOP_TEXT_MAX = 256,
};

/* Neighbouring elements on their way together. */
struct loop_span {
    int64_t first, count;
    int losses;   /* workers that were lost with it */
    bool crashed; /* it, or what it is a part of, has crashed a worker */
};

struct loop_work {
    int64_t front, back; /* [front, back) nobody has had: threads take the first, */
    int64_t border;      /* workers the last ones, each up to here if there is one */
    bool has_border;
    struct loop_span *again; /* stack of those that have to be done again */
    size_t again_count, again_room;
    int64_t undecided; /* elements without a result or failure */
    int64_t local, offloaded, failed;
    int64_t first_failed;     /* -1: none */
    char text[LOOP_TEXT_MAX]; /* why that one failed */
    int64_t chunks, retried;
    int crashes;
};

void loop_work_create(struct loop_work *work, int64_t elements);
void loop_work_free(struct loop_work *work);
/* The last `offloaded` elements are the workers', the others the threads'. */
void loop_work_divide(struct loop_work *work, int64_t offloaded);

/* The next elements for a thread of the rank. `alone`: there are no workers; without
 * that, elements with which a worker was lost are left to workers, and with it, too, those
 * that crashed one. False: there are none. */
bool loop_work_take_first(struct loop_work *work, int64_t most, bool alone,
                          struct loop_span *span);
/* The next elements for a worker: those that are to be done again, of which `most`
 * doesn't hold, before others. */
bool loop_work_take_last(struct loop_work *work, int64_t most, struct loop_span *span);
/* Whether what a worker would get next is to be done again, and threads may do it. */
bool loop_work_suits_threads(const struct loop_work *work);
/* Elements that nobody has had and workers may have. */
int64_t loop_work_offered(const struct loop_work *work);

void loop_work_done(struct loop_work *work, const struct loop_span *span,
                    bool offloaded);
/* The function failed somewhere in there: the halves are done again, until single
 * elements are left, which have failed. `crash`: it took a worker along. */
void loop_work_failed(struct loop_work *work, const struct loop_span *span, bool crash,
                      const char *text);
/* The worker was lost with it; `guilty`: it alone, which may be the elements' fault. */
void loop_work_lost(struct loop_work *work, const struct loop_span *span, bool guilty,
                    const char *text);
/* It was taken, and nothing was done. */
void loop_work_return(struct loop_work *work, const struct loop_span *span);
/* There are no workers, so what has crashed one can't be tried anywhere any more. */
void loop_work_condemn(struct loop_work *work);

#endif
