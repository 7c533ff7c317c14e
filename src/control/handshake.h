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

/* The server's part, as a state machine fed by its event loop: start it with
 * rfaas_handshake_begin (queues the Challenge; over TCP no key file is offered), give it
 * each message; RFAAS_OK: peer
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

/* Who connects, and to whom. What it points to has to live until that is over. */
struct rfaas_introduction {
    const char *address, *what; /* of the server, for texts: "manager" */
    /* NULL: the one in the file that the server names, if it is of the same user and on
     * this node. */
    const struct rfaas_key *key;
    Rfaas__Role role;
    const char *name;
};

/* The client's part, likewise: give it each message. RFAAS_IN_PROGRESS: another has to
 * come, perhaps Hello is queued; RFAAS_OK: the server has proved itself too;
 * RFAAS_ERR_REFUSED; RFAAS_ERR_PROTOCOL. */
struct rfaas_greeting {
    struct rfaas_introduction who;
    bool introduced;      /* Hello is queued, Welcome has to come */
    struct rfaas_key key; /* that is used, when OK */
    unsigned char nonce[RFAAS_NONCE_SIZE];
    unsigned char server_nonce[RFAAS_NONCE_SIZE];
};
void rfaas_greeting_begin(struct rfaas_greeting *greeting,
                          const struct rfaas_introduction *who);
int rfaas_greeting_answer(struct rfaas_greeting *greeting,
                          const Rfaas__Message *message, struct rfaas_stream *stream);

#endif
