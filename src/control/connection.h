/* Connections and listeners on a libevent base. All calls and callbacks belong to
 * the thread that runs the base. */
#ifndef RFAAS_CONTROL_CONNECTION_H
#define RFAAS_CONTROL_CONNECTION_H

#include "control/handshake.h"
#include "control/stream.h"
#include <event2/event.h>

struct rfaas_connection;

struct rfaas_connection_calls {
    /* A message; freed, with the descriptors not taken, after the return. */
    void (*message)(struct rfaas_connection *connection,
                    struct rfaas_received *received, void *arg);
    /* The peer has gone or doesn't read (RFAAS_ERR_IO), talks nonsense
     * (RFAAS_ERR_PROTOCOL, logged), or there is no memory for it (RFAAS_ERR_NO_MEMORY).
     * Called once; the owner frees the connection, in the call or later. */
    void (*closed)(struct rfaas_connection *connection, int status, void *arg);
};

/* Takes over the stream (its handshake done); after a failure it is still the
 * caller's. Callbacks come from the loop only. `name` is for log lines, and copied. */
int rfaas_connection_new(struct event_base *base, struct rfaas_stream *stream,
                         const char *name, const struct rfaas_connection_calls *calls,
                         void *arg, struct rfaas_connection **connection);

/* May be called in a callback of the same connection. What is queued is flushed as
 * far as the socket takes it at once. NULL is ignored. */
void rfaas_connection_free(struct rfaas_connection *connection);

/* Queues and starts writing. Failures are logged and come again as `closed`, from
 * the loop: callers needn't look. */
void rfaas_connection_send(struct rfaas_connection *connection,
                           const Rfaas__Message *message, const int fds[],
                           int fd_count);

const char *rfaas_connection_name(const struct rfaas_connection *connection);

/* Changes who is called: for the owner who learns later what the peer is. */
void rfaas_connection_handle(struct rfaas_connection *connection,
                             const struct rfaas_connection_calls *calls, void *arg);

struct rfaas_listener;

/* A peer that has proved itself, with its role and name. The callee takes the stream
 * over. Those who fail are refused and logged (warn) and never get here. */
typedef void rfaas_accepted_call(struct rfaas_stream *stream, Rfaas__Role role,
                                 const char *name, void *arg);

/* Listens at `address` (rfaas_socket_listen). `key_file`, which may be "", is offered
 * to peers on this node. At most 64 peers at a time may be in the handshake, each for
 * RFAAS_HANDSHAKE_TIMEOUT_MS, and not even that long when others wait: strangers can
 * neither exhaust descriptors nor keep others out. A socket's file that a listener
 * left when it was killed is replaced. */
int rfaas_listener_new(struct event_base *base, const char *address,
                       const struct rfaas_key *key, const char *key_file,
                       rfaas_accepted_call *accepted, void *arg,
                       struct rfaas_listener **listener);
/* By which others reach it. */
const char *rfaas_listener_address(const struct rfaas_listener *listener);
void rfaas_listener_free(struct rfaas_listener *listener);

#endif
