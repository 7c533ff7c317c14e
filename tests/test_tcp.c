/* Control over TCP: addresses, the handshake, what doesn't travel, and peers that go
 * without a word. */
#include "base/clock.h"
#include "base/error.h"
#include "control/address.h"
#include "control/host.h"
#include "server.h"
#include "test.h"
#include "wire.h"
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fds_before;
static struct server server;

static void begin(const char *address, bool offer)
{
    fds_before = open_fds();
    server_start(&server, address, offer);
}

static void end(void)
{
    server_stop(&server);
    CHECK_EQUAL(open_fds(), fds_before);
}

static double seconds_since(uint64_t start)
{
    return (double)(rfaas_clock_ns() - start) / 1e9;
}

/* ---- addresses ------------------------------------------------------------------- */

static void check_address(const char *text, const char *expected)
{
    struct sockaddr_storage address;
    socklen_t length;
    char formatted[RFAAS_ADDRESS_MAX] = "";
    CHECK_EQUAL(rfaas_address_parse(text, &address, &length), RFAAS_OK);
    CHECK_EQUAL(rfaas_address_format(&address, formatted), RFAAS_OK);
    CHECK_EQUAL(strcmp(formatted, expected), 0);
    CHECK(rfaas_address_is_tcp(text));
}

static void test_addresses(void)
{
    struct sockaddr_storage address;
    socklen_t length;
    check_address("tcp:10.1.2.3:4711", "tcp:10.1.2.3:4711");
    check_address("10.1.2.3:0", "tcp:10.1.2.3:0");
    check_address("tcp:[2001:db8::1]:65535", "tcp:[2001:db8::1]:65535");
    check_address("[::]:1", "tcp:[::]:1");
    CHECK(!rfaas_address_is_tcp("unix:@a"));
    const char *const bad[] = {"tcp:",
                               "tcp:10.1.2.3",
                               "tcp:10.1.2.3:",
                               "tcp::1",
                               ":1",
                               "10.1.2.3:65536",
                               "10.1.2.3:-1",
                               "10.1.2.3: 1",
                               "10.1.2.3:1x",
                               "10.1.2.3:000001",
                               "::1:1",
                               "[::1:1",
                               "[]:1",
                               "[10.1.2.3]x:1",
                               "[::1]",
                               "a.name:1",
                               "tcp:unix:@a",
                               "tcp"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQUAL(rfaas_address_parse(bad[i], &address, &length), RFAAS_ERR_ARGUMENT);
        CHECK(strstr(rfaas_last_error(), bad[i]) != NULL);
    }
}

/* A minimal system may know no names at all, not even this one. Asked of the system, not
 * of what is tested. */
static bool has_localhost(void)
{
    struct addrinfo *found = NULL;
    bool has = getaddrinfo("localhost", NULL, NULL, &found) == 0;
    if (has)
        freeaddrinfo(found);
    else
        printf("SKIPPED: this machine has no name localhost (see /etc/hosts)\n");
    return has;
}

static void check_localhost(void)
{
    char found[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX];
    int count = 0, loopback = 0;
    CHECK_EQUAL(rfaas_address_resolve("localhost:77", found, &count), RFAAS_OK);
    CHECK(count >= 1 && count <= RFAAS_ADDRESSES_MAX);
    for (int i = 0; i < count; i++)
        loopback += strcmp(found[i], "tcp:127.0.0.1:77") == 0 ||
                    strcmp(found[i], "tcp:[::1]:77") == 0;
    CHECK_EQUAL(loopback, count);
}

static void test_names(void)
{
    char found[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX];
    int count = 0;
    if (has_localhost())
        check_localhost();
    CHECK_EQUAL(rfaas_address_resolve("unix:@x", found, &count), RFAAS_OK);
    CHECK(count == 1 && strcmp(found[0], "unix:@x") == 0);
    CHECK_EQUAL(rfaas_address_resolve("tcp:no host:1", found, &count),
                RFAAS_ERR_ARGUMENT);
    CHECK(strstr(rfaas_last_error(), "no host:1") != NULL);
}

/* What others are told is an address of an interface here, and no loopback if there is
 * another. */
