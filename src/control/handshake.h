/* The job's key, and the proof of having it that begins every connection. */
#ifndef RFAAS_CONTROL_HANDSHAKE_H
#define RFAAS_CONTROL_HANDSHAKE_H

#include "base/export.h"
#include "control/rfaas.pb-c.h"
#include "control/stream.h"

enum {
    RFAAS_PROTOCOL_VERSION = 1,
    RFAAS_KEY_SIZE = 32,
    RFAAS_NONCE_SIZE = 32,
    RFAAS_PROOF_SIZE = 32,
    /* Until the peer has proved itself it gets no more memory of ours than this. */
    RFAAS_HANDSHAKE_MESSAGE_MAX = 4096,
    RFAAS_HANDSHAKE_TIMEOUT_MS = 5000,
};

struct rfaas_key {
    unsigned char bytes[RFAAS_KEY_SIZE];
};

/* A new key, from the system's random numbers. */
RFAAS_PRIVATE_API int rfaas_key_create(struct rfaas_key *key);

/* A key file holds the key as 64 hexadecimal digits and a newline. Reading refuses
 * a file that others than its owner can read or write (the message says chmod 600).
 * Writing creates the file with mode 600 and refuses to replace one. */
RFAAS_PRIVATE_API int rfaas_key_read(const char *path, struct rfaas_key *key);
int rfaas_key_write(const char *path, const struct rfaas_key *key);

/* The key in a file without a name, and the path "/proc/<pid>/fd/<n>" by which
 * processes of the same user on this node can read it as long as this process lives
 * (rfaas_key_read takes it). Close `fd` when the key is to vanish. */
RFAAS_PRIVATE_API int rfaas_key_offer(const struct rfaas_key *key, int *fd, char *path,
                                      size_t size);

/* Connects to `address` and proves itself; blocks for RFAAS_HANDSHAKE_TIMEOUT_MS at
 * most. With key NULL the key file that the server names is used, if the server is
 * of the same user. On success the stream takes messages of message_max bytes.
 * `used`, if not NULL, gets the key. Errors: RFAAS_ERR_MANAGER (nobody there, `what`
 * names it in the text), RFAAS_ERR_REFUSED, RFAAS_ERR_TIMEOUT, RFAAS_ERR_PROTOCOL. */
RFAAS_PRIVATE_API int rfaas_connect(const char *address, const char *what,
                                    const struct rfaas_key *key, Rfaas__Role role,
                                    const char *name, size_t message_max,
                                    struct rfaas_key *used,
                                    struct rfaas_stream **stream);

/* The server's part, as a state machine fed by its event loop: start it with
 * rfaas_handshake_begin (queues the Challenge), give it each message; RFAAS_OK: peer
 * has proved itself (Welcome is queued); RFAAS_IN_PROGRESS; RFAAS_ERR_REFUSED (Refused
 * is queued: flush it, then close). */
struct rfaas_handshake {
    const struct rfaas_key *key;
    unsigned char nonce[RFAAS_NONCE_SIZE];
    Rfaas__Role role; /* of the peer, when OK */
    char name[64];    /* likewise */
};
int rfaas_handshake_begin(struct rfaas_handshake *handshake,
                          const struct rfaas_key *key, const char *key_file,
                          struct rfaas_stream *stream);
int rfaas_handshake_answer(struct rfaas_handshake *handshake,
                           const Rfaas__Message *message, struct rfaas_stream *stream);

#endif
