#include "manager/leases.h"
#include "base/error.h"
#include "manager/transitions.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include <utlist.h>

int rfaas_leases_new(const struct rfaas_leases_calls *calls, void *arg,
                     struct rfaas_leases **leases)
{
    struct rfaas_leases *made = calloc(1, sizeof *made); /* rfaas_leases_free */
    if (!made)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "manager: no memory for leases");
    made->calls = calls;
    made->arg = arg;
    *leases = made;
    return RFAAS_OK;
}

void rfaas_leases_free(struct rfaas_leases *leases)
{
    if (!leases)
        return;
    while (leases->queue)
        want_drop(leases, leases->queue);
    while (leases->table) {
        struct lease *lease = leases->table;
        while (lease->parts)
            rfaas_part_credit(&lease->parts, lease->parts, 0);
        lease_forget(leases, lease);
    }
    while (leases->executors)
        rfaas_executor_leave(&leases->executors, leases->executors);
    free(leases);
}

/* ---- executors ----------------------------------------------------------------- */

int rfaas_leases_join(struct rfaas_leases *leases,
                      const struct rfaas_executor_offer *offer, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    int status = rfaas_executor_join(&leases->executors, offer);
    if (status == RFAAS_OK)
        queue_move(leases, now);
    return status;
}

void rfaas_leases_leave(struct rfaas_leases *leases, uint32_t executor, uint64_t now)
{
    struct rfaas_executor *gone = rfaas_executor_find(leases->executors, executor);
    while (gone && gone->parts)
        part_freed(leases, gone->parts, 0);
    if (gone)
        rfaas_executor_leave(&leases->executors, gone);
    wants_end_grace(leases);
    queue_move(leases, now); /* not before: nothing may be granted there */
    rfaas_leases_advance(leases, now);
}

void rfaas_leases_drain(struct rfaas_leases *leases, uint32_t executor, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    struct rfaas_executor *from = rfaas_executor_find(leases->executors, executor);
    if (!from || from->draining)
        return;
    from->draining = true;
    struct rfaas_part *part, *next;
    DL_FOREACH_SAFE2(from->parts, part, next, executor_next)
    {
        struct lease *lease = part->lease;
        struct want want = {.kind = WANT_MOVE,
                            .lease = lease,
                            .first = part->first,
                            .workers = part->kept,
                            .least = 1,
                            .wait = lease->request.wait};
        part_keep(leases, part, 0);
        if (want.workers > 0 && !want_add(leases, &want, now))
            lease_lose(leases, lease, want.first, want.workers);
    }
    queue_move(leases, now);
    rfaas_leases_advance(leases, now);
}

int rfaas_leases_freed(struct rfaas_leases *leases, uint32_t executor, uint64_t id,
                       uint32_t left, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    const struct rfaas_executor *from =
        rfaas_executor_find(leases->executors, executor);
    if (!from)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "there is no executor %u", executor);
    if (id == 0 || id > leases->last_part)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "there never was a part %" PRIu64, id);
    struct rfaas_part *part = from->parts;
    while (part && part->id != id)
        part = part->executor_next;
    if (part && left < part->workers) {
        part_freed(leases, part, left);
        queue_move(leases, now);
        wants_end_grace(leases);
        rfaas_leases_advance(leases, now);
    }
    return RFAAS_OK;
}

/* ---- time ---------------------------------------------------------------------- */

/* Nothing came. A growth that was ready to get nothing has got what it wanted. */
static void give_up(struct rfaas_leases *leases, struct want *want, uint64_t now)
{
    char why[RFAAS_SHORTAGE_TEXT];
    if (want->least == 0) {
        want_grant(leases, want, 0, now);
        return;
    }
    const struct rfaas_lease_request request = want_request(want);
    rfaas_executors_shortage(leases->executors, &request, why);
    want_refuse(leases, want, RFAAS_ERR_NO_RESOURCES, why);
}

void rfaas_leases_advance(struct rfaas_leases *leases, uint64_t now)
{
    while (leases->timers && leases->timers->deadline <= now) {
        struct timer *due = leases->timers;
        if (due->lease)
            lease_end(leases, due->lease, RFAAS_LEASE_EXPIRED);
        else
            give_up(leases, due->want, now);
        /* At once: if it was the first, the next must not be refused as well merely
         * because this call came late. */
        queue_move(leases, now);
    }
}

uint64_t rfaas_leases_next_deadline(const struct rfaas_leases *leases)
{
    return leases->timers ? leases->timers->deadline : RFAAS_LEASES_NEVER;
}

enum rfaas_lease_state rfaas_leases_state(const struct rfaas_leases *leases,
                                          uint64_t id)
{
    const struct lease *lease = lease_find(leases, id);
    return lease ? lease->state : RFAAS_LEASE_OVER;
}

struct rfaas_leases_stats rfaas_leases_stats(const struct rfaas_leases *leases)
{
    struct rfaas_leases_stats stats = {0};
    const struct want *want;
    for (const struct rfaas_executor *e = leases->executors; e; e = e->hh.next) {
        if (e->draining)
            continue;
        stats.executors++;
        stats.cores += e->offer.cores;
        stats.leased += e->offer.cores - e->cores_free;
    }
    DL_FOREACH(leases->queue, want)
        stats.queued++;
    return stats;
}

int rfaas_leases_free_of(const struct rfaas_leases *leases, uint32_t executor,
                         uint32_t *cores, uint64_t *memory)
{
    const struct rfaas_executor *found =
        rfaas_executor_find(leases->executors, executor);
    if (!found)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "there is no executor %u", executor);
    *cores = found->cores_free;
    *memory = found->memory_free;
    return RFAAS_OK;
}
