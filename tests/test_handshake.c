/* Who gets past a listener and who doesn't, and whom a client trusts. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/dial.h"
#include "server.h"
#include "test.h"
#include "wire.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int fds_before;
static struct server server;

static void begin(bool offer)
{
    fds_before = open_fds();
    server_start(&server, NULL, offer);
}

static void end(void)
{
    server_stop(&server);
    CHECK_EQUAL(open_fds(), fds_before);
}

/* ---- right and wrong keys ------------------------------------------------------ */

static void test_right_key(void)
{
    begin(false);
    struct rfaas_key used;
    struct rfaas_stream *stream = NULL;
    CHECK_FATAL(rfaas_connect(server.address, "manager", &server.key,
                              RFAAS__ROLE__ROLE_EXECUTOR, "node1 pid 7\n", 4 << 20,
                              &used, &stream) == RFAAS_OK);
    CHECK(server_accepted(&server));
    CHECK_EQUAL(server.last_role, RFAAS__ROLE__ROLE_EXECUTOR);
    CHECK_EQUAL(strcmp(server.last_name, "node1 pid 7?"), 0);
    CHECK_EQUAL(memcmp(&used, &server.key, sizeof used), 0);

    /* From now on messages may be large, and bring descriptors. */
    int files[2];
    struct rfaas_received received;
    make_files(files, 2);
    CHECK_EQUAL(rfaas_stream_send(stream, make_message(5, 2 << 20), files, 2, 10000),
                RFAAS_OK);
    CHECK_FATAL(rfaas_stream_receive(stream, &received, 10000) == RFAAS_OK);
    CHECK(message_is(received.message, 5, 2 << 20));
    CHECK_EQUAL(received.fd_count, 2);
    CHECK(same_file(received.fds[1], files[1]));
    rfaas_received_free(&received);
    close_files(files, 2);
    rfaas_stream_free(stream);
    end();
}

static void test_offered_key(void)
{
    begin(true);
    struct rfaas_key used;
    struct rfaas_stream *stream = NULL;
    CHECK_FATAL(rfaas_connect(server.address, "manager", NULL, RFAAS__ROLE__ROLE_CLIENT,
                              "me", 4096, &used, &stream) == RFAAS_OK);
    CHECK_EQUAL(memcmp(&used, &server.key, sizeof used), 0);
    rfaas_stream_free(stream);
    end();

    begin(false);
    expect_refusal(server.address, NULL, RFAAS_ERR_REFUSED, "set key_file");
    end();

    /* Another user's server might name any file. Only root can play both. */
    if (geteuid() != 0)
        return;
    CHECK_FATAL(seteuid(65534) == 0);
    begin(true);
    CHECK_FATAL(seteuid(0) == 0);
    expect_refusal(server.address, NULL, RFAAS_ERR_REFUSED, "is of user 65534");
    expect_welcome(&server);
    end();
}

static void test_wrong_key(void)
{
    begin(false);
    struct rfaas_key wrong = server.key;
    wrong.bytes[RFAAS_KEY_SIZE - 1] ^= 1;
    expect_refusal(server.address, &wrong, RFAAS_ERR_REFUSED, "wrong key");
    expect_welcome(&server);
    CHECK(sem_trywait(&server.accepted) != 0);
    end();
}

static void test_nobody_there(void)
{
    struct rfaas_key key = {{0}};
    expect_refusal("unix:@rfaas-test-nobody", &key, RFAAS_ERR_MANAGER,
                   "manager at unix:@rfaas-test-nobody: nobody there");
    expect_refusal("unix:/nonexistent/x", &key, RFAAS_ERR_MANAGER, "No such file");
    expect_refusal("tcp:host:1", &key, RFAAS_ERR_ARGUMENT, "tcp:host:1");
}

/* ---- servers that are none ------------------------------------------------------ */

/* A server in this thread that goes by a script, against a client in another. */
struct script {
    uint32_t version;
    size_t nonce_size;
    enum { REFLECT_PROOF, SHORT_PROOF, SEND_HELLO, GO_AWAY, WRONG_REASON } then;
    int callers; /* before it stops listening */
};

static void send_body(struct rfaas_stream *stream, Rfaas__Message__BodyCase kind,
                      void *body)
{
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = kind;
    message.hello = body; /* all bodies are pointers in one union */
    CHECK_EQUAL(rfaas_stream_send(stream, &message, NULL, 0, 1000), RFAAS_OK);
}

