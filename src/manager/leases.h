/* Executors and leases as a state machine without sockets, threads or a clock: every
 * call gets the time, `now` in nanoseconds, and what follows from it is told through
 * the table of calls.
 *
 *      request
 *         |
 *     requested ---- no room and no wait left, bad ------------> refused
 *         |          request, owner gone, stop                   (told: refused)
 *         | its turn, and room for it
 *         | (told: assign each part, granted)
 *         |
 *      active ------ release by the owner ------> released \
 *       |   ^  `---- deadline <= now -----------> expired   |    (told: withdraw
 *       |   |  `---- stop, no worker left ------> revoked   |     each part, ended)
 *       `---'  `---- owner gone ----------------> lost     /
 *     renew, resize                                 |
 *                                                 ending: its cores are still taken
 *                                                   |
 *                                                   | each part freed by its
 *                                                   | executor, or executor gone
 *                                                   v
 *                                                 over: forgotten
 *
 * The workers of a lease are numbered from 0. A part is some neighbouring numbers on
 * one executor; it takes cores until its executor says that their processes are dead,
 * or is gone, and is credited then, once. Workers that an executor so takes along are
 * lost (told: part_lost), and their numbers stay empty.
 *
 * A lease that is to shrink retires the workers with the highest numbers (told: retire
 * their parts, granted), which end when they have finished. An executor that is to be
 * drained retires all of its own: their numbers are to get other workers, elsewhere,
 * and are lost only if there are no cores for them within the time that the lease was
 * ready to wait for its first.
 *
 * Who wants workers waits in one queue: requests for leases and for growth, and before
 * them the numbers of leases that have to move. Nobody overtakes: while the first
 * doesn't fit, those behind it wait too, or else a large request would starve behind
 * small ones.
 *
 * Every request is told exactly one of granted and refused, every granted lease exactly
 * one ended. Numbers of leases and parts are never used again. */
#ifndef RFAAS_MANAGER_LEASES_H
#define RFAAS_MANAGER_LEASES_H

#include "rfaas.h"
#include <stddef.h>
#include <stdint.h>

enum {
    /* Leases and waiting requests together: bounds what clients can make us keep. */
    RFAAS_LEASES_MAX = 65536,
};

/* Longest duration or wait, 146 years: added to any time of a monotonic clock it
 * doesn't overflow. */
#define RFAAS_LEASE_TIME_MAX (UINT64_C(1) << 62)

/* No deadline. */
#define RFAAS_LEASES_NEVER UINT64_MAX

enum rfaas_lease_state {
    RFAAS_LEASE_OVER, /* or never was */
    RFAAS_LEASE_REQUESTED,
    RFAAS_LEASE_ACTIVE,
    RFAAS_LEASE_ENDING,
};

/* The numbers are those of LeaseEnd in rfaas.proto. */
enum rfaas_lease_end {
    RFAAS_LEASE_RELEASED = 1,
    RFAAS_LEASE_EXPIRED = 2,
    RFAAS_LEASE_REVOKED = 3,
    RFAAS_LEASE_CLIENT_LOST = 4,
};

/* Where an executor is, as it says itself. */
struct rfaas_executor_place {
    const char *address, *network_address; /* for its node, and for others or "" */
    const char *node, *boot_id;
};

/* What an executor offers. `id` is chosen by the caller and not used again. */
struct rfaas_executor_offer {
    uint32_t id;
    uint32_t cores;
    uint64_t memory;                   /* bytes */
    struct rfaas_executor_place place; /* its texts are copied */
};

struct rfaas_lease_request {
    uint64_t owner;             /* chosen by the caller, not used again for another */
    uint64_t call;              /* the owner's name for the request */
    uint64_t token;             /* random; who shows it may open the lease */
    uint32_t workers;           /* > 0 */
    uint32_t min_workers;       /* <= workers; 0: all */
    uint32_t cores_per_worker;  /* > 0 */
    uint64_t memory_per_worker; /* bytes */
    uint64_t duration;          /* ns, 1..RFAAS_LEASE_TIME_MAX */
    uint64_t wait;              /* ns, 0..RFAAS_LEASE_TIME_MAX */
};

/* Workers `first`... of a lease, on one executor. */
struct rfaas_lease_part {
    uint64_t part;
    uint32_t executor;
    uint32_t first, workers;
    struct rfaas_executor_place place;
};

/* What a lease has got. */
struct rfaas_lease_grant {
    uint64_t lease;
    const struct rfaas_lease_request *request; /* for the lease */
    uint64_t call;    /* the owner's that is answered; 0: nobody asked */
    uint32_t workers; /* that the lease has now */
    const struct rfaas_lease_part *parts; /* that are new */
    size_t part_count;
};

/* How a lease is to be. */
struct rfaas_lease_change {
    uint64_t lease;
    uint64_t call;        /* the owner's name for it, other than 0 */
    uint32_t workers;     /* > 0 */
    uint32_t min_workers; /* <= workers; 0: all */
    uint64_t wait;        /* ns, 0..RFAAS_LEASE_TIME_MAX */
};

/* What there is, without executors that are being drained. */
struct rfaas_leases_stats {
    uint32_t executors;
    uint64_t cores, leased; /* of them; leased: until their processes are dead */
    uint32_t queued;        /* who wait for workers */
};

/* What the caller has to tell whom. Pointers are valid during the call. The calls
 * come while the tables are being walked: they must not call rfaas_leases_*. */
