/* The proof of having the job's key: the client's part and the server's. */
#include "control/handshake.h"
#include "base/error.h"
#include "base/random.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what both sides do ------------------------------------------------------- */

enum { SIDE_SIZE = 6 }; /* "client" and "server" are of one length: no end is needed */

static void append(unsigned char **end, const void *bytes, size_t size)
{
    memcpy(*end, bytes, size);
    *end += size;
}

static void append_u32(unsigned char **end, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        *(*end)++ = (unsigned char)(value >> 8 * i);
}

/* Numbers are 4 bytes, little endian. The side keeps a proof from being sent back to
 * its maker, the nonces keep it from being used twice. */
static int make_proof(const struct rfaas_key *key, const char *side, uint32_t role,
                      const unsigned char *server_nonce,
                      const unsigned char *client_nonce,
                      unsigned char proof[RFAAS_PROOF_SIZE])
{
    unsigned char text[SIDE_SIZE + 4 + 4 + 2 * RFAAS_NONCE_SIZE], *end = text;
    append(&end, side, SIDE_SIZE);
    append_u32(&end, RFAAS_PROTOCOL_VERSION);
    append_u32(&end, role);
    append(&end, server_nonce, RFAAS_NONCE_SIZE);
    append(&end, client_nonce, RFAAS_NONCE_SIZE);

    unsigned size = 0;
    if (!HMAC(EVP_sha256(), key->bytes, RFAAS_KEY_SIZE, text, (size_t)(end - text),
              proof, &size) ||
        size != RFAAS_PROOF_SIZE)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "handshake: HMAC-SHA256 failed");
    return RFAAS_OK;
}

static ProtobufCBinaryData bytes_of(unsigned char *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = data};
}

/* What a peer says of itself ends up in texts for people. */
static void copy_printable(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; i + 1 < size && from[i]; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[i] = '\0';
}

/* ---- the server's part -------------------------------------------------------- */

int rfaas_handshake_begin(struct rfaas_handshake *handshake,
                          const struct rfaas_key *key, const char *key_file,
                          struct rfaas_stream *stream)
{
    memset(handshake, 0, sizeof *handshake);
    handshake->key = key;
    int status = rfaas_random(handshake->nonce, sizeof handshake->nonce);
    if (status != RFAAS_OK)
        return status;

    Rfaas__Challenge challenge = RFAAS__CHALLENGE__INIT;
    challenge.version = RFAAS_PROTOCOL_VERSION;
    challenge.nonce = bytes_of(handshake->nonce, sizeof handshake->nonce);
    if (rfaas_stream_local(stream)) /* others could not read it */
        challenge.key_file = (char *)key_file;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_CHALLENGE;
    message.challenge = &challenge;
    return rfaas_stream_put(stream, &message, NULL, 0);
}

/* Tells the peer why, as far as it listens. */
static int refuse(struct rfaas_stream *stream, const char *reason)
{
    Rfaas__Refused refused = RFAAS__REFUSED__INIT;
    refused.reason = (char *)reason;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_REFUSED;
    message.refused = &refused;
    rfaas_stream_put(stream, &message, NULL, 0);
    return rfaas_fail(RFAAS_ERR_REFUSED, "handshake: %s", reason);
}

static int check_hello(const struct rfaas_handshake *handshake,
                       const Rfaas__Hello *hello, struct rfaas_stream *stream)
{
    char reason[128];
    if (hello->version != RFAAS_PROTOCOL_VERSION) {
        snprintf(reason, sizeof reason, "protocol version %u, this side has %d",
                 (unsigned)hello->version, RFAAS_PROTOCOL_VERSION);
        return refuse(stream, reason);
    }
    if (hello->role != RFAAS__ROLE__ROLE_CLIENT &&
        hello->role != RFAAS__ROLE__ROLE_EXECUTOR)
        return refuse(stream, "neither client nor executor");
    if (hello->nonce.len != RFAAS_NONCE_SIZE || hello->proof.len != RFAAS_PROOF_SIZE)
        return refuse(stream, "nonce or proof of a wrong length");

    unsigned char expected[RFAAS_PROOF_SIZE];
    int status = make_proof(handshake->key, "client", (uint32_t)hello->role,
                            handshake->nonce, hello->nonce.data, expected);
    if (status != RFAAS_OK)
        return status;
    if (CRYPTO_memcmp(expected, hello->proof.data, sizeof expected) != 0)
        return refuse(stream, "wrong key");
    return RFAAS_OK;
}

int rfaas_handshake_answer(struct rfaas_handshake *handshake,
                           const Rfaas__Message *message, struct rfaas_stream *stream)
{
    if (message->body_case != RFAAS__MESSAGE__BODY_HELLO)
        return refuse(stream, "expected Hello");
    const Rfaas__Hello *hello = message->hello;
    int status = check_hello(handshake, hello, stream);
    if (status != RFAAS_OK)
        return status;

    unsigned char proof[RFAAS_PROOF_SIZE];
    status = make_proof(handshake->key, "server", (uint32_t)hello->role,
                        handshake->nonce, hello->nonce.data, proof);
    if (status != RFAAS_OK)
        return status;
    Rfaas__Welcome welcome = RFAAS__WELCOME__INIT;
    welcome.proof = bytes_of(proof, sizeof proof);
    Rfaas__Message reply = RFAAS__MESSAGE__INIT;
    reply.body_case = RFAAS__MESSAGE__BODY_WELCOME;
    reply.welcome = &welcome;
    status = rfaas_stream_put(stream, &reply, NULL, 0);
    if (status != RFAAS_OK)
        return status;
    handshake->role = hello->role;
    copy_printable(handshake->name, sizeof handshake->name, hello->name);
    return RFAAS_OK;
}