static void serve_caller(const struct script *script, struct rfaas_stream *stream)
{
    unsigned char nonce[64] = {1};
    Rfaas__Challenge challenge = RFAAS__CHALLENGE__INIT;
    challenge.version = script->version;
    challenge.nonce.data = nonce;
    challenge.nonce.len = script->nonce_size;
    send_body(stream, RFAAS__MESSAGE__BODY_CHALLENGE, &challenge);
    struct rfaas_received received;
    if (script->then == GO_AWAY ||
        rfaas_stream_receive(stream, &received, 10000) != RFAAS_OK)
        return;
    Rfaas__Hello *hello = received.message->hello;
    Rfaas__Welcome welcome = RFAAS__WELCOME__INIT;
    Rfaas__Refused refused = RFAAS__REFUSED__INIT;
    refused.reason = (char *)"a\033[1mb";
    welcome.proof = hello->proof; /* its own proof, sent back */
    if (script->then == SHORT_PROOF)
        welcome.proof.len = 0;
    if (script->then == SEND_HELLO)
        send_body(stream, RFAAS__MESSAGE__BODY_HELLO, hello);
    else if (script->then == WRONG_REASON)
        send_body(stream, RFAAS__MESSAGE__BODY_REFUSED, &refused);
    else
        send_body(stream, RFAAS__MESSAGE__BODY_WELCOME, &welcome);
    rfaas_received_free(&received);
}

static void against(struct script script, int status, const char *text)
{
    char address[128];
    static const struct rfaas_key key = {{1, 2, 3}};
    struct caller caller = {.address = address, .key = &key};
    fds_before = open_fds();
    int listening = fake_server(address);
    if (!script.version)
        script.version = RFAAS_PROTOCOL_VERSION;
    if (!script.nonce_size)
        script.nonce_size = RFAAS_NONCE_SIZE;
    caller_start(&caller);
    for (int i = 0; i < (script.callers ? script.callers : 1); i++) {
        struct rfaas_stream *stream = fake_accept(listening);
        serve_caller(&script, stream);
        if (i + 1 >= script.callers)
            close(listening);
        rfaas_stream_free(stream);
    }
    caller_join(&caller, status, text);
    CHECK_EQUAL(open_fds(), fds_before);
}

static void test_false_servers(void)
{
    against((struct script){.then = REFLECT_PROOF}, RFAAS_ERR_REFUSED,
            "doesn't have the job's key");
    against((struct script){.then = SHORT_PROOF}, RFAAS_ERR_REFUSED,
            "doesn't have the job's key");
    against((struct script){.version = RFAAS_PROTOCOL_VERSION + 1}, RFAAS_ERR_REFUSED,
            "protocol version 2, this side has 1");
    against((struct script){.nonce_size = 31}, RFAAS_ERR_PROTOCOL, "nonce of 31 bytes");
    against((struct script){.then = SEND_HELLO}, RFAAS_ERR_PROTOCOL, "no handshake");
    against((struct script){.then = WRONG_REASON}, RFAAS_ERR_REFUSED, "a?[1mb");
    /* It comes again, until nobody is there any more. */
    against((struct script){.then = GO_AWAY, .callers = 3}, RFAAS_ERR_MANAGER,
            "nobody there");
    against((struct script){.then = GO_AWAY, .callers = 4}, RFAAS_ERR_MANAGER,
            "closed the connection");
}

/* ---- clients that are none ------------------------------------------------------ */