static void test_this_host(void)
{
    char boot_id[RFAAS_BOOT_ID_MAX], text[RFAAS_ADDRESS_MAX], ours[RFAAS_ADDRESS_MAX];
    struct sockaddr_storage address;
    struct ifaddrs *interfaces;
    bool found = false, others = false, loopback = false;
    rfaas_host_boot_id(boot_id);
    CHECK_EQUAL(strlen(boot_id), 36);
    rfaas_host_address(AF_INET, &address);
    CHECK_EQUAL(address.ss_family, AF_INET);
    CHECK_EQUAL(rfaas_address_format(&address, ours), RFAAS_OK);
    CHECK_FATAL(getifaddrs(&interfaces) == 0);
    for (struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
            !(i->ifa_flags & IFF_UP))
            continue;
        struct sockaddr_storage of_interface;
        memcpy(&of_interface, i->ifa_addr, sizeof(struct sockaddr_in));
        CHECK_EQUAL(rfaas_address_format(&of_interface, text), RFAAS_OK);
        others |= !(i->ifa_flags & IFF_LOOPBACK);
        if (strcmp(text, ours) == 0) {
            found = true;
            loopback = i->ifa_flags & IFF_LOOPBACK;
        }
    }
    freeifaddrs(interfaces);
    CHECK(found);
    CHECK_EQUAL(loopback, !others);
}

/* ---- handshake ------------------------------------------------------------------- */

static void check_welcome(const char *listen)
{
    begin(listen, false);
    CHECK(strncmp(server.address, "tcp:", 4) == 0);
    CHECK(!strstr(server.address, "0.0.0.0") && !strstr(server.address, "[::]"));
    expect_welcome(&server);
    end();
}

static bool has_ipv6(void)
{
    const struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                         .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has =
        fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static void test_welcome(void)
{
    check_welcome("tcp:127.0.0.1:0");
    if (has_localhost())
        check_welcome("localhost:0");
    check_welcome("0.0.0.0:0");
    check_welcome("tcp");
    if (has_ipv6())
        check_welcome("[::1]:0");
    else
        printf("SKIPPED: there is no IPv6 here\n");
}

/* A name with several addresses: the server is at one of them. */
static void test_by_name(void)
{
    char name[RFAAS_ADDRESS_MAX];
    if (!has_localhost())
        return;
    begin("tcp:127.0.0.1:0", false);
    snprintf(name, sizeof name, "localhost%s", strrchr(server.address, ':'));
    struct caller caller = {.address = name, .key = &server.key};
    caller_start(&caller);
    caller_join(&caller, RFAAS_OK, "");
    CHECK(server_accepted(&server));
    end();
}

static void test_keys(void)
{
    struct rfaas_key other;
    CHECK_EQUAL(rfaas_key_create(&other), RFAAS_OK);
    begin("tcp:127.0.0.1:0", true);
    expect_refusal(server.address, &other, RFAAS_ERR_REFUSED, "wrong key");
    expect_refusal(server.address, NULL, RFAAS_ERR_REFUSED, "set key_file");
    expect_welcome(&server);

    /* The offer isn't even made. */
    struct rfaas_stream *stream;
    struct rfaas_received received;
    CHECK_FATAL(rfaas_stream_new(stranger(server.address), 4096, &stream) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_receive(stream, &received, 10000) == RFAAS_OK);
    CHECK_FATAL(received.message->body_case == RFAAS__MESSAGE__BODY_CHALLENGE);
    CHECK_EQUAL(strcmp(received.message->challenge->key_file, ""), 0);
    rfaas_received_free(&received);
    rfaas_stream_free(stream);
    end();
}

static void test_strangers(void)
{
    begin("tcp:127.0.0.1:0", false);
    int garbage = stranger(server.address), dying = stranger(server.address),
        silent = stranger(server.address);
    raw_send(garbage, "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0);
    CHECK(raw_wait_end(garbage, 10000));
    raw_send(dying, "abc", 3, NULL, 0);
    close(dying);
    expect_welcome(&server);
    uint64_t start = rfaas_clock_ns();
    CHECK(raw_wait_end(silent, 10000));
    CHECK(seconds_since(start) < 7);
    close(garbage);
    close(silent);
    end();
}

/* ---- servers that don't answer ------------------------------------------------- */

/* A socket of TCP at a free port, its queue for one caller. */
static int bare_server(char address[RFAAS_ADDRESS_MAX])
{
    struct sockaddr_storage bound = {.ss_family = AF_INET};
    socklen_t length = sizeof bound;
    ((struct sockaddr_in *)&bound)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_FATAL(fd >= 0 &&
                bind(fd, (struct sockaddr *)&bound, sizeof(struct sockaddr_in)) == 0);
    CHECK_FATAL(listen(fd, 0) == 0);
    CHECK_FATAL(getsockname(fd, (struct sockaddr *)&bound, &length) == 0);
    CHECK_FATAL(rfaas_address_format(&bound, address) == RFAAS_OK);
    return fd;
}

static void test_nobody(void)
{
    char address[RFAAS_ADDRESS_MAX];
    struct rfaas_key key;
    CHECK_EQUAL(rfaas_key_create(&key), RFAAS_OK);
    close(bare_server(address));
    uint64_t start = rfaas_clock_ns();
    expect_refusal(address, &key, RFAAS_ERR_MANAGER,
                   "nobody there: Connection refused");
    CHECK(seconds_since(start) < 1);
}

/* One whose process is stopped: its system takes the first call, which nobody answers,
 * and drops the rest. */
static void test_silence(void)
{
    enum { CALLERS = 4 };
    char address[RFAAS_ADDRESS_MAX];
    struct rfaas_key key;
    struct caller callers[CALLERS];
    int unanswered = 0, untaken = 0;
    CHECK_EQUAL(rfaas_key_create(&key), RFAAS_OK);
    int listening = bare_server(address);
    uint64_t start = rfaas_clock_ns();
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.address = address, .key = &key};
        caller_start(&callers[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        unanswered += callers[i].status == RFAAS_ERR_TIMEOUT &&
                      strstr(callers[i].error, "no answer within 5000 ms");
        untaken += callers[i].status == RFAAS_ERR_MANAGER &&
                   strstr(callers[i].error, "nobody there: Connection timed out");
    }
    CHECK_EQUAL(unanswered + untaken, CALLERS);
    CHECK(unanswered >= 1);
    CHECK(seconds_since(start) < 8);
    close(listening);
}

/* ---- descriptors ----------------------------------------------------------------- */

static void test_descriptors(void)
{
    int files[2];
    unsigned char frame[5000];
    struct rfaas_received received;
    struct rfaas_stream *stream = NULL;
    make_files(files, 2);
    begin("tcp:127.0.0.1:0", false);
    struct caller caller = {.address = server.address, .key = &server.key};
    caller_start(&caller);
    pthread_join(caller.thread, NULL);
    CHECK_FATAL(caller.status == RFAAS_OK && server_accepted(&server));
    stream = caller.stream;
    CHECK(!rfaas_stream_local(stream));
    CHECK_EQUAL(rfaas_stream_send(stream, make_message(5, 3 << 20), files, 2, 10000),
                RFAAS_OK);
    CHECK_FATAL(rfaas_stream_receive(stream, &received, 10000) == RFAAS_OK);
    CHECK(message_is(received.message, 5, 3 << 20));
    CHECK_EQUAL(received.fd_count, 0);
    rfaas_received_free(&received);
    /* One that says there were some ends the connection. */
    raw_send(rfaas_stream_fd(stream), frame, make_frame(frame, make_message(1, 10), 1),
             NULL, 0);
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 10000), RFAAS_ERR_IO);
    rfaas_stream_free(stream);
    end();
    close_files(files, 2);
}

