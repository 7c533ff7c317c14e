/* The executors, and what of their cores and memory is taken: the book that leases.c
 * keeps. It decides who gets a lease (placement), not when. */
#ifndef RFAAS_MANAGER_EXECUTORS_H
#define RFAAS_MANAGER_EXECUTORS_H

#include "manager/leases.h"

#define HASH_NONFATAL_OOM 1 /* a table that can't grow must not end the process */
#include <uthash.h>

struct rfaas_executor {
    struct rfaas_executor_offer offer; /* its texts are the executor's own */
    uint32_t cores_free;
    uint64_t memory_free;
    struct rfaas_part *parts;
    UT_hash_handle hh; /* in the order of joining */
};

/* The share of one executor in one lease, on the lists of both. Cores and memory are
 * taken as long as the part exists: nothing can be credited twice, or forgotten. */
struct rfaas_part {
    void *lease; /* whose; for leases.c */
    struct rfaas_executor *executor;
    uint32_t workers;
    uint32_t cores;
    uint64_t memory;
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

/* Takes room for `workers`, at most rfaas_room.now: appends to `parts`. All or
 * nothing; RFAAS_ERR_NO_MEMORY. */
int rfaas_parts_take(struct rfaas_executor *executors,
                     const struct rfaas_lease_request *request, uint32_t workers,
                     void *lease, struct rfaas_part **parts);

/* Gives the room of one part back and frees it. */
void rfaas_part_credit(struct rfaas_part **parts, struct rfaas_part *part);

#endif
