#include "manager/messages.h"
#include "base/error.h"
#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* LeaseEnded and LeaseWithdraw carry the state machine's reasons as they are. */
static_assert((int)RFAAS_LEASE_RELEASED == RFAAS__LEASE_END__LEASE_END_RELEASED &&
                  (int)RFAAS_LEASE_EXPIRED == RFAAS__LEASE_END__LEASE_END_EXPIRED &&
                  (int)RFAAS_LEASE_REVOKED == RFAAS__LEASE_END__LEASE_END_REVOKED &&
                  (int)RFAAS_LEASE_CLIENT_LOST ==
                      RFAAS__LEASE_END__LEASE_END_CLIENT_LOST,
              "enum rfaas_lease_end differs from LeaseEnd in rfaas.proto");

static const char *const reasons[] = {
    [RFAAS_LEASE_RELEASED] = "released",
    [RFAAS_LEASE_EXPIRED] = "expired",
    [RFAAS_LEASE_REVOKED] = "revoked",
    [RFAAS_LEASE_CLIENT_LOST] = "its client has gone",
};

/* ---- peers --------------------------------------------------------------------- */

static struct rfaas_peer *find(const struct rfaas_peers *peers, uint64_t number)
{
    uint32_t key = (uint32_t)number; /* owners and executors are numbers of peers */
    struct rfaas_peer *peer;
    HASH_FIND(hh, peers->table, &key, sizeof key, peer);
    return peer;
}

int rfaas_peer_new(struct rfaas_peers *peers, struct rfaas_manager *manager,
                   Rfaas__Role role, const char *name, struct rfaas_peer **peer)
{
    if (role != RFAAS__ROLE__ROLE_CLIENT && role != RFAAS__ROLE__ROLE_EXECUTOR)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "a manager has no peers of role %d",
                          (int)role);
    if (peers->last_number == UINT32_MAX)
        return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "the manager is out of numbers");
    struct rfaas_peer *made = calloc(1, sizeof *made); /* freed by rfaas_peer_free */
    if (!made)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a peer");
    made->number = ++peers->last_number;
    made->role = role;
    made->manager = manager;
    snprintf(made->name, sizeof made->name, "%s %u (%s)",
             role == RFAAS__ROLE__ROLE_CLIENT ? "client" : "executor", made->number,
             name);
    HASH_ADD(hh, peers->table, number, sizeof made->number, made);
    if (!made->hh.tbl) {
        free(made);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for a peer");
    }
    *peer = made;
    return RFAAS_OK;
}

void rfaas_peer_free(struct rfaas_peers *peers, struct rfaas_peer *peer)
{
    HASH_DEL(peers->table, peer);
    rfaas_connection_free(peer->connection);
    free(peer);
}

void rfaas_peers_free(struct rfaas_peers *peers)
{
    while (peers->table)
        rfaas_peer_free(peers, peers->table);
    free(peers->parts);
    free(peers->part_list);
}

int rfaas_peers_reserve_part(struct rfaas_peers *peers)
{
    if (HASH_COUNT(peers->table) <= peers->part_room)
        return RFAAS_OK;
    size_t room = 2 * HASH_COUNT(peers->table);
    Rfaas__LeasePart *parts = realloc(peers->parts, room * sizeof *parts);
    if (parts)
        peers->parts = parts;
    Rfaas__LeasePart **list = realloc(peers->part_list, room * sizeof *list);
    if (list)
        peers->part_list = list;
    if (!parts || !list)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "no memory for one executor more");
    peers->part_room = room;
    return RFAAS_OK;
}

/* ---- answers ------------------------------------------------------------------- */

static void post(struct rfaas_peer *peer, const Rfaas__Message *message)
{
    rfaas_connection_send(peer->connection, message, NULL, 0);
}

void rfaas_send_refused(struct rfaas_peer *peer, const char *reason)
{
    Rfaas__Refused refused = RFAAS__REFUSED__INIT;
    refused.reason = (char *)reason;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_REFUSED;
    message.refused = &refused;
    post(peer, &message);
}

void rfaas_send_registered(struct rfaas_peer *peer, uint64_t call)
{
    Rfaas__ExecutorRegistered registered = RFAAS__EXECUTOR_REGISTERED__INIT;
    registered.executor = peer->number;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_EXECUTOR_REGISTERED;
    message.executor_registered = &registered;
    post(peer, &message);
}

void rfaas_send_renewed(struct rfaas_peer *peer, uint64_t call, uint64_t lease,
                        int status)
{
    Rfaas__LeaseRenewed renewed = RFAAS__LEASE_RENEWED__INIT;
    renewed.lease = lease;
    renewed.status = status;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_RENEWED;
    message.lease_renewed = &renewed;
    post(peer, &message);
}

void rfaas_send_drained(struct rfaas_peer *peer, uint64_t call)
{
    Rfaas__ExecutorDrained drained = RFAAS__EXECUTOR_DRAINED__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_EXECUTOR_DRAINED;
    message.executor_drained = &drained;
    post(peer, &message);
}

void rfaas_send_stats(struct rfaas_peer *peer, uint64_t call,
                      const struct rfaas_leases_stats *stats)
{
    Rfaas__StatsReport report = RFAAS__STATS_REPORT__INIT;
    report.executors = stats->executors;
    report.cores = stats->cores;
    report.leased = stats->leased;
    report.queued = stats->queued;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_STATS_REPORT;
    message.stats_report = &report;
    post(peer, &message);
}

