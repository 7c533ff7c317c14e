#include "manager/server.h"
#include "base/clock.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "control/address.h"
#include "control/connection.h"
#include "manager/messages.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    /* No message to a manager is longer: names, an address and some numbers. */
    MESSAGE_MAX = 4096,
    NODE_MAX = 256,
};

struct rfaas_manager {
    char address[RFAAS_ADDRESS_MAX];
    struct rfaas_key key;
    int key_fd; /* the key file that is offered */
    char key_file[64];

    pthread_t thread;
    int stop_fd; /* readable when the thread is to end */

    /* The thread's own, once it runs. */
    struct event_base *base;
    struct event *stop, *timer;
    struct rfaas_listener *listener;
    struct rfaas_peers peers;
    struct rfaas_leases *leases;
};

/* ---- peers --------------------------------------------------------------------- */

/* Sets the timer to the next deadline: after whatever may have changed it. */
static void settle(struct rfaas_manager *manager)
{
    uint64_t deadline = rfaas_leases_next_deadline(manager->leases);
    if (deadline == RFAAS_LEASES_NEVER) {
        event_del(manager->timer);
        return;
    }
    uint64_t now = rfaas_clock_ns();
    uint64_t us = deadline > now ? (deadline - now + 999) / 1000 : 0;
    struct timeval wait = {.tv_sec = (time_t)(us / 1000000),
                           .tv_usec = (suseconds_t)(us % 1000000)};
    if (event_add(manager->timer, &wait) != 0)
        rfaas_error("manager: the timer can't be set: leases end late");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_manager *manager = arg;
    rfaas_leases_advance(manager->leases, rfaas_clock_ns());
    settle(manager);
}

/* Forgets a peer and lets its leases, or its parts of leases, end. */
static void drop(struct rfaas_manager *manager, struct rfaas_peer *peer)
{
    uint32_t number = peer->number;
    bool executor = peer->role == RFAAS__ROLE__ROLE_EXECUTOR;
    rfaas_peer_free(&manager->peers, peer); /* first: nothing is told to it any more */
    if (executor)
        rfaas_leases_leave(manager->leases, number, rfaas_clock_ns());
    else
        rfaas_leases_owner_gone(manager->leases, number, rfaas_clock_ns());
    settle(manager);
}

/* Tells the peer what was wrong with its message, and ends its connection. */
static void throw_out(struct rfaas_manager *manager, struct rfaas_peer *peer,
                      const char *reason)
{
    rfaas_warn("%s: %s: connection closed", peer->name, reason);
    rfaas_send_refused(peer, reason);
    drop(manager, peer);
}

/* ---- messages of executors ----------------------------------------------------- */

static int check_register(const Rfaas__ExecutorRegister *body)
{
    struct sockaddr_storage address;
    socklen_t length;
    int status = rfaas_address_parse(body->address, &address, &length);
    if (status != RFAAS_OK)
        return status;
    if (body->cores == 0 || body->cores > RFAAS_CORES_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "an executor has 1..%d cores, not %u",
                          RFAAS_CORES_MAX, body->cores);
    if (strlen(body->node) >= NODE_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "a node's name of %zu bytes",
                          strlen(body->node));
    return RFAAS_OK;
}

static int on_register(struct rfaas_manager *manager, struct rfaas_peer *peer,
                       const Rfaas__Message *message)
{
    const Rfaas__ExecutorRegister *body = message->executor_register;
    int status = check_register(body);
    if (status != RFAAS_OK)
        return status;
    if (peer->joined)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "registered already");
    status = rfaas_peers_reserve_part(&manager->peers);
    if (status != RFAAS_OK)
        return status;
    /* Its leases come after it has learnt who it is. */
    rfaas_send_registered(peer, message->call);
    struct rfaas_executor_offer offer = {peer->number, body->cores, body->memory,
                                         body->address, body->node};
    status = rfaas_leases_join(manager->leases, &offer, rfaas_clock_ns());
    if (status != RFAAS_OK)
        return status;
    peer->joined = true;
    rfaas_info("%s joined: %u cores and %" PRIu64 " bytes on %s at %s", peer->name,
               body->cores, body->memory, body->node, body->address);
    return RFAAS_OK;
}

