/* The proof of having the job's key: the client's part and the server's. */
#include "control/handshake.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "control/address.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
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

/* One attempt to connect, as its steps see it. */
struct attempt {
    const char *address, *what;
    struct rfaas_stream *stream;
    uint64_t deadline_ns;
    struct rfaas_key key;
    unsigned char nonce[RFAAS_NONCE_SIZE];
    unsigned char server_nonce[RFAAS_NONCE_SIZE];
};

static int left_ms(const struct attempt *attempt)
{
    uint64_t now = rfaas_clock_ns();
    return now < attempt->deadline_ns ? (int)((attempt->deadline_ns - now) / 1000000)
                                      : 0;
}

static int connect_socket(const struct attempt *attempt, int fd)
{
    struct sockaddr_storage address;
    socklen_t length;
    int status = rfaas_address_parse(attempt->address, &address, &length);
    if (status != RFAAS_OK)
        return status;
    /* A Unix socket whose queue of callers is full makes a blocking connect wait, as
     * long as this says; a nonblocking one would have nothing to wait for. */
    struct timeval timeout = {.tv_sec = RFAAS_HANDSHAKE_TIMEOUT_MS / 1000,
                              .tv_usec = RFAAS_HANDSHAKE_TIMEOUT_MS % 1000 * 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "%s at %s: SO_SNDTIMEO: %m", attempt->what,
                          attempt->address);
    int failed;
    do {
        failed = connect(fd, (struct sockaddr *)&address, length);
    } while (failed && errno == EINTR && left_ms(attempt) > 0);
    if (failed && (errno == EAGAIN || errno == EINTR))
        return rfaas_fail(RFAAS_ERR_TIMEOUT, "%s at %s: too busy to take a call",
                          attempt->what, attempt->address);
    if (failed)
        return rfaas_fail(RFAAS_ERR_MANAGER, "%s at %s: nobody there: %m",
                          attempt->what, attempt->address);
    return RFAAS_OK;
}

static int open_stream(struct attempt *attempt)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rfaas_fail(RFAAS_ERR_IO, "%s at %s: socket: %m", attempt->what,
                          attempt->address);
    int status = connect_socket(attempt, fd);
    if (status == RFAAS_OK)
        status = rfaas_stream_new(fd, RFAAS_HANDSHAKE_MESSAGE_MAX, &attempt->stream);
    if (status != RFAAS_OK) {
        close(fd);
        return status;
    }
    return RFAAS_OK;
}

/* The server's next message, which has to be of the kind `expected`. */
static int receive(const struct attempt *attempt, Rfaas__Message__BodyCase expected,
                   struct rfaas_received *received)
{
    int status = rfaas_stream_receive(attempt->stream, received, left_ms(attempt));
    if (status == RFAAS_ERR_TIMEOUT)
        return rfaas_fail(status, "%s at %s: no answer within %d ms", attempt->what,
                          attempt->address, RFAAS_HANDSHAKE_TIMEOUT_MS);
    if (status == RFAAS_ERR_IO)
        return rfaas_fail(RFAAS_ERR_MANAGER, "%s at %s: closed the connection",
                          attempt->what, attempt->address);
    if (status != RFAAS_OK)
        return status;
    if (received->message->body_case == expected)
        return RFAAS_OK;

    if (received->message->body_case == RFAAS__MESSAGE__BODY_REFUSED) {
        char reason[128];
        copy_printable(reason, sizeof reason, received->message->refused->reason);
        status = rfaas_fail(RFAAS_ERR_REFUSED, "%s at %s: refused: %s", attempt->what,
                            attempt->address, reason);
    } else {
        status = rfaas_fail(RFAAS_ERR_PROTOCOL, "%s at %s: no handshake of ours",
                            attempt->what, attempt->address);
    }
    rfaas_received_free(received);
    return status;
}

/* The key that the server offers. A server of another user could name any file. */
static int read_offered_key(struct attempt *attempt, const char *path)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (path[0] == '\0')
        return rfaas_fail(RFAAS_ERR_REFUSED, "%s at %s: offers no key: set key_file",
                          attempt->what, attempt->address);
    if (getsockopt(rfaas_stream_fd(attempt->stream), SOL_SOCKET, SO_PEERCRED, &peer,
                   &size) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "%s at %s: SO_PEERCRED: %m", attempt->what,
                          attempt->address);
    if (peer.uid != geteuid())
        return rfaas_fail(RFAAS_ERR_REFUSED, "%s at %s: is of user %lu: set key_file",
                          attempt->what, attempt->address, (unsigned long)peer.uid);
    return rfaas_key_read(path, &attempt->key);
}