static void send_ended(struct rfaas_peer *peer, uint64_t call, uint64_t lease,
                       enum rfaas_lease_end reason)
{
    Rfaas__LeaseEnded ended = RFAAS__LEASE_ENDED__INIT;
    ended.lease = lease;
    ended.reason = (Rfaas__LeaseEnd)reason;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_ENDED;
    message.lease_ended = &ended;
    post(peer, &message);
}

void rfaas_send_released(struct rfaas_peer *peer, uint64_t call, uint64_t lease)
{
    send_ended(peer, call, lease, RFAAS_LEASE_RELEASED);
}

/* ---- what the leases tell ------------------------------------------------------ */

static void tell_assign(const struct rfaas_lease_grant *grant,
                        const struct rfaas_lease_part *part, void *arg)
{
    struct rfaas_peer *peer = find(arg, part->executor);
    if (!peer)
        return;
    Rfaas__LeaseAssign assign = RFAAS__LEASE_ASSIGN__INIT;
    assign.lease = grant->lease;
    assign.part = part->part;
    assign.token = grant->request->token;
    assign.workers = part->workers;
    assign.cores_per_worker = grant->request->cores_per_worker;
    assign.memory_per_worker = grant->request->memory_per_worker;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_ASSIGN;
    message.lease_assign = &assign;
    rfaas_info("lease %" PRIu64 ": %u workers on %s, %s", grant->lease, part->workers,
               part->place.node, peer->name);
    post(peer, &message);
}

static void tell_retire(uint32_t executor, uint64_t part, uint32_t keep, void *arg)
{
    struct rfaas_peer *peer = find(arg, executor);
    if (!peer)
        return;
    Rfaas__LeaseRetire retire = RFAAS__LEASE_RETIRE__INIT;
    retire.part = part;
    retire.keep = keep;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_RETIRE;
    message.lease_retire = &retire;
    post(peer, &message);
}

static void tell_withdraw(uint32_t executor, uint64_t lease, uint64_t part,
                          enum rfaas_lease_end reason, void *arg)
{
    struct rfaas_peer *peer = find(arg, executor);
    if (!peer)
        return;
    Rfaas__LeaseWithdraw withdraw = RFAAS__LEASE_WITHDRAW__INIT;
    withdraw.lease = lease;
    withdraw.part = part;
    withdraw.reason = (Rfaas__LeaseEnd)reason;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_WITHDRAW;
    message.lease_withdraw = &withdraw;
    post(peer, &message);
}

static void tell_granted(const struct rfaas_lease_grant *grant, void *arg)
{
    struct rfaas_peers *peers = arg;
    struct rfaas_peer *peer = find(peers, grant->request->owner);
    if (!peer)
        return;
    for (size_t i = 0; i < grant->part_count; i++) {
        const struct rfaas_lease_part *from = &grant->parts[i];
        Rfaas__LeasePart *part = peers->part_list[i] = &peers->parts[i];
        rfaas__lease_part__init(part);
        part->part = from->part;
        part->first = from->first;
        part->executor = from->executor;
        part->workers = from->workers;
        part->address = (char *)from->place.address;
        part->network_address = (char *)from->place.network_address;
        part->node = (char *)from->place.node;
        part->boot_id = (char *)from->place.boot_id;
    }
    Rfaas__LeaseGrant granted = RFAAS__LEASE_GRANT__INIT;
    granted.lease = grant->lease;
    granted.token = grant->request->token;
    granted.duration_ns = grant->request->duration;
    granted.workers = grant->workers;
    granted.n_parts = grant->part_count;
    granted.parts = peers->part_list;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = grant->call;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_GRANT;
    message.lease_grant = &granted;
    rfaas_info("lease %" PRIu64 " of %s: %u workers, news of %zu executors",
               grant->lease, peer->name, grant->workers, grant->part_count);
    post(peer, &message);
}

static void tell_refused(uint64_t owner, uint64_t call, int status, const char *reason,
                         void *arg)
{
    struct rfaas_peer *peer = find(arg, owner);
    if (!peer)
        return;
    Rfaas__LeaseRefused refused = RFAAS__LEASE_REFUSED__INIT;
    refused.status = status;
    refused.reason = (char *)reason;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_REFUSED;
    message.lease_refused = &refused;
    rfaas_info("%s: no lease: %s", peer->name, reason);
    post(peer, &message);
}

static void tell_part_lost(uint64_t owner, uint64_t lease, uint32_t first,
                           uint32_t workers, void *arg)
{
    rfaas_info("lease %" PRIu64 ": %u workers from %u on are lost", lease, workers,
               first);
    struct rfaas_peer *peer = find(arg, owner);
    if (!peer)
        return;
    Rfaas__LeasePartLost lost = RFAAS__LEASE_PART_LOST__INIT;
    lost.lease = lease;
    lost.first = first;
    lost.workers = workers;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_PART_LOST;
    message.lease_part_lost = &lost;
    post(peer, &message);
}

/* A release is answered by rfaas_send_released, every time that it is asked for. */
static void tell_ended(uint64_t owner, uint64_t lease, enum rfaas_lease_end reason,
                       void *arg)
{
    rfaas_info("lease %" PRIu64 " has ended: %s", lease, reasons[reason]);
    struct rfaas_peer *peer = find(arg, owner);
    if (peer && reason != RFAAS_LEASE_RELEASED)
        send_ended(peer, 0, lease, reason);
}

const struct rfaas_leases_calls rfaas_leases_messages = {
    .assign = tell_assign,
    .withdraw = tell_withdraw,
    .retire = tell_retire,
    .granted = tell_granted,
    .refused = tell_refused,
    .part_lost = tell_part_lost,
    .ended = tell_ended,
};
