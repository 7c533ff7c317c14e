/* The transitions of the lease state machine (leases.h), for its own files: they tell,
 * but don't let the queue move, so who makes one mustn't forget to. */
#ifndef RFAAS_MANAGER_TRANSITIONS_H
#define RFAAS_MANAGER_TRANSITIONS_H

#include "manager/queue.h"

struct lease *lease_find(const struct rfaas_leases *leases, uint64_t id);
void lease_forget(struct rfaas_leases *leases, struct lease *lease);

/* active -> released, expired, revoked, client lost; over when no part is left. */
void lease_end(struct rfaas_leases *leases, struct lease *lease,
               enum rfaas_lease_end reason);
/* No worker has these numbers any more, or will; the lease ends with its last one. */
void lease_lose(struct rfaas_leases *leases, struct lease *lease, uint32_t first,
                uint32_t workers);
/* Tells the owner what the lease is like now. `list` has room for the parts. */
void lease_tell(struct rfaas_leases *leases, const struct lease *lease, uint64_t call,
                const struct rfaas_part *parts, struct rfaas_lease_part list[]);
/* Whether some of its workers live, be it only to finish, or may get others instead. */
bool lease_has_workers(const struct lease *lease);

/* Of the part's workers only the first are to stay. */
void part_keep(struct rfaas_leases *leases, struct rfaas_part *part, uint32_t keep);
/* The processes of all but its first `left` workers are dead. */
void part_freed(struct rfaas_leases *leases, struct rfaas_part *part, uint32_t left);

/* A wait is over without success. */
void want_refuse(struct rfaas_leases *leases, struct want *want, int status,
                 const char *reason);
/* requested -> active, or an active lease gets workers: so many, for whom there is
 * room. */
void want_grant(struct rfaas_leases *leases, struct want *want, uint32_t workers,
                uint64_t now);

/* Grants what there is room for, in order. */
void queue_move(struct rfaas_leases *leases, uint64_t now);

#endif
