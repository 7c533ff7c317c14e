/* Peers of a manager, made by hand: blocking streams that say and hear messages. What
 * doesn't come as expected within some seconds fails the test. */
#ifndef MANAGER_PEERS_H
#define MANAGER_PEERS_H

#include "control/rfaas.pb-c.h"
#include "control/stream.h"
#include "manager/server.h"
#include "rfaas.h"
#include "test.h"

#include <stdint.h>

#define MS UINT64_C(1000000)
#define FOREVER (3600 * UINT64_C(1000000000))

#define BODY(name) RFAAS__MESSAGE__BODY_##name
#define CLIENT RFAAS__ROLE__ROLE_CLIENT
#define EXECUTOR RFAAS__ROLE__ROLE_EXECUTOR

extern struct rfaas_manager *manager; /* whose peers they are */
extern struct rfaas_key key;          /* its key */
extern uint64_t calls;                /* the last message's */

/* A new manager instead of the last one. */
void begin(void);
/* The same, for other nodes too. */
void begin_listening(const char *listen);
/* Stops it; returns its argument. */
int peers_end(int status);

struct rfaas_stream *peer(Rfaas__Role role);

/* Sends it, with a `call` of its own. */
void say(struct rfaas_stream *stream, Rfaas__Message *message);
void say_register(struct rfaas_stream *stream, const char *address, uint32_t cores);
void say_register_node(struct rfaas_stream *stream, const char *address,
                       const char *node, uint32_t cores);
/* Workers of 1 core and 1 MiB. */
void say_request(struct rfaas_stream *stream, uint32_t workers, uint64_t duration,
                 uint64_t wait);
void say_renew(struct rfaas_stream *stream, uint64_t lease, uint64_t duration);
void say_release(struct rfaas_stream *stream, uint64_t lease);
/* The first part that a manager gives has the number 1. */
void say_freed(struct rfaas_stream *stream, uint64_t part);

/* The next message, which is of this kind; valid until the next call. */
const Rfaas__Message *hear(struct rfaas_stream *stream, Rfaas__Message__BodyCase body);
/* The answer to `call`; returns the lease. */
uint64_t hear_grant(struct rfaas_stream *stream, uint64_t call);
/* Returns the call that it answers. */
uint64_t hear_refusal(struct rfaas_stream *stream, int status, const char *text);
void hear_end(struct rfaas_stream *stream, uint64_t lease, Rfaas__LeaseEnd reason);
void hear_withdraw(struct rfaas_stream *stream, uint64_t lease, Rfaas__LeaseEnd reason);
/* The manager has closed the connection; frees the stream. */
void hear_silence(struct rfaas_stream *stream);

/* An executor that has registered. */
struct rfaas_stream *executor(uint32_t cores);
/* A lease of `client` on this executor, granted at once. */
uint64_t lease_from(struct rfaas_stream *client, struct rfaas_stream *from,
                    uint32_t workers, uint64_t duration);

#endif
