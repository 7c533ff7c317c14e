/* What peers ask of the manager, checked and passed on to the leases. */
#include "manager/requests.h"
#include "base/clock.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "control/address.h"
#include "control/host.h"

#include <inttypes.h>
#include <string.h>

enum { NODE_MAX = 256 };

/* ---- messages of executors ----------------------------------------------------- */

static int check_register(const Rfaas__ExecutorRegister *body)
{
    struct sockaddr_storage address;
    socklen_t length;
    int status = rfaas_address_parse(body->address, &address, &length);
    if (status == RFAAS_OK && body->network_address[0] != '\0')
        status = rfaas_address_parse(body->network_address, &address, &length);
    if (status != RFAAS_OK)
        return status;
    if (rfaas_address_is_tcp(body->address) ||
        !rfaas_address_is_tcp(body->network_address) ||
        strlen(body->network_address) >= RFAAS_ADDRESS_MAX ||
        strlen(body->boot_id) >= RFAAS_BOOT_ID_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "malformed place of an executor");
    if (body->cores == 0 || body->cores > RFAAS_CORES_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "an executor has 1..%d cores, not %u",
                          RFAAS_CORES_MAX, body->cores);
    if (strlen(body->node) >= NODE_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "a node's name of %zu bytes",
                          strlen(body->node));
    return RFAAS_OK;
}

static int on_register(struct rfaas_books *books, struct rfaas_peer *peer,
                       const Rfaas__Message *message)
{
    const Rfaas__ExecutorRegister *body = message->executor_register;
    int status = check_register(body);
    if (status != RFAAS_OK)
        return status;
    if (peer->joined)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "registered already");
    status = rfaas_peers_reserve_part(books->peers);
    if (status != RFAAS_OK)
        return status;
    /* Its leases come after it has learnt who it is. */
    rfaas_send_registered(peer, message->call);
    struct rfaas_executor_offer offer = {
        peer->number,
        body->cores,
        body->memory,
        {body->address, body->network_address, body->node, body->boot_id}};
    status = rfaas_leases_join(books->leases, &offer, rfaas_clock_ns());
    if (status != RFAAS_OK)
        return status;
    peer->joined = true;
    rfaas_info("%s joined: %u cores and %" PRIu64 " bytes on %s at %s %s", peer->name,
               body->cores, body->memory, body->node, body->address,
               body->network_address);
    return RFAAS_OK;
}

static int on_freed(struct rfaas_books *books, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    const Rfaas__LeaseFreed *body = message->lease_freed;
    rfaas_debug("%s: part %" PRIu64 " has %u workers left", peer->name, body->part,
                body->left);
    return rfaas_leases_freed(books->leases, peer->number, body->part, body->left,
                              rfaas_clock_ns());
}

static int on_drain(struct rfaas_books *books, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    rfaas_info("%s is being drained", peer->name);
    rfaas_leases_drain(books->leases, peer->number, rfaas_clock_ns());
    rfaas_send_drained(peer, message->call);
    return RFAAS_OK;
}

/* ---- messages of clients ------------------------------------------------------- */

static int on_request(struct rfaas_books *books, struct rfaas_peer *peer,
                      const Rfaas__Message *message)
{
    const Rfaas__LeaseRequest *body = message->lease_request;
    struct rfaas_lease_request request = {
        .owner = peer->number,
        .call = message->call,
        .workers = body->workers,
        .min_workers = body->min_workers,
        .cores_per_worker = body->cores_per_worker,
        .memory_per_worker = body->memory_per_worker,
        .duration = body->duration_ns,
        .wait = body->wait_ns,
    };
    int status = rfaas_random(&request.token, sizeof request.token);
    if (status == RFAAS_OK)
        rfaas_leases_request(books->leases, &request, rfaas_clock_ns());
    return status;
}

/* Whatever becomes of it is told by the leases. */
static int on_resize(struct rfaas_books *books, struct rfaas_peer *peer,
                     const Rfaas__Message *message)
{
    const Rfaas__LeaseResize *body = message->lease_resize;
    const struct rfaas_lease_change change = {
        .lease = body->lease,
        .call = message->call,
        .workers = body->workers,
        .min_workers = body->min_workers,
        .wait = body->wait_ns,
    };
    if (change.call == 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "a resize that nobody waits for");
    rfaas_leases_resize(books->leases, peer->number, &change, rfaas_clock_ns());
    return RFAAS_OK;
}

static int on_stats(struct rfaas_books *books, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    const struct rfaas_leases_stats stats = rfaas_leases_stats(books->leases);
    rfaas_send_stats(peer, message->call, &stats);
    return RFAAS_OK;
}

static int on_renew(struct rfaas_books *books, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    const Rfaas__LeaseRenew *body = message->lease_renew;
    int status = rfaas_leases_renew(books->leases, peer->number, body->lease,
                                    body->duration_ns, rfaas_clock_ns());
    if (status != RFAAS_OK)
        rfaas_warn("%s: renewal refused: %s", peer->name, rfaas_last_error());
    rfaas_send_renewed(peer, message->call, body->lease, status);
    return RFAAS_OK;
}

static int on_release(struct rfaas_books *books, struct rfaas_peer *peer,
                      const Rfaas__Message *message)
{
    uint64_t lease = message->lease_release->lease;
    if (lease == 0) {
        rfaas_leases_withdraw(books->leases, peer->number, message->call,
                              rfaas_clock_ns());
        return RFAAS_OK;
    }
    int status =
        rfaas_leases_release(books->leases, peer->number, lease, rfaas_clock_ns());
    if (status == RFAAS_OK)
        rfaas_send_released(peer, message->call, lease);
    return status;
}

/* Who may say what. */
static const struct {
    Rfaas__Message__BodyCase body;
    Rfaas__Role role;
    int (*handle)(struct rfaas_books *, struct rfaas_peer *, const Rfaas__Message *);
} handlers[] = {
    {RFAAS__MESSAGE__BODY_LEASE_REQUEST, RFAAS__ROLE__ROLE_CLIENT, on_request},
    {RFAAS__MESSAGE__BODY_LEASE_RESIZE, RFAAS__ROLE__ROLE_CLIENT, on_resize},
    {RFAAS__MESSAGE__BODY_STATS_QUERY, RFAAS__ROLE__ROLE_CLIENT, on_stats},
    {RFAAS__MESSAGE__BODY_LEASE_RENEW, RFAAS__ROLE__ROLE_CLIENT, on_renew},
    {RFAAS__MESSAGE__BODY_LEASE_RELEASE, RFAAS__ROLE__ROLE_CLIENT, on_release},
    {RFAAS__MESSAGE__BODY_EXECUTOR_REGISTER, RFAAS__ROLE__ROLE_EXECUTOR, on_register},
    {RFAAS__MESSAGE__BODY_EXECUTOR_DRAIN, RFAAS__ROLE__ROLE_EXECUTOR, on_drain},
    {RFAAS__MESSAGE__BODY_LEASE_FREED, RFAAS__ROLE__ROLE_EXECUTOR, on_freed},
};

int rfaas_peer_handle(struct rfaas_books *books, struct rfaas_peer *peer,
                      const Rfaas__Message *message)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].body == message->body_case && handlers[i].role == peer->role)
            return handlers[i].handle(books, peer, message);
    }
    return rfaas_fail(RFAAS_ERR_PROTOCOL, "message %d is not for a manager from it",
                      (int)message->body_case);
}
