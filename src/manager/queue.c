#include "manager/queue.h"

#include <stdlib.h>

#include <utlist.h>

/* How long a request waits in any case for cores that are being given back. */
#define GRACE UINT64_C(2000000000)

/* ---- deadlines: a list in their order ------------------------------------------ */

void timer_clear(struct rfaas_leases *leases, struct timer *timer)
{
    if (!timer->prev) /* set for all in the list: the first's is the last */
        return;
    DL_DELETE(leases->timers, timer);
    timer->prev = timer->next = NULL;
}

/* Looks for the place from the end: leases last about equally long, so a new deadline
 * mostly is one of the last. */
void timer_set(struct rfaas_leases *leases, struct timer *timer, uint64_t deadline)
{
    timer_clear(leases, timer);
    timer->deadline = deadline;
    struct timer *at = leases->timers ? leases->timers->prev : NULL;
    while (at && at->deadline > deadline)
        at = at == leases->timers ? NULL : at->prev;
    if (at)
        DL_APPEND_ELEM(leases->timers, at, timer);
    else
        DL_PREPEND(leases->timers, timer);
}

/* ---- those who wait ------------------------------------------------------------ */

/* Cores of workers that are to end are taken until their processes are dead, which
 * mostly is soon. Who asks meanwhile is no worse off than who asks a moment later: it
 * waits for them, even if it didn't mean to wait. When nothing is coming back any more,
 * that is over. */
static uint64_t wait_until(const struct rfaas_leases *leases, const struct want *want,
                           uint64_t now)
{
    if (leases->returning > 0 && want->wait_over < now + GRACE)
        return now + GRACE;
    return want->wait_over;
}

void wants_end_grace(struct rfaas_leases *leases)
{
    struct want *want;
    if (leases->returning == 0)
        DL_FOREACH(leases->queue, want)
            if (want->timer.deadline != want->wait_over)
                timer_set(leases, &want->timer, want->wait_over);
}

struct want *want_add(struct rfaas_leases *leases, const struct want *want,
                      uint64_t now)
{
    struct want *added = malloc(sizeof *added); /* freed by want_drop */
    if (!added)
        return NULL;
    *added = *want;
    added->wait_over = now + want->wait;
    added->timer = (struct timer){.want = added};
    if (want->kind == WANT_MOVE)
        DL_PREPEND(leases->queue, added);
    else
        DL_APPEND(leases->queue, added);
    DL_APPEND2(added->lease->wants, added, lease_prev, lease_next);
    timer_set(leases, &added->timer, wait_until(leases, added, now));
    return added;
}

void want_drop(struct rfaas_leases *leases, struct want *want)
{
    timer_clear(leases, &want->timer);
    DL_DELETE(leases->queue, want);
    DL_DELETE2(want->lease->wants, want, lease_prev, lease_next);
    free(want);
}

struct rfaas_lease_request want_request(const struct want *want)
{
    struct rfaas_lease_request request = want->lease->request;
    request.workers = want->workers;
    request.min_workers = want->least;
    request.wait = want->wait;
    return request;
}
