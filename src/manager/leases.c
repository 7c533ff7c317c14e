#include "manager/leases.h"
#include "base/error.h"
#include "manager/executors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include <utlist.h>

/* How long a request waits in any case for cores that are being given back. */
#define GRACE UINT64_C(2000000000)

struct lease {
    uint64_t id;
    struct rfaas_lease_request request;
    enum rfaas_lease_state state;
    enum rfaas_lease_end reason; /* ending */
    uint64_t deadline;           /* requested: of its wait; active: of the lease */
    uint64_t wait_over;          /* requested: as asked for; `deadline` may be later */
    struct rfaas_part *parts;    /* active, ending; they number the workers */
    struct lease *queue_prev, *queue_next; /* requested */
    struct lease *timer_prev, *timer_next; /* requested, active */
    UT_hash_handle hh;
};

struct rfaas_leases {
    const struct rfaas_leases_calls *calls;
    void *arg;
    struct rfaas_executor *executors;
    struct lease *table;
    struct lease *queue;
    struct lease *timers; /* ascending deadlines */
    unsigned ending;      /* leases in this state */
    uint64_t last_id;
};

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

static void forget(struct rfaas_leases *leases, struct lease *lease)
{
    HASH_DEL(leases->table, lease);
    free(lease);
}

void rfaas_leases_free(struct rfaas_leases *leases)
{
    if (!leases)
        return;
    while (leases->table) {
        struct lease *lease = leases->table;
        while (lease->parts)
            rfaas_part_credit(&lease->parts, lease->parts);
        forget(leases, lease);
    }
    while (leases->executors)
        rfaas_executor_leave(&leases->executors, leases->executors);
    free(leases);
}

static struct lease *find(const struct rfaas_leases *leases, uint64_t id)
{
    struct lease *lease;
    HASH_FIND(hh, leases->table, &id, sizeof id, lease);
    return lease;
}

static bool ever_was(const struct rfaas_leases *leases, uint64_t id)
{
    return id > 0 && id <= leases->last_id;
}

/* ---- deadlines: a list in their order ------------------------------------------ */

static void timer_clear(struct rfaas_leases *leases, struct lease *lease)
{
    if (!lease->timer_prev) /* set for all in the list: the first's is the last */
        return;
    DL_DELETE2(leases->timers, lease, timer_prev, timer_next);
    lease->timer_prev = lease->timer_next = NULL;
}

/* Looks for the place from the end: leases last about equally long, so a new deadline
 * mostly is one of the last. */
static void timer_set(struct rfaas_leases *leases, struct lease *lease,
                      uint64_t deadline)
{
    timer_clear(leases, lease);
    lease->deadline = deadline;
    struct lease *at = leases->timers ? leases->timers->timer_prev : NULL;
    while (at && at->deadline > deadline)
        at = at == leases->timers ? NULL : at->timer_prev;
    if (at)
        DL_APPEND_ELEM2(leases->timers, at, lease, timer_prev, timer_next);
    else
        DL_PREPEND2(leases->timers, lease, timer_prev, timer_next);
}

/* ---- transitions --------------------------------------------------------------- */

/* requested -> refused */
static void refuse(struct rfaas_leases *leases, struct lease *lease, int status,
                   const char *reason)
{
    DL_DELETE2(leases->queue, lease, queue_prev, queue_next);
    timer_clear(leases, lease);
    leases->calls->refused(lease->request.owner, lease->request.call, status, reason,
                           leases->arg);
    forget(leases, lease);
}

/* active -> released, expired, revoked, client lost; over when no part is left */
static void end(struct rfaas_leases *leases, struct lease *lease,
                enum rfaas_lease_end reason)
{
    lease->state = RFAAS_LEASE_ENDING;
    lease->reason = reason;
    timer_clear(leases, lease);
    for (const struct rfaas_part *part = lease->parts; part; part = part->next)
        leases->calls->withdraw(part->executor->offer.id, lease->id, reason,
                                leases->arg);
    leases->calls->ended(lease->request.owner, lease->id, reason, leases->arg);
    if (lease->parts)
        leases->ending++;
    else
        forget(leases, lease);
}

/* The part's processes are dead. */
static void part_gone(struct rfaas_leases *leases, struct rfaas_part *part)
{
    struct lease *lease = part->lease;
    uint32_t executor = part->executor->offer.id;
    rfaas_part_credit(&lease->parts, part);
    if (lease->state == RFAAS_LEASE_ACTIVE) {
        leases->calls->part_lost(lease->request.owner, lease->id, executor,
                                 leases->arg);
        if (!lease->parts)
            end(leases, lease, RFAAS_LEASE_REVOKED);
    } else if (!lease->parts) {
        leases->ending--;
        forget(leases, lease);
    }
}

