/* The executors, and what of their cores and memory is taken: the book that leases.c
 * keeps. It decides who gets a lease (placement), not when. */
#ifndef RFAAS_MANAGER_EXECUTORS_H
#define RFAAS_MANAGER_EXECUTORS_H

#include "manager/leases.h"
#include <stdbool.h>

#define HASH_NONFATAL_OOM 1 /* a table that can't grow must not end the process */
#include <uthash.h>

struct rfaas_executor {
    struct rfaas_executor_offer offer; /* its texts are the executor's own */
    uint32_t cores_free;
    uint64_t memory_free;
    bool draining; /* takes nothing more */
    struct rfaas_part *parts;
    UT_hash_handle hh; /* in the order of joining */
};

/* Workers `first`... of a lease on one executor, on the lists of both. Cores and memory
 * are taken as long as the workers are counted here: nothing can be credited twice, or
 * forgotten. */
struct rfaas_part {
    uint64_t id;
    void *lease; /* whose; for leases.c */
    struct rfaas_executor *executor;
    uint32_t first;
    uint32_t workers; /* whose cores are taken */
    uint32_t kept;    /* of them, the first ones; the others are to end */
    uint32_t cores_per_worker;
    uint64_t memory_per_worker;
    struct rfaas_part *prev, *next;                   /* of the lease */
    struct rfaas_part *executor_prev, *executor_next; /* of the executor */
};

/* Adds an executor to the table. RFAAS_ERR_ARGUMENT: no cores, or id known. */
int rfaas_executor_join(struct rfaas_executor **executors,
                        const struct rfaas_executor_offer *offer);

/* Takes it out again; it must have no part left. */
void rfaas_executor_leave(struct rfaas_executor **executors,
                          struct rfaas_executor *executor);

struct rfaas_executor *rfaas_executor_find(struct rfaas_executor *executors,
                                           uint32_t id);

/* How many workers of the size that is asked for there is room for. */
struct rfaas_room {
    uint64_t now;      /* free */
    uint64_t by_cores; /* free, if memory didn't count */
    uint64_t all;      /* if nothing were taken */
};
struct rfaas_room rfaas_executors_room(const struct rfaas_executor *executors,
                                       const struct rfaas_lease_request *request);

/* Says why a request (its min_workers set) isn't met: what was asked for; what is free
 * and what exists, in workers of that size; what else stands in the way. */
enum { RFAAS_SHORTAGE_TEXT = 320 };
void rfaas_executors_shortage(const struct rfaas_executor *executors,
                              const struct rfaas_lease_request *request,
                              char text[RFAAS_SHORTAGE_TEXT]);

/* Takes room for `workers`, at most rfaas_room.now, numbered from `first`: appends to
 * `parts`, which get their ids from *last_id. All or nothing; RFAAS_ERR_NO_MEMORY. */
int rfaas_parts_take(struct rfaas_executor *executors,
                     const struct rfaas_lease_request *request, uint32_t first,
                     uint32_t workers, void *lease, uint64_t *last_id,
                     struct rfaas_part **parts);

/* Gives the room of all but its first `left` workers back; without any it is freed. */
void rfaas_part_credit(struct rfaas_part **parts, struct rfaas_part *part,
                       uint32_t left);

#endif
