/* Messages and file descriptors on a stream socket, as rfaas.proto describes the
 * frames. Over TCP no descriptors travel: those that are given are left out. One thread at a time. Used directly by those who have one peer and no
 * event loop (worker, handshake); connection.h drives it from libevent. */
#ifndef RFAAS_CONTROL_STREAM_H
#define RFAAS_CONTROL_STREAM_H

#include "base/export.h"
#include "control/rfaas.pb-c.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RFAAS_STREAM_FDS_MAX = 8, /* descriptors of one message */
    /* A function library travels in one message; anything longer is no message. */
    RFAAS_MESSAGE_MAX = 256 << 20,
    /* Bytes that may wait for a peer that doesn't read. */
    RFAAS_STREAM_QUEUE_MAX = 2 * RFAAS_MESSAGE_MAX,
};

struct rfaas_stream;

/* A message that has come. The taker of a descriptor sets it to -1;
 * rfaas_received_free closes those that are left. */
struct rfaas_received {
    Rfaas__Message *message;
    int fds[RFAAS_STREAM_FDS_MAX];
    int fd_count;
};
void rfaas_received_free(struct rfaas_received *received);

/* Takes over the socket and makes it nonblocking and close-on-exec; one of TCP notices a
 * peer that goes without a word (rfaas_socket_watch). `message_max`:
 * longer messages from the peer are RFAAS_ERR_PROTOCOL. After a failure the socket
 * is still the caller's. */
int rfaas_stream_new(int socket, size_t message_max, struct rfaas_stream **stream);
RFAAS_PRIVATE_API void
rfaas_stream_free(struct rfaas_stream *stream); /* closes the socket */
void rfaas_stream_limit(struct rfaas_stream *stream, size_t message_max);

/* From now on a message of the peer may bring at most `fds_max` descriptors; at first
 * RFAAS_STREAM_FDS_MAX. For strangers: with 0 the system opens none in this process. */
void rfaas_stream_limit_fds(struct rfaas_stream *stream, int fds_max);
int rfaas_stream_fd(const struct rfaas_stream *stream);
/* Whether the peer is on this node: it is a Unix socket. */
bool rfaas_stream_local(const struct rfaas_stream *stream);

/* Queues a message; descriptors are duplicated, the caller keeps its own. Fails with
 * RFAAS_ERR_NO_MEMORY, RFAAS_ERR_IO (too many bytes wait for the peer, or this process
 * is out of descriptors) or RFAAS_ERR_ARGUMENT (longer than RFAAS_MESSAGE_MAX). */
int rfaas_stream_put(struct rfaas_stream *stream, const Rfaas__Message *message,
                     const int fds[], int fd_count);

/* Writes what the socket takes. RFAAS_OK: all is written; RFAAS_IN_PROGRESS: some is
 * left; RFAAS_ERR_IO: the peer has gone. Never raises SIGPIPE. */
int rfaas_stream_flush(struct rfaas_stream *stream);

/* Reads one message. RFAAS_OK; RFAAS_IN_PROGRESS: not there yet; RFAAS_ERR_IO: the
 * peer has gone; RFAAS_ERR_PROTOCOL: no message of ours. */
int rfaas_stream_get(struct rfaas_stream *stream, struct rfaas_received *received);

/* The same two, waiting at most timeout_ms (-1: for ever); RFAAS_ERR_TIMEOUT. */
int rfaas_stream_send(struct rfaas_stream *stream, const Rfaas__Message *message,
                      const int fds[], int fd_count, int timeout_ms);
int rfaas_stream_receive(struct rfaas_stream *stream, struct rfaas_received *received,
                         int timeout_ms);

#endif
