/* How leases change their state, and who is told. */
#include "manager/transitions.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdlib.h>

#include <utlist.h>

struct lease *lease_find(const struct rfaas_leases *leases, uint64_t id)
{
    struct lease *lease;
    HASH_FIND(hh, leases->table, &id, sizeof id, lease);
    return lease;
}

void lease_forget(struct rfaas_leases *leases, struct lease *lease)
{
    HASH_DEL(leases->table, lease);
    free(lease);
}

bool lease_has_workers(const struct lease *lease)
{
    if (lease->parts)
        return true;
    for (const struct want *want = lease->wants; want; want = want->lease_next)
        if (want->kind == WANT_MOVE)
            return true;
    return false;
}

static void tell_refused(struct rfaas_leases *leases, const struct want *want,
                         int status, const char *reason)
{
    leases->calls->refused(want->lease->request.owner, want->call, status, reason,
                           leases->arg);
}

/* Of the part's workers only the first are to stay. */
void part_keep(struct rfaas_leases *leases, struct rfaas_part *part, uint32_t keep)
{
    if (keep < part->kept && part->kept == part->workers)
        leases->returning++;
    if (keep < part->kept)
        part->kept = keep;
}

/* active -> released, expired, revoked, client lost; over when no part is left */
void lease_end(struct rfaas_leases *leases, struct lease *lease,
               enum rfaas_lease_end reason)
{
    lease->state = RFAAS_LEASE_ENDING;
    lease->reason = reason;
    timer_clear(leases, &lease->timer);
    while (lease->wants) {
        if (lease->wants->kind == WANT_GROWTH)
            tell_refused(leases, lease->wants, RFAAS_ERR_CANCELLED,
                         "the lease has ended");
        want_drop(leases, lease->wants);
    }
    for (struct rfaas_part *part = lease->parts; part; part = part->next) {
        part_keep(leases, part, 0);
        leases->calls->withdraw(part->executor->offer.id, lease->id, part->id, reason,
                                leases->arg);
    }
    leases->calls->ended(lease->request.owner, lease->id, reason, leases->arg);
    if (!lease->parts)
        lease_forget(leases, lease);
}

/* No worker has these numbers any more, or will. */
void lease_lose(struct rfaas_leases *leases, struct lease *lease, uint32_t first,
                uint32_t workers)
{
    leases->calls->part_lost(lease->request.owner, lease->id, first, workers,
                             leases->arg);
    if (!lease_has_workers(lease))
        lease_end(leases, lease, RFAAS_LEASE_REVOKED);
}

/* The processes of all but its first `left` workers are dead. */
void part_freed(struct rfaas_leases *leases, struct rfaas_part *part, uint32_t left)
{
    struct lease *lease = part->lease;
    uint32_t lost = part->kept > left ? part->kept - left : 0, first = part->first;
    bool returning = part->kept < part->workers;
    part->kept -= lost;
    if (returning && part->kept >= left)
        leases->returning--;
    rfaas_part_credit(&lease->parts, part, left);
    if (lost > 0)
        lease_lose(leases, lease, first + left, lost);
    else if (lease->state == RFAAS_LEASE_ENDING && !lease->parts)
        lease_forget(leases, lease);
    else if (lease->state == RFAAS_LEASE_ACTIVE && !lease_has_workers(lease))
        lease_end(leases, lease, RFAAS_LEASE_REVOKED);
}

/* A wait is over without success. */
void want_refuse(struct rfaas_leases *leases, struct want *want, int status,
                 const char *reason)
{
    struct lease *lease = want->lease;
    enum want_kind kind = want->kind;
    uint32_t first = want->first, workers = want->workers;
    if (kind != WANT_MOVE)
        tell_refused(leases, want, status, reason);
    want_drop(leases, want);
    if (kind == WANT_LEASE)
        lease_forget(leases, lease);
    else if (kind == WANT_MOVE)
        lease_lose(leases, lease, first, workers);
}

/* `list` has room for the parts. */
void lease_tell(struct rfaas_leases *leases, const struct lease *lease, uint64_t call,
                const struct rfaas_part *parts, struct rfaas_lease_part list[])
{
    size_t count = 0;
    for (const struct rfaas_part *part = parts; part; part = part->next)
        list[count++] =
            (struct rfaas_lease_part){part->id, part->executor->offer.id, part->first,
                                      part->workers, part->executor->offer.place};
    struct rfaas_lease_grant grant = {
        lease->id, &lease->request, call, lease->workers, list, count};
    for (size_t i = 0; i < count; i++)
        leases->calls->assign(&grant, &list[i], leases->arg);
    leases->calls->granted(&grant, leases->arg);
}

/* What is wanted is there, or as much of it as will do: the lease gets it. */
static void satisfy(struct rfaas_leases *leases, struct want *want, uint32_t workers,
                    uint64_t now)
{
    struct lease *lease = want->lease;
    if (want->kind == WANT_LEASE) {
        lease->state = RFAAS_LEASE_ACTIVE;
        timer_set(leases, &lease->timer, now + lease->request.duration);
    }
    if (want->kind != WANT_MOVE)
        lease->workers = want->first + workers;
    want->first += workers;
    want->workers -= workers;
    if (want->kind != WANT_MOVE || want->workers == 0)
        want_drop(leases, want);
}

/* requested -> active, or an active lease gets workers */
void want_grant(struct rfaas_leases *leases, struct want *want, uint32_t workers,
                uint64_t now)
{
    struct lease *lease = want->lease;
    struct rfaas_part *parts = NULL;
    uint64_t call = want->call;
    struct rfaas_lease_part *list =
        malloc((HASH_COUNT(leases->executors) + 1) * sizeof *list); /* freed below */
    int status = list
                     ? rfaas_parts_take(leases->executors, &lease->request, want->first,
                                        workers, lease, &leases->last_part, &parts)
                     : rfaas_fail(RFAAS_ERR_NO_MEMORY, "lease: no memory for a list");
    if (status == RFAAS_OK) {
        satisfy(leases, want, workers, now);
        lease_tell(leases, lease, call, parts, list);
        DL_CONCAT(lease->parts, parts);
    } else {
        want_refuse(leases, want, status, rfaas_last_error());
    }
    free(list);
}

void queue_move(struct rfaas_leases *leases, uint64_t now)
{
    while (leases->queue) {
        struct want *first = leases->queue;
        uint64_t room =
            rfaas_executors_room(leases->executors, &first->lease->request).now;
        if (room < first->least)
            break;
        want_grant(leases, first,
                   room < first->workers ? (uint32_t)room : first->workers, now);
    }
}
