/* Connecting to a server and proving oneself: in an event loop, or waiting for it. */
#ifndef RFAAS_CONTROL_DIAL_H
#define RFAAS_CONTROL_DIAL_H

#include "base/export.h"
#include "control/handshake.h"
#include "control/stream.h"
#include <event2/event.h>

/* A connection that is underway, for RFAAS_HANDSHAKE_TIMEOUT_MS at most. */
struct rfaas_dial;

/* How it ended: RFAAS_OK, and the stream, which the callee takes over; or no stream and
 * RFAAS_ERR_MANAGER (nobody there, the text names the server), RFAAS_ERR_REFUSED,
 * RFAAS_ERR_TIMEOUT, RFAAS_ERR_PROTOCOL. Comes once, from the loop; the owner frees the
 * dial, in the call or later. */
typedef void rfaas_dialled_call(int status, struct rfaas_stream *stream, void *arg);

/* The address has to be one that rfaas_address_parse takes. The stream is to take
 * messages of message_max bytes. */
int rfaas_dial_new(struct event_base *base, const struct rfaas_introduction *who,
                   size_t message_max, rfaas_dialled_call *dialled, void *arg,
                   struct rfaas_dial **dial);
/* Hangs up if it is still underway. NULL is ignored. */
void rfaas_dial_free(struct rfaas_dial *dial);

/* The same, waiting until it has ended: not for threads that run a loop. A host may have
 * a name here; of its addresses the first is taken where somebody is. `used`, if not
 * NULL, gets the key. */
RFAAS_PRIVATE_API int rfaas_connect(const char *address, const char *what,
                                    const struct rfaas_key *key, Rfaas__Role role,
                                    const char *name, size_t message_max,
                                    struct rfaas_key *used,
                                    struct rfaas_stream **stream);

#endif
