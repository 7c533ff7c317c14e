/* What the lease state machine (leases.h) is made of: leases, those who wait for workers,
 * and deadlines. For leases.c alone. */
#ifndef RFAAS_MANAGER_QUEUE_H
#define RFAAS_MANAGER_QUEUE_H

#include "manager/executors.h"

/* A deadline, of a lease or of who waits. */
struct timer {
    uint64_t deadline;
    struct lease *lease; /* whose; NULL: `want` */
    struct want *want;
    struct timer *prev, *next; /* NULL: not set */
};

enum want_kind {
    WANT_LEASE,
    WANT_GROWTH,
    WANT_MOVE, /* other workers for numbers whose executor is being drained */
};

/* Workers that a lease waits for. */
struct want {
    enum want_kind kind;
    struct lease *lease;
    uint64_t call;  /* of the owner that is to be answered */
    uint32_t first; /* the number of the first worker */
    uint32_t workers, least;
    uint64_t wait;      /* as asked for, ns */
    uint64_t wait_over; /* the end of that; the timer's may be later */
    struct timer timer;
    struct want *prev, *next;             /* in the queue */
    struct want *lease_prev, *lease_next; /* of the lease */
};

struct lease {
    uint64_t id;
    struct rfaas_lease_request request;
    enum rfaas_lease_state state;
    enum rfaas_lease_end reason; /* ending */
    uint32_t workers;            /* active: how many numbers it has */
    struct timer timer;          /* active */
    struct rfaas_part *parts;    /* active, ending */
    struct want *wants;
    UT_hash_handle hh;
};

struct rfaas_leases {
    const struct rfaas_leases_calls *calls;
    void *arg;
    struct rfaas_executor *executors;
    struct lease *table;
    struct want *queue;
    struct timer *timers; /* ascending deadlines */
    unsigned returning;   /* parts with workers that are to end */
    uint64_t last_id, last_part;
};

void timer_set(struct rfaas_leases *leases, struct timer *timer, uint64_t deadline);
void timer_clear(struct rfaas_leases *leases, struct timer *timer);

/* One who waits from now on, last in the queue, or before all others (WANT_MOVE).
 * `want` is copied; the queue and the timers it is put in by this. NULL: no memory. */
struct want *want_add(struct rfaas_leases *leases, const struct want *want,
                      uint64_t now);
/* Forgets it. */
void want_drop(struct rfaas_leases *leases, struct want *want);
/* What it wants, as a request: for placement and for texts. */
struct rfaas_lease_request want_request(const struct want *want);
/* Nothing is coming back any more for which requests wait longer than they asked. */
void wants_end_grace(struct rfaas_leases *leases);

#endif