/* ---- going without a word -------------------------------------------------------- */

static bool loopback_set(bool up)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags =
        (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* Whether the stream's end comes within 5 seconds. */
static void check_end(struct rfaas_stream *stream, uint64_t start)
{
    struct rfaas_received received;
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 10000), RFAAS_ERR_IO);
    double took = seconds_since(start);
    CHECK(took < 5.5);
    if (took >= 5.5)
        printf("\n    took %.1f s\n", took);
    rfaas_stream_free(stream);
}

/* In a network of its own that is taken away: one connection where nothing is said, and
 * one with something on its way. Neither ends while the peer is only silent. */
static void test_cut(void)
{
    char address[RFAAS_ADDRESS_MAX];
    struct rfaas_stream *idle, *busy;
    struct rfaas_received received;
    if (unshare(CLONE_NEWNET) != 0 || !loopback_set(true)) {
        printf("SKIPPED: no right to make a network namespace: %m\n");
        return;
    }
    int listening = bare_server(address);
    CHECK_FATAL(listen(listening, 2) == 0);
    CHECK_FATAL(rfaas_stream_new(stranger(address), 4096, &idle) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_new(stranger(address), 4096, &busy) == RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_receive(idle, &received, 6000), RFAAS_ERR_TIMEOUT);
    uint64_t start = rfaas_clock_ns();
    CHECK_FATAL(loopback_set(false));
    CHECK_EQUAL(rfaas_stream_put(busy, make_message(1, 1000), NULL, 0), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_flush(busy), RFAAS_OK);
    check_end(busy, start);
    check_end(idle, start);
    close(listening);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"addresses are taken or refused with their text", test_addresses},
        {"names become numbers", test_names},
        {"this host has an address for others", test_this_host},
        {"a caller with the key is taken, by IPv4, IPv6 and all", test_welcome},
        {"of a name's addresses the one is found where the server is", test_by_name},
        {"a wrong key is refused, and none is offered or taken", test_keys},
        {"strangers are refused and disturb nobody", test_strangers},
        {"a port where nobody is ends it at once", test_nobody},
        {"a server that keeps silent, or full, has 5 seconds", test_silence},
        {"descriptors don't travel", test_descriptors},
        {"a peer that goes without a word is missed in 5 seconds", test_cut},
        {NULL, NULL},
    };
    return test_main("tcp", tests, argc, argv);
}
