#include "manager/executors.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

struct rfaas_executor *rfaas_executor_find(struct rfaas_executor *executors,
                                           uint32_t id)
{
    struct rfaas_executor *executor;
    HASH_FIND(hh, executors, &id, sizeof id, executor);
    return executor;
}

static void executor_free(struct rfaas_executor *executor)
{
    const struct rfaas_executor_place *place = &executor->offer.place;
    free((char *)place->address);
    free((char *)place->network_address);
    free((char *)place->node);
    free((char *)place->boot_id);
    free(executor);
}

static bool place_copy(struct rfaas_executor_place *copy,
                       const struct rfaas_executor_place *place)
{
    *copy = (struct rfaas_executor_place){strdup(place->address),
                                          strdup(place->network_address),
                                          strdup(place->node), strdup(place->boot_id)};
    return copy->address && copy->network_address && copy->node && copy->boot_id;
}

int rfaas_executor_join(struct rfaas_executor **executors,
                        const struct rfaas_executor_offer *offer)
{
    if (offer->cores == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "executor %u offers no cores", offer->id);
    if (rfaas_executor_find(*executors, offer->id))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "executor %u has joined already",
                          offer->id);
    struct rfaas_executor *executor = calloc(1, sizeof *executor); /* executor_free */
    if (!executor)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor %u: no memory", offer->id);
    executor->offer = *offer;
    executor->cores_free = offer->cores;
    executor->memory_free = offer->memory;
    if (place_copy(&executor->offer.place, &offer->place))
        HASH_ADD(hh, *executors, offer.id, sizeof executor->offer.id, executor);
    if (!executor->hh.tbl) {
        executor_free(executor);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor %u: no memory", offer->id);
    }
    return RFAAS_OK;
}

void rfaas_executor_leave(struct rfaas_executor **executors,
                          struct rfaas_executor *executor)
{
    HASH_DEL(*executors, executor);
    executor_free(executor);
}

static uint64_t fit(const struct rfaas_lease_request *request, uint32_t cores,
                    uint64_t memory)
{
    uint64_t workers = cores / request->cores_per_worker;
    if (request->memory_per_worker > 0 && workers > memory / request->memory_per_worker)
        workers = memory / request->memory_per_worker;
    return workers;
}

static uint64_t fit_now(const struct rfaas_lease_request *request,
                        const struct rfaas_executor *executor)
{
    if (executor->draining)
        return 0;
    return fit(request, executor->cores_free, executor->memory_free);
}

struct rfaas_room rfaas_executors_room(const struct rfaas_executor *executors,
                                       const struct rfaas_lease_request *request)
{
    struct rfaas_room room = {0};
    for (const struct rfaas_executor *e = executors; e; e = e->hh.next) {
        if (e->draining)
            continue;
        room.now += fit_now(request, e);
        room.by_cores += e->cores_free / request->cores_per_worker;
        room.all += fit(request, e->offer.cores, e->offer.memory);
    }
    return room;
}

void rfaas_executors_shortage(const struct rfaas_executor *executors,
                              const struct rfaas_lease_request *request,
                              char text[RFAAS_SHORTAGE_TEXT])
{
    struct rfaas_room room = rfaas_executors_room(executors, request);
    unsigned count = 0;
    for (const struct rfaas_executor *e = executors; e; e = e->hh.next)
        count += !e->draining;
    uint32_t least = request->min_workers, cores = request->cores_per_worker;
    char why[64] = "", waited[32] = "";
    if (room.now >= least)
        snprintf(why, sizeof why, ", but others wait before it");
    else if (room.by_cores >= least)
        snprintf(why, sizeof why, ", short of memory (%" PRIu64 " bytes each)",
                 request->memory_per_worker);
    if (request->wait > 0)
        snprintf(waited, sizeof waited, "; waited %.3g s", (double)request->wait / 1e9);
    snprintf(text, RFAAS_SHORTAGE_TEXT,
             "asked for %u worker%s (at least %u) of %u core%s; %" PRIu64
             " free of %" PRIu64 " on %u executor%s%s%s",
             request->workers, request->workers == 1 ? "" : "s", least, cores,
             cores == 1 ? "" : "s", room.now, room.all, count, count == 1 ? "" : "s",
             why, waited);
}

/* Placement: as few executors as possible, for each one more costs the client another
 * connection and its memory and functions once more. So: the smallest gap that takes
 * all the `rest`, which keeps larger gaps whole for those who need them; if there is
 * none, the largest gap. Among equals the one that joined first: late joiners stay
 * empty and can leave again at no cost. */
static struct rfaas_executor *place(struct rfaas_executor *executors,
                                    const struct rfaas_lease_request *request,
                                    uint32_t rest)
{
    struct rfaas_executor *best = NULL;
    uint64_t best_fit = 0;
    for (struct rfaas_executor *e = executors; e; e = e->hh.next) {
        uint64_t e_fit = fit_now(request, e);
        bool better =
            best_fit < rest ? e_fit > best_fit : e_fit >= rest && e_fit < best_fit;
        if (better) {
            best = e;
            best_fit = e_fit;
        }
    }
    return best;
}

static void part_fill(struct rfaas_part *part, struct rfaas_executor *executor,
                      const struct rfaas_lease_request *request, uint32_t first,
                      uint32_t workers)
{
    part->executor = executor;
    part->first = first;
    part->workers = part->kept = workers;
    part->cores_per_worker = request->cores_per_worker;
    part->memory_per_worker = request->memory_per_worker;
    executor->cores_free -= workers * part->cores_per_worker;
    executor->memory_free -= workers * part->memory_per_worker;
    DL_APPEND2(executor->parts, part, executor_prev, executor_next);
}

int rfaas_parts_take(struct rfaas_executor *executors,
                     const struct rfaas_lease_request *request, uint32_t first,
                     uint32_t workers, void *lease, uint64_t *last_id,
                     struct rfaas_part **parts)
{
    for (uint32_t rest = workers; rest > 0;) {
        struct rfaas_executor *executor = place(executors, request, rest);
        struct rfaas_part *part = calloc(1, sizeof *part); /* rfaas_part_credit */
        if (!part)
            goto credit;
        uint64_t fits = fit_now(request, executor);
        uint32_t share = fits < rest ? (uint32_t)fits : rest;
        part_fill(part, executor, request, first + workers - rest, share);
        part->id = ++*last_id;
        part->lease = lease;
        DL_APPEND(*parts, part);
        rest -= share;
    }
    return RFAAS_OK;
credit:
    while (*parts)
        rfaas_part_credit(parts, *parts, 0);
    return rfaas_fail(RFAAS_ERR_NO_MEMORY, "lease: no memory for its parts");
}

void rfaas_part_credit(struct rfaas_part **parts, struct rfaas_part *part,
                       uint32_t left)
{
    struct rfaas_executor *executor = part->executor;
    uint32_t workers = part->workers - left;
    executor->cores_free += workers * part->cores_per_worker;
    executor->memory_free += workers * part->memory_per_worker;
    part->workers = left;
    if (left > 0)
        return;
    DL_DELETE(*parts, part);
    DL_DELETE2(executor->parts, part, executor_prev, executor_next);
    free(part);
}
