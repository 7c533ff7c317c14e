/* What owners ask of the lease state machine (leases.h): leases, their renewal, size and
 * end. */
#include "manager/leases.h"
#include "base/error.h"
#include "manager/transitions.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include <utlist.h>

static bool ever_was(const struct rfaas_leases *leases, uint64_t id)
{
    return id > 0 && id <= leases->last_id;
}

static int check_duration(uint64_t duration)
{
    if (duration == 0 || duration > RFAAS_LEASE_TIME_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "a lease lasts 1 ns to 146 years, not %" PRIu64 " ns",
                          duration);
    return RFAAS_OK;
}

static int check_workers(uint32_t workers, uint32_t least, uint64_t wait)
{
    if (workers == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for no workers");
    if (least > workers)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for %u workers, but at least %u",
                          workers, least);
    if (wait > RFAAS_LEASE_TIME_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "a request waits at most 146 years, not %" PRIu64 " ns",
                          wait);
    return RFAAS_OK;
}

static int check(const struct rfaas_leases *leases,
                 const struct rfaas_lease_request *request)
{
    int status = check_workers(request->workers, request->min_workers, request->wait);
    if (status != RFAAS_OK)
        return status;
    if (request->cores_per_worker == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for workers without a core");
    if (HASH_COUNT(leases->table) >= RFAAS_LEASES_MAX)
        return rfaas_fail(RFAAS_ERR_NO_RESOURCES,
                          "the manager keeps no more than %d leases and requests",
                          RFAAS_LEASES_MAX);
    return check_duration(request->duration);
}

static int enqueue(struct rfaas_leases *leases,
                   const struct rfaas_lease_request *request, uint64_t now)
{
    int status = check(leases, request);
    if (status != RFAAS_OK)
        return status;
    struct lease *lease = calloc(1, sizeof *lease); /* freed by forget */
    if (lease) {
        lease->id = leases->last_id;
        lease->request = *request;
        if (request->min_workers == 0)
            lease->request.min_workers = request->workers;
        lease->state = RFAAS_LEASE_REQUESTED;
        lease->timer.lease = lease;
        HASH_ADD(hh, leases->table, id, sizeof lease->id, lease);
    }
    if (!lease || !lease->hh.tbl) {
        free(lease);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a lease");
    }
    const struct want want = {.kind = WANT_LEASE,
                              .lease = lease,
                              .call = request->call,
                              .workers = request->workers,
                              .least = lease->request.min_workers,
                              .wait = request->wait};
    if (want_add(leases, &want, now))
        return RFAAS_OK;
    lease_forget(leases, lease);
    return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a request");
}

uint64_t rfaas_leases_request(struct rfaas_leases *leases,
                              const struct rfaas_lease_request *request, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    uint64_t id = ++leases->last_id;
    int status = enqueue(leases, request, now);
    if (status != RFAAS_OK) {
        leases->calls->refused(request->owner, request->call, status,
                               rfaas_last_error(), leases->arg);
        return id;
    }
    queue_move(leases, now);
    /* Who doesn't wait is due now. */
    rfaas_leases_advance(leases, now);
    return id;
}

/* The owner's lease, if it is active. */
static int find_active(struct rfaas_leases *leases, uint64_t owner, uint64_t id,
                       struct lease **active)
{
    static const int over[] = {[RFAAS_LEASE_RELEASED] = RFAAS_ERR_LEASE_RELEASED,
                               [RFAAS_LEASE_EXPIRED] = RFAAS_ERR_LEASE_EXPIRED,
                               [RFAAS_LEASE_REVOKED] = RFAAS_ERR_LEASE_REVOKED,
                               [RFAAS_LEASE_CLIENT_LOST] = RFAAS_ERR_LEASE_REVOKED};
    struct lease *lease = lease_find(leases, id);
    if (!lease && ever_was(leases, id)) /* why, was told when it ended */
        return rfaas_fail(RFAAS_ERR_LEASE_RELEASED, "lease %" PRIu64 " is over", id);
    if (!lease || lease->request.owner != owner ||
        lease->state == RFAAS_LEASE_REQUESTED)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "lease %" PRIu64 " is not the client's",
                          id);
    if (lease->state == RFAAS_LEASE_ENDING)
        return rfaas_fail(over[lease->reason], "lease %" PRIu64 " has ended", id);
    *active = lease;
    return RFAAS_OK;
}

int rfaas_leases_renew(struct rfaas_leases *leases, uint64_t owner, uint64_t id,
                       uint64_t duration, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    struct lease *lease;
    int status = find_active(leases, owner, id, &lease);
    if (status == RFAAS_OK)
        status = check_duration(duration);
    if (status == RFAAS_OK)
        timer_set(leases, &lease->timer, now + duration);
    return status;
}