static int take_challenge(struct attempt *attempt, const struct rfaas_key *key,
                          const Rfaas__Challenge *challenge)
{
    if (challenge->version != RFAAS_PROTOCOL_VERSION)
        return rfaas_fail(RFAAS_ERR_REFUSED,
                          "%s at %s: protocol version %u, this side has %d",
                          attempt->what, attempt->address, (unsigned)challenge->version,
                          RFAAS_PROTOCOL_VERSION);
    if (challenge->nonce.len != RFAAS_NONCE_SIZE)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "%s at %s: nonce of %zu bytes",
                          attempt->what, attempt->address, challenge->nonce.len);
    memcpy(attempt->server_nonce, challenge->nonce.data, RFAAS_NONCE_SIZE);
    if (!key)
        return read_offered_key(attempt, challenge->key_file);
    attempt->key = *key;
    return RFAAS_OK;
}

static int send_hello(struct attempt *attempt, Rfaas__Role role, const char *name)
{
    unsigned char proof[RFAAS_PROOF_SIZE];
    int status = rfaas_random(attempt->nonce, sizeof attempt->nonce);
    if (status == RFAAS_OK)
        status = make_proof(&attempt->key, "client", (uint32_t)role,
                            attempt->server_nonce, attempt->nonce, proof);
    if (status != RFAAS_OK)
        return status;

    Rfaas__Hello hello = RFAAS__HELLO__INIT;
    hello.version = RFAAS_PROTOCOL_VERSION;
    hello.role = role;
    hello.name = (char *)name;
    hello.nonce = bytes_of(attempt->nonce, sizeof attempt->nonce);
    hello.proof = bytes_of(proof, sizeof proof);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_HELLO;
    message.hello = &hello;
    status = rfaas_stream_send(attempt->stream, &message, NULL, 0, left_ms(attempt));
    /* A server that has gone may have said why: that is still to be read. */
    return status == RFAAS_ERR_IO ? RFAAS_OK : status;
}

/* Whether the server has the key too. */
static int check_welcome(const struct attempt *attempt, Rfaas__Role role,
                         const Rfaas__Welcome *welcome)
{
    unsigned char expected[RFAAS_PROOF_SIZE];
    int status = make_proof(&attempt->key, "server", (uint32_t)role,
                            attempt->server_nonce, attempt->nonce, expected);
    if (status != RFAAS_OK)
        return status;
    if (welcome->proof.len != sizeof expected ||
        CRYPTO_memcmp(expected, welcome->proof.data, sizeof expected) != 0)
        return rfaas_fail(RFAAS_ERR_REFUSED, "%s at %s: doesn't have the job's key",
                          attempt->what, attempt->address);
    return RFAAS_OK;
}

static int prove(struct attempt *attempt, const struct rfaas_key *key, Rfaas__Role role,
                 const char *name)
{
    struct rfaas_received received;
    int status = receive(attempt, RFAAS__MESSAGE__BODY_CHALLENGE, &received);
    if (status != RFAAS_OK)
        return status;
    status = take_challenge(attempt, key, received.message->challenge);
    rfaas_received_free(&received);
    if (status == RFAAS_OK)
        status = send_hello(attempt, role, name);
    if (status == RFAAS_OK)
        status = receive(attempt, RFAAS__MESSAGE__BODY_WELCOME, &received);
    if (status != RFAAS_OK)
        return status;
    status = check_welcome(attempt, role, received.message->welcome);
    rfaas_received_free(&received);
    return status;
}

/* A server with more callers than places lets those go that answer late, as they do
 * on a machine with little time for each: they come again. One that has died refuses
 * to be connected to, and ends this. */
static int prove_patiently(struct attempt *attempt, const struct rfaas_key *key,
                           Rfaas__Role role, const char *name)
{
    enum { TRIES = 4 };
    int status = RFAAS_OK;
    for (int i = 0; i < TRIES; i++) {
        status = open_stream(attempt);
        if (status != RFAAS_OK)
            return status;
        status = prove(attempt, key, role, name);
        if (status == RFAAS_OK)
            return status;
        rfaas_stream_free(attempt->stream);
        if (status != RFAAS_ERR_MANAGER)
            return status;
    }
    return status;
}

int rfaas_connect(const char *address, const char *what, const struct rfaas_key *key,
                  Rfaas__Role role, const char *name, size_t message_max,
                  struct rfaas_key *used, struct rfaas_stream **stream)
{
    struct attempt attempt = {
        .address = address,
        .what = what,
        .deadline_ns =
            rfaas_clock_ns() + RFAAS_HANDSHAKE_TIMEOUT_MS * UINT64_C(1000000),
    };
    int status = prove_patiently(&attempt, key, role, name);
    if (status == RFAAS_OK) {
        rfaas_stream_limit(attempt.stream, message_max);
        if (used)
            *used = attempt.key;
        *stream = attempt.stream;
    }
    OPENSSL_cleanse(&attempt, sizeof attempt);
    return status;
}