struct rfaas_leases_calls {
    /* To executor: `part` of the grant is its. Comes before `granted`, so that it
     * knows of the lease when the client comes. */
    void (*assign)(const struct rfaas_lease_grant *grant,
                   const struct rfaas_lease_part *part, void *arg);
    /* To executor: kill the part's processes, then say so (rfaas_leases_freed). */
    void (*withdraw)(uint32_t executor, uint64_t lease, uint64_t part,
                     enum rfaas_lease_end reason, void *arg);
    /* To executor: of this part keep the first `keep` workers; the others are to end
     * when they have finished. Then say so (rfaas_leases_freed). */
    void (*retire)(uint32_t executor, uint64_t part, uint32_t keep, void *arg);
    /* To owner: it has got a lease, or the lease has another size, or some of its
     * workers are on another executor now. */
    void (*granted)(const struct rfaas_lease_grant *grant, void *arg);
    void (*refused)(uint64_t owner, uint64_t call, int status, const char *reason,
                    void *arg);
    /* To owner: these numbers have no worker, and won't get one. */
    void (*part_lost)(uint64_t owner, uint64_t lease, uint32_t first, uint32_t workers,
                      void *arg);
    void (*ended)(uint64_t owner, uint64_t lease, enum rfaas_lease_end reason,
                  void *arg);
};

struct rfaas_leases;

/* `calls` must outlive the leases. */
int rfaas_leases_new(const struct rfaas_leases_calls *calls, void *arg,
                     struct rfaas_leases **leases);
void rfaas_leases_free(struct rfaas_leases *leases); /* tells nobody; NULL is ignored */

/* An executor joins: the queue moves. RFAAS_ERR_ARGUMENT: no cores, or the id has
 * joined already. */
int rfaas_leases_join(struct rfaas_leases *leases,
                      const struct rfaas_executor_offer *offer, uint64_t now);

/* The executor and its processes are gone. Unknown ids are ignored. */
void rfaas_leases_leave(struct rfaas_leases *leases, uint32_t executor, uint64_t now);

/* The executor takes nothing more, and has told its workers to end when they have
 * finished. It leaves when they have. Unknown ids are ignored. */
void rfaas_leases_drain(struct rfaas_leases *leases, uint32_t executor, uint64_t now);

/* On the executor no processes run any more but those of the part's first `left`
 * workers: the others are credited. Said again it means nothing. RFAAS_ERR_ARGUMENT:
 * such an executor or part never was. */
int rfaas_leases_freed(struct rfaas_leases *leases, uint32_t executor, uint64_t part,
                       uint32_t left, uint64_t now);

/* Asks for a lease: at once if at least min_workers fit (then as many as fit, up to
 * `workers`), else it waits its turn, at most `wait`; but while cores of ended leases
 * are being given back, for these, at most 2 s. Returns the lease's number.
 * Refusals: RFAAS_ERR_ARGUMENT, RFAAS_ERR_NO_RESOURCES, RFAAS_ERR_NO_MEMORY;
 * RFAAS_ERR_CANCELLED (owner gone or released); RFAAS_ERR_MANAGER (stop). */
uint64_t rfaas_leases_request(struct rfaas_leases *leases,
                              const struct rfaas_lease_request *request, uint64_t now);

/* Makes an active lease end at now + duration. RFAAS_ERR_ARGUMENT: bad duration, or
 * not a granted lease of this owner; RFAAS_ERR_LEASE_…: it is over. */
int rfaas_leases_renew(struct rfaas_leases *leases, uint64_t owner, uint64_t lease,
                       uint64_t duration, uint64_t now);

/* Makes a lease larger or smaller. Smaller it is at once. What it is to grow by waits
 * its turn as a request does, at most `wait`; then it grows to at least min_workers, or
 * stays as it is. Told: granted, or refused with RFAAS_ERR_ARGUMENT (also while it still
 * grows), RFAAS_ERR_LEASE_…, RFAAS_ERR_NO_RESOURCES, RFAAS_ERR_NO_MEMORY,
 * RFAAS_ERR_CANCELLED (it has ended meanwhile). */
void rfaas_leases_resize(struct rfaas_leases *leases, uint64_t owner,
                         const struct rfaas_lease_change *change, uint64_t now);

/* Ends a lease, or takes a waiting request back. RFAAS_OK also when it was over
 * already; RFAAS_ERR_ARGUMENT: another's, or never was. */
int rfaas_leases_release(struct rfaas_leases *leases, uint64_t owner, uint64_t lease,
                         uint64_t now);

/* Takes the owner's request of this name back, if it still waits (refused:
 * RFAAS_ERR_CANCELLED). */
void rfaas_leases_withdraw(struct rfaas_leases *leases, uint64_t owner, uint64_t call,
                           uint64_t now);

/* All leases and requests of the owner end. */
void rfaas_leases_owner_gone(struct rfaas_leases *leases, uint64_t owner, uint64_t now);

/* The manager stops: all leases are revoked, all who wait are refused. */
void rfaas_leases_stop(struct rfaas_leases *leases);

/* Ends what is due. Every call above that gets `now` does it too, so that nothing is
 * granted or renewed because a timer came late. */
void rfaas_leases_advance(struct rfaas_leases *leases, uint64_t now);

/* When to call rfaas_leases_advance next; RFAAS_LEASES_NEVER. */
uint64_t rfaas_leases_next_deadline(const struct rfaas_leases *leases);

/* Where a lease stands. */
enum rfaas_lease_state rfaas_leases_state(const struct rfaas_leases *leases,
                                          uint64_t lease);

/* What there is and how much of it is taken. */
struct rfaas_leases_stats rfaas_leases_stats(const struct rfaas_leases *leases);

/* What an executor has left; RFAAS_ERR_ARGUMENT: there is none of this id. */
int rfaas_leases_free_of(const struct rfaas_leases *leases, uint32_t executor,
                         uint32_t *cores, uint64_t *memory);

#endif