static int on_freed(struct rfaas_manager *manager, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    uint64_t lease = message->lease_freed->lease;
    rfaas_debug("%s: lease %" PRIu64 " is freed", peer->name, lease);
    return rfaas_leases_freed(manager->leases, peer->number, lease, rfaas_clock_ns());
}

/* ---- messages of clients ------------------------------------------------------- */

static int on_request(struct rfaas_manager *manager, struct rfaas_peer *peer,
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
        rfaas_leases_request(manager->leases, &request, rfaas_clock_ns());
    return status;
}

static int on_renew(struct rfaas_manager *manager, struct rfaas_peer *peer,
                    const Rfaas__Message *message)
{
    const Rfaas__LeaseRenew *body = message->lease_renew;
    int status = rfaas_leases_renew(manager->leases, peer->number, body->lease,
                                    body->duration_ns, rfaas_clock_ns());
    if (status != RFAAS_OK)
        rfaas_warn("%s: renewal refused: %s", peer->name, rfaas_last_error());
    rfaas_send_renewed(peer, message->call, body->lease, status);
    return RFAAS_OK;
}

static int on_release(struct rfaas_manager *manager, struct rfaas_peer *peer,
                      const Rfaas__Message *message)
{
    uint64_t lease = message->lease_release->lease;
    if (lease == 0) {
        rfaas_leases_withdraw(manager->leases, peer->number, message->call,
                              rfaas_clock_ns());
        return RFAAS_OK;
    }
    int status =
        rfaas_leases_release(manager->leases, peer->number, lease, rfaas_clock_ns());
    if (status == RFAAS_OK)
        rfaas_send_released(peer, message->call, lease);
    return status;
}

/* Who may say what. */
static const struct {
    Rfaas__Message__BodyCase body;
    Rfaas__Role role;
    int (*handle)(struct rfaas_manager *, struct rfaas_peer *, const Rfaas__Message *);
} handlers[] = {
    {RFAAS__MESSAGE__BODY_LEASE_REQUEST, RFAAS__ROLE__ROLE_CLIENT, on_request},
    {RFAAS__MESSAGE__BODY_LEASE_RENEW, RFAAS__ROLE__ROLE_CLIENT, on_renew},
    {RFAAS__MESSAGE__BODY_LEASE_RELEASE, RFAAS__ROLE__ROLE_CLIENT, on_release},
    {RFAAS__MESSAGE__BODY_EXECUTOR_REGISTER, RFAAS__ROLE__ROLE_EXECUTOR, on_register},
    {RFAAS__MESSAGE__BODY_LEASE_FREED, RFAAS__ROLE__ROLE_EXECUTOR, on_freed},
};

static int handle(struct rfaas_manager *manager, struct rfaas_peer *peer,
                  const Rfaas__Message *message)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].body == message->body_case && handlers[i].role == peer->role)
            return handlers[i].handle(manager, peer, message);
    }
    return rfaas_fail(RFAAS_ERR_PROTOCOL, "message %d is not for a manager from it",
                      (int)message->body_case);
}

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    (void)connection;
    struct rfaas_peer *peer = arg;
    struct rfaas_manager *manager = peer->manager;
    if (handle(manager, peer, received->message) == RFAAS_OK)
        settle(manager);
    else
        throw_out(manager, peer, rfaas_last_error());
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    (void)connection, (void)status;
    struct rfaas_peer *peer = arg;
    rfaas_info("%s has gone", peer->name);
    drop(peer->manager, peer);
}

static void on_accepted(struct rfaas_stream *stream, Rfaas__Role role, const char *name,
                        void *arg)
{
    static const struct rfaas_connection_calls calls = {on_message, on_closed};
    struct rfaas_manager *manager = arg;
    rfaas_stream_limit(stream, MESSAGE_MAX);
    rfaas_stream_limit_fds(stream, 0);
    struct rfaas_peer *peer;
    int status = rfaas_peer_new(&manager->peers, manager, role, name, &peer);
    if (status == RFAAS_OK) {
        status = rfaas_connection_new(manager->base, stream, peer->name, &calls, peer,
                                      &peer->connection);
        if (status == RFAAS_OK) {
            rfaas_info("%s has come", peer->name);
            return;
        }
        rfaas_peer_free(&manager->peers, peer);
    }
    rfaas_warn("refused %s: %s", name, rfaas_last_error());
    rfaas_stream_free(stream);
}