int rfaas_leases_release(struct rfaas_leases *leases, uint64_t owner, uint64_t id,
                         uint64_t now)
{
    rfaas_leases_advance(leases, now);
    struct lease *lease = lease_find(leases, id);
    if (!lease && ever_was(leases, id))
        return RFAAS_OK;
    if (!lease || lease->request.owner != owner)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "lease %" PRIu64 " is not the client's",
                          id);
    if (lease->state == RFAAS_LEASE_ACTIVE) {
        lease_end(leases, lease, RFAAS_LEASE_RELEASED);
    } else if (lease->state == RFAAS_LEASE_REQUESTED) {
        want_refuse(leases, lease->wants, RFAAS_ERR_CANCELLED,
                    "released before it was granted");
    }
    queue_move(leases, now);
    return RFAAS_OK;
}

void rfaas_leases_withdraw(struct rfaas_leases *leases, uint64_t owner, uint64_t call,
                           uint64_t now)
{
    struct want *want, *next;
    DL_FOREACH_SAFE(leases->queue, want, next)
        if (want->kind == WANT_LEASE && want->lease->request.owner == owner &&
            want->call == call)
            want_refuse(leases, want, RFAAS_ERR_CANCELLED,
                        "released before it was granted");
    queue_move(leases, now);
    rfaas_leases_advance(leases, now);
}

void rfaas_leases_owner_gone(struct rfaas_leases *leases, uint64_t owner, uint64_t now)
{
    for (struct lease *lease = leases->table, *next; lease; lease = next) {
        next = lease->hh.next;
        if (lease->request.owner != owner)
            continue;
        if (lease->state == RFAAS_LEASE_REQUESTED)
            want_refuse(leases, lease->wants, RFAAS_ERR_CANCELLED,
                        "the client has gone");
        else if (lease->state == RFAAS_LEASE_ACTIVE)
            lease_end(leases, lease, RFAAS_LEASE_CLIENT_LOST);
    }
    queue_move(leases, now);
    rfaas_leases_advance(leases, now); /* not before: nothing may be granted to it */
}

void rfaas_leases_stop(struct rfaas_leases *leases)
{
    for (struct lease *lease = leases->table, *next; lease; lease = next) {
        next = lease->hh.next;
        if (lease->state == RFAAS_LEASE_REQUESTED)
            want_refuse(leases, lease->wants, RFAAS_ERR_MANAGER, "the manager stops");
        else if (lease->state == RFAAS_LEASE_ACTIVE)
            lease_end(leases, lease, RFAAS_LEASE_REVOKED);
    }
}

/* ---- resizing ------------------------------------------------------------------ */

static int check_change(const struct lease *lease,
                        const struct rfaas_lease_change *change)
{
    for (const struct want *want = lease->wants; want; want = want->lease_next)
        if (want->kind == WANT_GROWTH)
            return rfaas_fail(RFAAS_ERR_ARGUMENT,
                              "lease %" PRIu64 " is being resized already", lease->id);
    return check_workers(change->workers, change->min_workers, change->wait);
}

static int grow(struct rfaas_leases *leases, struct lease *lease,
                const struct rfaas_lease_change *change, uint64_t now)
{
    uint32_t has = lease->workers, least = change->min_workers;
    if (least == 0)
        least = change->workers;
    const struct want want = {.kind = WANT_GROWTH,
                              .lease = lease,
                              .call = change->call,
                              .first = has,
                              .workers = change->workers - has,
                              .least = least > has ? least - has : 0,
                              .wait = change->wait};
    return want_add(leases, &want, now)
               ? RFAAS_OK
               : rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a request");
}

/* How many of `workers` numbers from `first` on are below `limit`. */
static uint32_t below(uint32_t limit, uint32_t first, uint32_t workers)
{
    if (limit <= first)
        return 0;
    return limit - first < workers ? limit - first : workers;
}

static void shrink(struct rfaas_leases *leases, struct lease *lease, uint32_t workers,
                   uint64_t call)
{
    struct want *want, *next;
    lease->workers = workers;
    for (struct rfaas_part *part = lease->parts; part; part = part->next) {
        uint32_t keep = below(workers, part->first, part->kept);
        if (keep == part->kept)
            continue;
        part_keep(leases, part, keep);
        leases->calls->retire(part->executor->offer.id, part->id, keep, leases->arg);
    }
    DL_FOREACH_SAFE2(lease->wants, want, next, lease_next)
    {
        want->workers = below(workers, want->first, want->workers);
        if (want->workers == 0)
            want_drop(leases, want);
    }
    lease_tell(leases, lease, call, NULL, NULL);
    if (!lease_has_workers(lease))
        lease_end(leases, lease, RFAAS_LEASE_REVOKED);
}

void rfaas_leases_resize(struct rfaas_leases *leases, uint64_t owner,
                         const struct rfaas_lease_change *change, uint64_t now)
{
    rfaas_leases_advance(leases, now);
    struct lease *lease;
    int status = find_active(leases, owner, change->lease, &lease);
    if (status == RFAAS_OK)
        status = check_change(lease, change);
    if (status == RFAAS_OK && change->workers > lease->workers)
        status = grow(leases, lease, change, now);
    else if (status == RFAAS_OK)
        shrink(leases, lease, change->workers, change->call);
    if (status != RFAAS_OK)
        leases->calls->refused(owner, change->call, status, rfaas_last_error(),
                               leases->arg);
    queue_move(leases, now);
    rfaas_leases_advance(leases, now);
}