static void tell_grant(struct rfaas_leases *leases, const struct lease *lease,
                       struct rfaas_lease_part list[])
{
    size_t count = 0;
    for (const struct rfaas_part *part = lease->parts; part; part = part->next) {
        const struct rfaas_executor_offer *offer = &part->executor->offer;
        list[count++] =
            (struct rfaas_lease_part){offer->id, part->workers, offer->place};
    }
    struct rfaas_lease_grant grant = {lease->id, &lease->request, list, count};
    for (size_t i = 0; i < count; i++)
        leases->calls->assign(&grant, &list[i], leases->arg);
    leases->calls->granted(&grant, leases->arg);
}

/* requested -> active */
static void grant(struct rfaas_leases *leases, struct lease *lease, uint32_t workers,
                  uint64_t now)
{
    struct rfaas_lease_part *list =
        malloc(HASH_COUNT(leases->executors) * sizeof *list); /* freed below */
    int status = list ? rfaas_parts_take(leases->executors, &lease->request, workers,
                                         lease, &lease->parts)
                      : rfaas_fail(RFAAS_ERR_NO_MEMORY, "lease: no memory for a list");
    if (status == RFAAS_OK) {
        DL_DELETE2(leases->queue, lease, queue_prev, queue_next);
        lease->state = RFAAS_LEASE_ACTIVE;
        timer_set(leases, lease, now + lease->request.duration);
        tell_grant(leases, lease, list);
    } else {
        refuse(leases, lease, status, rfaas_last_error());
    }
    free(list);
}

static void queue_move(struct rfaas_leases *leases, uint64_t now)
{
    while (leases->queue) {
        struct lease *first = leases->queue;
        uint64_t room = rfaas_executors_room(leases->executors, &first->request).now;
        if (room < first->request.min_workers)
            break;
        uint32_t asked = first->request.workers;
        grant(leases, first, room < asked ? (uint32_t)room : asked, now);
    }
}

/* Cores of a lease that has ended are taken until its processes are dead, which is soon.
 * Who asks meanwhile is no worse off than who asks a moment later: it waits for them,
 * even if it didn't mean to wait. When nothing is coming back any more, that is over. */
static uint64_t wait_until(const struct rfaas_leases *leases, const struct lease *lease,
                           uint64_t now)
{
    if (leases->ending > 0 && lease->wait_over < now + GRACE)
        return now + GRACE;
    return lease->wait_over;
}

static void end_grace(struct rfaas_leases *leases)
{
    struct lease *lease;
    if (leases->ending == 0)
        DL_FOREACH2(leases->queue, lease, queue_next)
    if (lease->deadline != lease->wait_over)
        timer_set(leases, lease, lease->wait_over);
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
        part_gone(leases, gone->parts);
    if (gone)
        rfaas_executor_leave(&leases->executors, gone);
    end_grace(leases);
    rfaas_leases_advance(leases, now); /* not before: nothing may be granted there */
}

int rfaas_leases_freed(struct rfaas_leases *leases, uint32_t executor, uint64_t id,
                       uint64_t now)
{
    rfaas_leases_advance(leases, now);
    if (!rfaas_executor_find(leases->executors, executor))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "there is no executor %u", executor);
    if (!ever_was(leases, id))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "there never was a lease %" PRIu64, id);
    struct lease *lease = find(leases, id);
    struct rfaas_part *part = lease ? lease->parts : NULL;
    while (part && part->executor->offer.id != executor)
        part = part->next;
    if (part) {
        part_gone(leases, part);
        queue_move(leases, now);
        end_grace(leases);
        rfaas_leases_advance(leases, now);
    }
    return RFAAS_OK;
}

/* ---- owners -------------------------------------------------------------------- */

static int check_duration(uint64_t duration)
{
    if (duration == 0 || duration > RFAAS_LEASE_TIME_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "a lease lasts 1 ns to 146 years, not %" PRIu64 " ns",
                          duration);
    return RFAAS_OK;
}

static int check(const struct rfaas_leases *leases,
                 const struct rfaas_lease_request *request)
{
    if (request->workers == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for no workers");
    if (request->min_workers > request->workers)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for %u workers, but at least %u",
                          request->workers, request->min_workers);
    if (request->cores_per_worker == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "asked for workers without a core");
    if (request->wait > RFAAS_LEASE_TIME_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "a request waits at most 146 years, not %" PRIu64 " ns",
                          request->wait);
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
        HASH_ADD(hh, leases->table, id, sizeof lease->id, lease);
    }
    if (!lease || !lease->hh.tbl) {
        free(lease);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a lease");
    }
    DL_APPEND2(leases->queue, lease, queue_prev, queue_next);
    lease->wait_over = now + request->wait;
    timer_set(leases, lease, wait_until(leases, lease, now));
    return RFAAS_OK;
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