/* ---- the thread ---------------------------------------------------------------- */

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_manager *manager = arg;
    event_base_loopbreak(manager->base);
}

static void *serve(void *arg)
{
    struct rfaas_manager *manager = arg;
    if (event_base_dispatch(manager->base) != 0)
        rfaas_error("manager: the event loop failed: %m");
    /* Everybody learns of the end, whatever brought it about. */
    rfaas_listener_free(manager->listener);
    manager->listener = NULL;
    rfaas_leases_stop(manager->leases);
    rfaas_peers_free(&manager->peers);
    return NULL;
}

static int start_thread(struct rfaas_manager *manager)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
    int error = pthread_create(&manager->thread, NULL, serve, manager);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return RFAAS_OK;
    errno = error;
    return rfaas_fail(RFAAS_ERR_IO, "manager: no thread: %m");
}

static int start_events(struct rfaas_manager *manager)
{
    manager->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (manager->stop_fd < 0)
        return rfaas_fail(RFAAS_ERR_IO, "manager: eventfd: %m");
    manager->base = event_base_new();
    if (manager->base) {
        manager->stop = event_new(manager->base, manager->stop_fd, EV_READ | EV_PERSIST,
                                  on_stop, manager);
        manager->timer = evtimer_new(manager->base, on_timer, manager);
    }
    if (!manager->stop || !manager->timer || event_add(manager->stop, NULL) != 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "manager: no event loop");
    return RFAAS_OK;
}

/* What is there of a manager whose thread isn't running (any more). */
static void dispose(struct rfaas_manager *manager)
{
    rfaas_listener_free(manager->listener);
    rfaas_leases_free(manager->leases);
    if (manager->timer)
        event_free(manager->timer);
    if (manager->stop)
        event_free(manager->stop);
    if (manager->base)
        event_base_free(manager->base);
    if (manager->stop_fd >= 0)
        close(manager->stop_fd);
    if (manager->key_fd >= 0)
        close(manager->key_fd);
    explicit_bzero(&manager->key, sizeof manager->key);
    free(manager);
}

static int begin(struct rfaas_manager *manager, const char *address)
{
    int status = RFAAS_OK;
    if (*address == '\0')
        status =
            rfaas_address_random("manager", manager->address, sizeof manager->address);
    else if (strlen(address) < sizeof manager->address)
        strcpy(manager->address, address);
    else
        status =
            rfaas_fail(RFAAS_ERR_ARGUMENT, "manager: address of more than %d bytes",
                       RFAAS_ADDRESS_MAX - 1);
    if (status == RFAAS_OK)
        status = rfaas_key_offer(&manager->key, &manager->key_fd, manager->key_file,
                                 sizeof manager->key_file);
    if (status == RFAAS_OK)
        status =
            rfaas_leases_new(&rfaas_leases_messages, &manager->peers, &manager->leases);
    if (status == RFAAS_OK)
        status = start_events(manager);
    if (status == RFAAS_OK)
        status = rfaas_listener_new(manager->base, manager->address, &manager->key,
                                    manager->key_file, on_accepted, manager,
                                    &manager->listener);
    if (status == RFAAS_OK)
        status = start_thread(manager);
    return status;
}

int rfaas_manager_start(const char *address, const struct rfaas_key *key,
                        struct rfaas_manager **manager)
{
    struct rfaas_manager *made = calloc(1, sizeof *made); /* freed by dispose */
    if (!made)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "manager: out of memory");
    made->key = *key;
    made->key_fd = made->stop_fd = -1;
    int status = begin(made, address);
    if (status != RFAAS_OK) {
        dispose(made);
        return status;
    }
    rfaas_info("manager serves at %s", made->address);
    *manager = made;
    return RFAAS_OK;
}

const char *rfaas_manager_address(const struct rfaas_manager *manager)
{
    return manager->address;
}

const char *rfaas_manager_key_file(const struct rfaas_manager *manager)
{
    return manager->key_file;
}

void rfaas_manager_stop(struct rfaas_manager *manager)
{
    if (!manager)
        return;
    eventfd_write(manager->stop_fd, 1);
    pthread_join(manager->thread, NULL);
    rfaas_info("manager at %s has ended", manager->address);
    dispose(manager);
}