/* A handshake of the server's, without sockets of its own: what comes of `hello`. */
static void answer(const Rfaas__Hello *hello, const char *reason)
{
    int ends[2];
    struct rfaas_stream *ours, *theirs;
    struct rfaas_handshake handshake;
    struct rfaas_received received;
    static const struct rfaas_key key;
    CHECK_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FATAL(rfaas_stream_new(ends[0], 4096, &ours) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_new(ends[1], 4096, &theirs) == RFAAS_OK);
    CHECK_EQUAL(rfaas_handshake_begin(&handshake, &key, "", ours), RFAAS_OK);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_HELLO;
    message.hello = (Rfaas__Hello *)hello;
    CHECK_EQUAL(rfaas_handshake_answer(&handshake, &message, ours), RFAAS_ERR_REFUSED);
    CHECK(strstr(rfaas_last_error(), reason) != NULL);
    CHECK_EQUAL(rfaas_stream_flush(ours), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_get(theirs, &received), RFAAS_OK);
    CHECK_EQUAL(received.message->body_case, RFAAS__MESSAGE__BODY_CHALLENGE);
    rfaas_received_free(&received);
    CHECK_EQUAL(rfaas_stream_get(theirs, &received), RFAAS_OK);
    CHECK_EQUAL(received.message->body_case, RFAAS__MESSAGE__BODY_REFUSED);
    CHECK(strstr(received.message->refused->reason, reason) != NULL);
    rfaas_received_free(&received);
    rfaas_stream_free(ours);
    rfaas_stream_free(theirs);
}

static void test_false_hellos(void)
{
    unsigned char bytes[64] = {0};
    Rfaas__Hello good = RFAAS__HELLO__INIT, hello;
    good.version = RFAAS_PROTOCOL_VERSION;
    good.role = RFAAS__ROLE__ROLE_CLIENT;
    good.nonce.data = good.proof.data = bytes;
    good.nonce.len = good.proof.len = 32;
    answer(&good, "wrong key");
    hello = good;
    hello.version++;
    answer(&hello, "protocol version 2, this side has 1");
    hello = good;
    hello.role = RFAAS__ROLE__ROLE_NONE;
    answer(&hello, "neither client nor executor");
    hello.role = (Rfaas__Role)77;
    answer(&hello, "neither client nor executor");
    hello = good;
    hello.nonce.len = 31;
    answer(&hello, "wrong length");
    hello = good;
    hello.proof.len = 0;
    answer(&hello, "wrong length");
}

static void forward(struct rfaas_stream *from, struct rfaas_stream *to,
                    unsigned char *copy, size_t *size)
{
    struct rfaas_received received;
    CHECK_FATAL(rfaas_stream_receive(from, &received, 10000) == RFAAS_OK);
    if (copy)
        *size = make_frame(copy, received.message, 0);
    CHECK_EQUAL(rfaas_stream_send(to, received.message, NULL, 0, 10000), RFAAS_OK);
    rfaas_received_free(&received);
}

/* Somebody in the middle gets a good proof to see, and tries it again. */
static void test_replay(void)
{
    begin(false);
    char address[128];
    struct caller client = {.address = address, .key = &server.key};
    unsigned char hello[1024];
    size_t size = 0;
    int listening = fake_server(address);
    caller_start(&client);
    struct rfaas_stream *to_client = fake_accept(listening), *to_server = NULL;
    CHECK_FATAL(rfaas_stream_new(stranger(server.address), 4096, &to_server) ==
                RFAAS_OK);
    forward(to_server, to_client, NULL, NULL);
    forward(to_client, to_server, hello, &size);
    forward(to_server, to_client, NULL, NULL);
    caller_join(&client, RFAAS_OK, "");
    CHECK(server_accepted(&server));

    int again = stranger(server.address);
    raw_send(again, hello, size, NULL, 0);
    struct rfaas_stream *replay = NULL;
    struct rfaas_received received;
    CHECK_FATAL(rfaas_stream_new(again, 4096, &replay) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_receive(replay, &received, 10000) == RFAAS_OK);
    rfaas_received_free(&received); /* the challenge */
    CHECK_FATAL(rfaas_stream_receive(replay, &received, 10000) == RFAAS_OK);
    CHECK_EQUAL(received.message->body_case, RFAAS__MESSAGE__BODY_REFUSED);
    rfaas_received_free(&received);
    CHECK(sem_trywait(&server.accepted) != 0);
    rfaas_stream_free(replay);
    rfaas_stream_free(to_client);
    rfaas_stream_free(to_server);
    close(listening);
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"both sides with the key get together", test_right_key},
        {"a server's offered key is used when there is no other", test_offered_key},
        {"a client with a wrong key is refused", test_wrong_key},
        {"an address where nobody is, is an error that says so", test_nobody_there},
        {"a server without the key or of another version is refused",
         test_false_servers},
        {"a Hello of another version, role, length or key is refused",
         test_false_hellos},
        {"a proof can't be used again", test_replay},
        {NULL, NULL},
    };
    return test_main("handshake", tests, argc, argv);
}
