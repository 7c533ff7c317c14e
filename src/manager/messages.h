/* The manager's peers, and what it tells them: each message is built here.
 * Belongs to the manager's thread. */
#ifndef RFAAS_MANAGER_MESSAGES_H
#define RFAAS_MANAGER_MESSAGES_H

#include "control/connection.h"
#include "manager/leases.h"
#include <stdbool.h>

#define HASH_NONFATAL_OOM 1 /* a table that can't grow must not end the process */
#include <uthash.h>

struct rfaas_manager;

/* A client or an executor. Its number names it as owner of leases, or as executor. */
struct rfaas_peer {
    uint32_t number; /* never used again */
    Rfaas__Role role;
    bool joined; /* executor: has registered */
    char name[96];
    struct rfaas_connection *connection; /* its arg is the peer */
    struct rfaas_manager *manager;
    UT_hash_handle hh;
};

struct rfaas_peers {
    struct rfaas_peer *table;
    uint32_t last_number;
    /* Room to tell a grant with a part on each executor: made when it registers, so
     * that what is granted can always be told. */
    Rfaas__LeasePart *parts;
    Rfaas__LeasePart **part_list;
    size_t part_room;
};

/* A peer without a connection yet. `role` must be client or executor. */
int rfaas_peer_new(struct rfaas_peers *peers, struct rfaas_manager *manager,
                   Rfaas__Role role, const char *name, struct rfaas_peer **peer);

/* Closes the peer's connection and forgets the peer. */
void rfaas_peer_free(struct rfaas_peers *peers, struct rfaas_peer *peer);

/* All of them. */
void rfaas_peers_free(struct rfaas_peers *peers);

/* Makes room for one executor more in grants. */
int rfaas_peers_reserve_part(struct rfaas_peers *peers);

/* What the leases have to tell goes to the peers as messages; arg: the rfaas_peers. */
extern const struct rfaas_leases_calls rfaas_leases_messages;

/* Answers. */
void rfaas_send_refused(struct rfaas_peer *peer, const char *reason);
void rfaas_send_registered(struct rfaas_peer *peer, uint64_t call);
void rfaas_send_drained(struct rfaas_peer *peer, uint64_t call);
void rfaas_send_stats(struct rfaas_peer *peer, uint64_t call,
                      const struct rfaas_leases_stats *stats);
void rfaas_send_renewed(struct rfaas_peer *peer, uint64_t call, uint64_t lease,
                        int status);
void rfaas_send_released(struct rfaas_peer *peer, uint64_t call, uint64_t lease);

#endif