int rfaas_leases_renew(struct rfaas_leases *leases, uint64_t owner, uint64_t id,
                       uint64_t duration, uint64_t now)
{
    static const int over[] = {[RFAAS_LEASE_RELEASED] = RFAAS_ERR_LEASE_RELEASED,
                               [RFAAS_LEASE_EXPIRED] = RFAAS_ERR_LEASE_EXPIRED,
                               [RFAAS_LEASE_REVOKED] = RFAAS_ERR_LEASE_REVOKED,
                               [RFAAS_LEASE_CLIENT_LOST] = RFAAS_ERR_LEASE_REVOKED};
    rfaas_leases_advance(leases, now);
    struct lease *lease = find(leases, id);
    if (!lease && ever_was(leases, id)) /* why, was told when it ended */
        return rfaas_fail(RFAAS_ERR_LEASE_RELEASED, "lease %" PRIu64 " is over", id);
    if (!lease || lease->request.owner != owner ||
        lease->state == RFAAS_LEASE_REQUESTED)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "lease %" PRIu64 " is not the client's",
                          id);
    if (lease->state == RFAAS_LEASE_ENDING)
        return rfaas_fail(over[lease->reason], "lease %" PRIu64 " has ended", id);
    int status = check_duration(duration);
    if (status == RFAAS_OK)
        timer_set(leases, lease, now + duration);
    return status;
}

int rfaas_leases_release(struct rfaas_leases *leases, uint64_t owner, uint64_t id,
                         uint64_t now)
{
    rfaas_leases_advance(leases, now);
    struct lease *lease = find(leases, id);
    if (!lease && ever_was(leases, id))
        return RFAAS_OK;
    if (!lease || lease->request.owner != owner)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "lease %" PRIu64 " is not the client's",
                          id);
    if (lease->state == RFAAS_LEASE_ACTIVE) {
        end(leases, lease, RFAAS_LEASE_RELEASED);
    } else if (lease->state == RFAAS_LEASE_REQUESTED) {
        refuse(leases, lease, RFAAS_ERR_CANCELLED, "released before it was granted");
        queue_move(leases, now);
    }
    return RFAAS_OK;
}

void rfaas_leases_withdraw(struct rfaas_leases *leases, uint64_t owner, uint64_t call,
                           uint64_t now)
{
    struct lease *lease, *next;
    DL_FOREACH_SAFE2(leases->queue, lease, next, queue_next)
    if (lease->request.owner == owner && lease->request.call == call)
        refuse(leases, lease, RFAAS_ERR_CANCELLED, "released before it was granted");
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
            refuse(leases, lease, RFAAS_ERR_CANCELLED, "the client has gone");
        else if (lease->state == RFAAS_LEASE_ACTIVE)
            end(leases, lease, RFAAS_LEASE_CLIENT_LOST);
    }
    queue_move(leases, now);
    rfaas_leases_advance(leases, now); /* not before: nothing may be granted to it */
}

void rfaas_leases_stop(struct rfaas_leases *leases)
{
    for (struct lease *lease = leases->table, *next; lease; lease = next) {
        next = lease->hh.next;
        if (lease->state == RFAAS_LEASE_REQUESTED)
            refuse(leases, lease, RFAAS_ERR_MANAGER, "the manager stops");
        else if (lease->state == RFAAS_LEASE_ACTIVE)
            end(leases, lease, RFAAS_LEASE_REVOKED);
    }
}

/* ---- time ---------------------------------------------------------------------- */

void rfaas_leases_advance(struct rfaas_leases *leases, uint64_t now)
{
    char why[RFAAS_SHORTAGE_TEXT];
    while (leases->timers && leases->timers->deadline <= now) {
        struct lease *due = leases->timers;
        if (due->state == RFAAS_LEASE_ACTIVE) {
            end(leases, due, RFAAS_LEASE_EXPIRED);
            continue;
        }
        rfaas_executors_shortage(leases->executors, &due->request, why);
        refuse(leases, due, RFAAS_ERR_NO_RESOURCES, why);
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
    const struct lease *lease = find(leases, id);
    return lease ? lease->state : RFAAS_LEASE_OVER;
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
