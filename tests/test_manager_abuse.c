/* Peers that misbehave: each is told why and its connection ends; nobody else notices,
 * and the manager goes on. */
#include "manager_peers.h"

#include "control/dial.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void test_wrong_key(void)
{
    begin();
    struct rfaas_key other;
    struct rfaas_stream *stream = NULL;
    CHECK_EQUAL(rfaas_key_create(&other), RFAAS_OK);
    CHECK_EQUAL(rfaas_connect(rfaas_manager_address(manager), "manager", &other, CLIENT,
                              "stranger", 4096, NULL, &stream),
                RFAAS_ERR_REFUSED);
    rfaas_stream_free(executor(1));
}

static void bad_register(struct rfaas_stream *stream)
{
    say_register(stream, "unix:@executor", 2);
}
static void bad_second_register(struct rfaas_stream *stream)
{
    say_register(stream, "unix:@executor", 2);
    hear(stream, BODY(EXECUTOR_REGISTERED));
    say_register(stream, "unix:@executor", 2);
}
static void bad_address(struct rfaas_stream *stream)
{
    say_register(stream, "http://executor", 2);
}
static void bad_no_cores(struct rfaas_stream *stream)
{
    say_register(stream, "unix:@executor", 0);
}
static void bad_many_cores(struct rfaas_stream *stream)
{
    say_register(stream, "unix:@executor", UINT32_MAX);
}
static void bad_node(struct rfaas_stream *stream)
{
    char node[1000];
    memset(node, 'x', sizeof node - 1);
    node[sizeof node - 1] = '\0';
    say_register_node(stream, "unix:@executor", node, 2);
}
static void bad_request(struct rfaas_stream *stream)
{
    say_request(stream, 1, FOREVER, FOREVER);
}
static void bad_freed(struct rfaas_stream *stream)
{
    say_freed(stream, 1);
}
static void bad_freed_unknown(struct rfaas_stream *stream)
{
    say_register(stream, "unix:@executor", 2);
    hear(stream, BODY(EXECUTOR_REGISTERED));
    say_freed(stream, UINT64_MAX);
}
static void bad_release(struct rfaas_stream *stream)
{
    say_release(stream, 1); /* the witness's */
}
static void bad_release_unknown(struct rfaas_stream *stream)
{
    say_release(stream, UINT64_MAX);
}

static void test_nonsense(void)
{
    static const struct {
        Rfaas__Role role;
        void (*say_bad)(struct rfaas_stream *stream);
        const char *reason;
    } cases[] = {
        {CLIENT, bad_register, "not for a manager"},
        {CLIENT, bad_freed, "not for a manager"},
        {EXECUTOR, bad_request, "not for a manager"},
        {EXECUTOR, bad_release, "not for a manager"},
        {EXECUTOR, bad_second_register, "registered already"},
        {EXECUTOR, bad_address, "takes unix:"},
        {EXECUTOR, bad_no_cores, "1..4096 cores, not 0"},
        {EXECUTOR, bad_many_cores, "1..4096 cores, not 4294967295"},
        {EXECUTOR, bad_node, "name of 999 bytes"},
        {EXECUTOR, bad_freed, "no executor"},
        {EXECUTOR, bad_freed_unknown, "never was a part"},
        {CLIENT, bad_release, "not the client's"},
        {CLIENT, bad_release_unknown, "not the client's"},
    };
    begin();
    struct rfaas_stream *from = executor(2), *witness = peer(CLIENT);
    uint64_t lease = lease_from(witness, from, 1, FOREVER);
    CHECK_EQUAL(lease, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rfaas_stream *bad = peer(cases[i].role);
        cases[i].say_bad(bad);
        const char *reason = hear(bad, BODY(REFUSED))->refused->reason;
        if (!strstr(reason, cases[i].reason))
            printf("\n    \"%s\" lacks \"%s\"\n", reason, cases[i].reason);
        CHECK(strstr(reason, cases[i].reason) != NULL);
        hear_silence(bad);
        say_renew(witness, lease, FOREVER);
        CHECK_EQUAL(hear(witness, BODY(LEASE_RENEWED))->lease_renewed->status,
                    RFAAS_OK);
    }
    rfaas_stream_free(witness);
    hear_withdraw(from, lease, RFAAS__LEASE_END__LEASE_END_CLIENT_LOST);
    rfaas_stream_free(from);
}

static void test_garbage(void)
{
    static const unsigned char garbage[][12] = {
        {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3, 4}, /* a message of 4 GiB */
        {1, 16, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},            /* longer than any to it */
        {4, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4},          /* with 255 descriptors */
        {4, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, /* not of the protocol */
        {4, 0, 0, 0, 0, 0, 0, 0, 8, 1, 8, 1},             /* a call of nothing */
    };
    begin();
    struct rfaas_stream *from = executor(2), *witness = peer(CLIENT);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        struct rfaas_stream *bad = peer(i % 2 ? EXECUTOR : CLIENT);
        CHECK_EQUAL(
            send(rfaas_stream_fd(bad), garbage[i], sizeof garbage[i], MSG_NOSIGNAL),
            sizeof garbage[i]);
        hear_silence(bad);
    }
    lease_from(witness, from, 2, FOREVER);
    rfaas_stream_free(witness);
    rfaas_stream_free(from);
}

static const struct test tests[] = {
    {"a stranger without the key is refused", test_wrong_key},
    {"who talks nonsense is told why and thrown out", test_nonsense},
    {"who sends garbage is thrown out", test_garbage},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return peers_end(test_main("abuse of a manager", tests, argc, argv));
}