/* ---- the client's part -------------------------------------------------------- */

static int fail_with(int status, const struct rfaas_introduction *who, const char *why)
{
    return rfaas_fail(status, "%s at %s: %s", who->what, who->address, why);
}

/* The key that the server offers. A server of another user could name any file, and of
 * a server on another node nobody knows whose it is. */
static int read_offered_key(struct rfaas_greeting *greeting, const char *path,
                            const struct rfaas_stream *stream)
{
    const struct rfaas_introduction *who = &greeting->who;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (!rfaas_stream_local(stream))
        return fail_with(RFAAS_ERR_REFUSED, who,
                         "a key isn't taken over the network: set key_file");
    if (path[0] == '\0')
        return fail_with(RFAAS_ERR_REFUSED, who, "offers no key: set key_file");
    if (getsockopt(rfaas_stream_fd(stream), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "%s at %s: SO_PEERCRED: %m", who->what,
                          who->address);
    if (peer.uid != geteuid())
        return rfaas_fail(RFAAS_ERR_REFUSED, "%s at %s: is of user %lu: set key_file",
                          who->what, who->address, (unsigned long)peer.uid);
    return rfaas_key_read(path, &greeting->key);
}

static int take_challenge(struct rfaas_greeting *greeting,
                          const Rfaas__Challenge *challenge,
                          const struct rfaas_stream *stream)
{
    const struct rfaas_introduction *who = &greeting->who;
    if (challenge->version != RFAAS_PROTOCOL_VERSION)
        return rfaas_fail(RFAAS_ERR_REFUSED,
                          "%s at %s: protocol version %u, this side has %d", who->what,
                          who->address, (unsigned)challenge->version,
                          RFAAS_PROTOCOL_VERSION);
    if (challenge->nonce.len != RFAAS_NONCE_SIZE)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "%s at %s: nonce of %zu bytes", who->what,
                          who->address, challenge->nonce.len);
    memcpy(greeting->server_nonce, challenge->nonce.data, RFAAS_NONCE_SIZE);
    if (!who->key)
        return read_offered_key(greeting, challenge->key_file, stream);
    greeting->key = *who->key;
    return RFAAS_OK;
}

static int put_hello(struct rfaas_greeting *greeting, struct rfaas_stream *stream)
{
    unsigned char proof[RFAAS_PROOF_SIZE];
    int status = rfaas_random(greeting->nonce, sizeof greeting->nonce);
    if (status == RFAAS_OK)
        status = make_proof(&greeting->key, "client", (uint32_t)greeting->who.role,
                            greeting->server_nonce, greeting->nonce, proof);
    if (status != RFAAS_OK)
        return status;

    Rfaas__Hello hello = RFAAS__HELLO__INIT;
    hello.version = RFAAS_PROTOCOL_VERSION;
    hello.role = greeting->who.role;
    hello.name = (char *)greeting->who.name;
    hello.nonce = bytes_of(greeting->nonce, sizeof greeting->nonce);
    hello.proof = bytes_of(proof, sizeof proof);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_HELLO;
    message.hello = &hello;
    return rfaas_stream_put(stream, &message, NULL, 0);
}

/* Whether the server has the key too. */
static int check_welcome(const struct rfaas_greeting *greeting,
                         const Rfaas__Welcome *welcome)
{
    unsigned char expected[RFAAS_PROOF_SIZE];
    int status = make_proof(&greeting->key, "server", (uint32_t)greeting->who.role,
                            greeting->server_nonce, greeting->nonce, expected);
    if (status != RFAAS_OK)
        return status;
    if (welcome->proof.len != sizeof expected ||
        CRYPTO_memcmp(expected, welcome->proof.data, sizeof expected) != 0)
        return fail_with(RFAAS_ERR_REFUSED, &greeting->who,
                         "doesn't have the job's key");
    return RFAAS_OK;
}

void rfaas_greeting_begin(struct rfaas_greeting *greeting,
                          const struct rfaas_introduction *who)
{
    *greeting = (struct rfaas_greeting){.who = *who};
}

int rfaas_greeting_answer(struct rfaas_greeting *greeting,
                          const Rfaas__Message *message, struct rfaas_stream *stream)
{
    if (message->body_case == RFAAS__MESSAGE__BODY_REFUSED) {
        char reason[128] = "refused: ";
        size_t length = strlen(reason);
        copy_printable(reason + length, sizeof reason - length,
                       message->refused->reason);
        return fail_with(RFAAS_ERR_REFUSED, &greeting->who, reason);
    }
    if (message->body_case != (greeting->introduced ? RFAAS__MESSAGE__BODY_WELCOME
                                                    : RFAAS__MESSAGE__BODY_CHALLENGE))
        return fail_with(RFAAS_ERR_PROTOCOL, &greeting->who, "no handshake of ours");
    if (greeting->introduced)
        return check_welcome(greeting, message->welcome);
    int status = take_challenge(greeting, message->challenge, stream);
    if (status == RFAAS_OK)
        status = put_hello(greeting, stream);
    if (status != RFAAS_OK)
        return status;
    greeting->introduced = true;
    return RFAAS_IN_PROGRESS;
}
