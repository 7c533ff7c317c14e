#include "manager/server.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/address.h"
#include "control/connection.h"
#include "manager/requests.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    /* No message to a manager is longer: names, addresses and some numbers. */
    MESSAGE_MAX = 4096,
};

struct rfaas_manager {
    char address[RFAAS_ADDRESS_MAX], network_address[RFAAS_ADDRESS_MAX];
    struct rfaas_key key;
    int key_fd; /* the key file that is offered */
    char key_file[64];

    pthread_t thread;
    int stop_fd; /* readable when the thread is to end */

    /* The thread's own, once it runs. */
    struct event_base *base;
    struct event *stop, *timer;
    struct rfaas_listener *listener, *network;
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

/* ---- connections ----------------------------------------------------------------- */

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    (void)connection;
    struct rfaas_peer *peer = arg;
    struct rfaas_manager *manager = peer->manager;
    struct rfaas_books books = {&manager->peers, manager->leases};
    if (rfaas_peer_handle(&books, peer, received->message) == RFAAS_OK)
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

static void listeners_free(struct rfaas_manager *manager)
{
    rfaas_listener_free(manager->listener);
    rfaas_listener_free(manager->network);
    manager->listener = manager->network = NULL;
}

static void *serve(void *arg)
{
    struct rfaas_manager *manager = arg;
    if (event_base_dispatch(manager->base) != 0)
        rfaas_error("manager: the event loop failed: %m");
    /* Everybody learns of the end, whatever brought it about. */
    listeners_free(manager);
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
    listeners_free(manager);
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

static int choose_address(struct rfaas_manager *manager, const char *address)
{
    if (*address == '\0')
        return rfaas_address_random("manager", manager->address,
                                    sizeof manager->address);
    if (rfaas_address_is_tcp(address))
        return rfaas_fail(
            RFAAS_ERR_ARGUMENT,
            "manager: address \"%.200s\": takes unix:@NAME or unix:/PATH; "
            "for other nodes there is `listen`",
            address);
    if (strlen(address) >= sizeof manager->address)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "manager: address of more than %d bytes",
                          RFAAS_ADDRESS_MAX - 1);
    strcpy(manager->address, address);
    return RFAAS_OK;
}

static int start_listeners(struct rfaas_manager *manager, const char *listen)
{
    int status =
        rfaas_listener_new(manager->base, manager->address, &manager->key,
                           manager->key_file, on_accepted, manager, &manager->listener);
    if (status != RFAAS_OK || *listen == '\0')
        return status;
    if (!rfaas_address_is_tcp(listen))
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "manager: listen=%.200s: takes tcp or HOST:PORT", listen);
    status = rfaas_listener_new(manager->base, listen, &manager->key, "", on_accepted,
                                manager, &manager->network);
    if (status == RFAAS_OK)
        snprintf(manager->network_address, sizeof manager->network_address, "%s",
                 rfaas_listener_address(manager->network));
    return status;
}

static int begin(struct rfaas_manager *manager, const char *address, const char *listen)
{
    int status = choose_address(manager, address);
    if (status == RFAAS_OK)
        status = rfaas_key_offer(&manager->key, &manager->key_fd, manager->key_file,
                                 sizeof manager->key_file);
    if (status == RFAAS_OK)
        status =
            rfaas_leases_new(&rfaas_leases_messages, &manager->peers, &manager->leases);
    if (status == RFAAS_OK)
        status = start_events(manager);
    if (status == RFAAS_OK)
        status = start_listeners(manager, listen);
    if (status == RFAAS_OK)
        status = start_thread(manager);
    return status;
}

int rfaas_manager_start(const char *address, const char *listen,
                        const struct rfaas_key *key, struct rfaas_manager **manager)
{
    struct rfaas_manager *made = calloc(1, sizeof *made); /* freed by dispose */
    if (!made)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "manager: out of memory");
    made->key = *key;
    made->key_fd = made->stop_fd = -1;
    int status = begin(made, address, listen);
    if (status != RFAAS_OK) {
        dispose(made);
        return status;
    }
    rfaas_info("manager serves at %s %s", made->address, made->network_address);
    *manager = made;
    return RFAAS_OK;
}

const char *rfaas_manager_address(const struct rfaas_manager *manager)
{
    return manager->address;
}

const char *rfaas_manager_network_address(const struct rfaas_manager *manager)
{
    return manager->network_address;
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
