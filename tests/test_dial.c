/* Connecting from an event loop, to servers that are right, wrong, silent or full. */
#include "base/clock.h"
#include "base/error.h"
#include "control/address.h"
#include "control/dial.h"
#include "server.h"
#include "test.h"
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct rfaas_key key = {{1, 2, 3}};
static struct event_base *base;
static int fds_before;

static void begin(void)
{
    fds_before = open_fds();
    base = event_base_new();
    CHECK_FATAL(base != NULL);
}

static void end(void)
{
    event_base_free(base);
    CHECK_EQUAL(open_fds(), fds_before);
}

/* ---- a dial and what came of it ------------------------------------------------ */

struct attempt {
    struct rfaas_dial *dial;
    int ends, status;
    struct rfaas_stream *stream;
    char error[512];
};

static void on_dialled(int status, struct rfaas_stream *stream, void *arg)
{
    struct attempt *attempt = arg;
    attempt->ends++;
    attempt->status = status;
    attempt->stream = stream;
    snprintf(attempt->error, sizeof attempt->error, "%s",
             status == RFAAS_OK ? "" : rfaas_last_error());
    rfaas_dial_free(attempt->dial);
}

static void dial(struct attempt *attempt, const char *address,
                 const struct rfaas_key *with)
{
    const struct rfaas_introduction who = {.address = address,
                                           .what = "executor",
                                           .key = with,
                                           .role = RFAAS__ROLE__ROLE_CLIENT,
                                           .name = "me"};
    memset(attempt, 0, sizeof *attempt);
    CHECK_FATAL(rfaas_dial_new(base, &who, 4 << 20, on_dialled, attempt,
                               &attempt->dial) == RFAAS_OK);
    CHECK_EQUAL(attempt->ends, 0); /* from the loop only */
}

/* That it ended once and like that. */
static void check_end(const struct attempt *attempt, int status, const char *text)
{
    CHECK_EQUAL(attempt->ends, 1);
    CHECK_EQUAL(attempt->status, status);
    CHECK_EQUAL(attempt->stream != NULL, status == RFAAS_OK);
    bool named = strstr(attempt->error, text) != NULL;
    CHECK(named);
    if (!named)
        printf("    not in \"%s\": %s\n", attempt->error, text);
}

/* A loop that has nothing left to wait for ends. */
static void run(void)
{
    CHECK(event_base_dispatch(base) >= 0);
}

static bool is_readable(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

static void run_until_readable(int fd)
{
    while (!is_readable(fd))
        CHECK_FATAL(event_base_loop(base, EVLOOP_ONCE) == 0);
}

/* The dial's connection, once it is there. */
static struct rfaas_stream *accept_dial(int listening)
{
    run_until_readable(listening);
    return fake_accept(listening);
}

/* The server's part of the handshake as far as Hello has come. */
static void challenge(struct rfaas_handshake *handshake, struct rfaas_stream *stream)
{
    CHECK_EQUAL(rfaas_handshake_begin(handshake, &key, "", stream), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_flush(stream), RFAAS_OK);
    run_until_readable(rfaas_stream_fd(stream));
}

/* All of it: the dial's next connection is taken. */
static void welcome(struct attempt *attempt, int listening)
{
    struct rfaas_handshake handshake;
    struct rfaas_received received;
    struct rfaas_stream *stream = accept_dial(listening);
    challenge(&handshake, stream);
    CHECK_FATAL(rfaas_stream_receive(stream, &received, 10000) == RFAAS_OK);
    CHECK_EQUAL(rfaas_handshake_answer(&handshake, received.message, stream), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_flush(stream), RFAAS_OK);
    rfaas_received_free(&received);
    run();
    check_end(attempt, RFAAS_OK, "");
    rfaas_stream_free(attempt->stream);
    rfaas_stream_free(stream);
}

/* ---- those who answer ---------------------------------------------------------- */

static void test_welcome(void)
{
    struct server server;
    struct attempt attempt;
    begin();
    server_start(&server, NULL, false);
    dial(&attempt, server.address, &server.key);
    run();
    check_end(&attempt, RFAAS_OK, "");
    CHECK_FATAL(server_accepted(&server));
    CHECK_EQUAL(strcmp(server.last_name, "me"), 0);
    CHECK_EQUAL(server.last_role, RFAAS__ROLE__ROLE_CLIENT);
    rfaas_stream_free(attempt.stream);
    server_stop(&server);
    end();
}

static void test_wrong_key(void)
{
    struct server server;
    struct attempt attempt;
    begin();
    server_start(&server, NULL, false);
    dial(&attempt, server.address, &key);
    run();
    check_end(&attempt, RFAAS_ERR_REFUSED, "executor at unix:@rfaas-test-");
    CHECK(strstr(attempt.error, "wrong key") != NULL);
    server_stop(&server);
    end();
}

static void test_garbage(void)
{
    char address[128];
    struct attempt attempt;
    begin();
    int listening = fake_server(address);
    dial(&attempt, address, &key);
    struct rfaas_stream *stream = accept_dial(listening);
    raw_send(rfaas_stream_fd(stream), "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0);
    run();
    check_end(&attempt, RFAAS_ERR_PROTOCOL, "a message of 542393671 bytes");
    rfaas_stream_free(stream);
    close(listening);
    end();
}

/* ---- those who go -------------------------------------------------------------- */

static void test_nobody(void)
{
    struct attempt attempts[3];
    uint64_t start = rfaas_clock_ns();
    begin();
    dial(&attempts[0], "unix:@rfaas-test-nobody", &key);
    dial(&attempts[1], "unix:/nonexistent/x", &key);
    dial(&attempts[2], "tcp:host:1", &key);
    run();
    check_end(&attempts[0], RFAAS_ERR_MANAGER, "nobody there");
    check_end(&attempts[1], RFAAS_ERR_MANAGER, "No such file");
    check_end(&attempts[2], RFAAS_ERR_ARGUMENT, "tcp:host:1");
    CHECK(rfaas_clock_ns() - start < 1000000000);
    end();
}

/* A server that has taken the call, or Hello, and ends: at once, or after it has sent
 * the caller away `times` times. */
static void check_gone(int times, bool after_hello, bool stays, const char *text)
{
    char address[128];
    struct attempt attempt;
    struct rfaas_handshake handshake;
    begin();
    int listening = fake_server(address);
    dial(&attempt, address, &key);
    for (int i = 0; i < times; i++) {
        struct rfaas_stream *stream = accept_dial(listening);
        if (after_hello)
            challenge(&handshake, stream);
        if (i + 1 == times && !stays)
            close(listening);
        rfaas_stream_free(stream);
    }
    uint64_t start = rfaas_clock_ns();
    run();
    CHECK(rfaas_clock_ns() - start < 1000000000);
    check_end(&attempt, RFAAS_ERR_MANAGER, text);
    if (stays)
        close(listening);
    end();
}

static void test_gone(void)
{
    check_gone(1, false, false, "nobody there");
    check_gone(1, true, false, "nobody there");
    check_gone(3, false, false, "nobody there");
    check_gone(4, false, true, "closed the connection");
}

/* One whose process ends while the call is in its queue. */
static void test_gone_in_queue(void)
{
    char address[128];
    struct attempt attempt;
    begin();
    int listening = fake_server(address);
    dial(&attempt, address, &key);
    run_until_readable(listening);
    close(listening);
    run();
    check_end(&attempt, RFAAS_ERR_MANAGER, "nobody there");
    end();
}

static void test_come_again(void)
{
    char address[128];
    struct attempt attempt;
    struct rfaas_handshake handshake;
    begin();
    int listening = fake_server(address);
    dial(&attempt, address, &key);
    struct rfaas_stream *stream = accept_dial(listening);
    challenge(&handshake, stream);
    rfaas_stream_free(stream);
    welcome(&attempt, listening);
    close(listening);
    end();
}

/* ---- those who keep callers waiting -------------------------------------------- */

enum { CALLERS_MAX = 8 };

/* Fills the queue of a server; returns with how many. */
static int fill_queue(int listening, const char *address, int callers[CALLERS_MAX])
{
    struct sockaddr_storage parsed;
    socklen_t length;
    int count = 0;
    CHECK_FATAL(listen(listening, 1) == 0);
    CHECK_FATAL(rfaas_address_parse(address, &parsed, &length) == RFAAS_OK);
    for (;; count++) {
        CHECK_FATAL(count < CALLERS_MAX);
        callers[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(callers[count], (struct sockaddr *)&parsed, length) != 0)
            break;
    }
    CHECK_EQUAL(errno, EAGAIN);
    close(callers[count]);
    return count;
}

static void test_full_for_a_while(void)
{
    char address[128];
    int callers[CALLERS_MAX];
    struct attempt attempt;
    begin();
    int listening = fake_server(address);
    int count = fill_queue(listening, address, callers);
    dial(&attempt, address, &key);
    for (int turn = 0; turn < 3; turn++)
        CHECK_EQUAL(event_base_loop(base, EVLOOP_ONCE), 0);
    CHECK_EQUAL(attempt.ends, 0);
    for (int i = 0; i < count; i++)
        rfaas_stream_free(fake_accept(listening));
    welcome(&attempt, listening);
    close_files(callers, count);
    close(listening);
    end();
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ++*(int *)arg;
}

/* One that stays full, one that never answers, and one that stops after Challenge: their
 * time is the same 5 seconds, in which the loop goes on. */
static void test_deadline(void)
{
    enum { FULL, SILENT, HALF, COUNT };
    char addresses[COUNT][128];
    int callers[CALLERS_MAX], listening[COUNT], ticks = 0;
    struct attempt attempts[COUNT];
    struct rfaas_handshake handshake;
    const struct timeval interval = {.tv_usec = 50000};
    begin();
    for (int i = 0; i < COUNT; i++)
        listening[i] = fake_server(addresses[i]);
    int count = fill_queue(listening[FULL], addresses[FULL], callers);
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, &ticks);
    CHECK_FATAL(tick && event_add(tick, &interval) == 0);
    uint64_t start = rfaas_clock_ns();
    for (int i = 0; i < COUNT; i++)
        dial(&attempts[i], addresses[i], &key);
    struct rfaas_stream *half = accept_dial(listening[HALF]);
    challenge(&handshake, half);
    while (attempts[FULL].ends + attempts[SILENT].ends + attempts[HALF].ends < COUNT)
        CHECK_FATAL(event_base_loop(base, EVLOOP_ONCE) == 0);
    double took = (double)(rfaas_clock_ns() - start) / 1e9;
    CHECK(took > 4.9 && took < 7);
    CHECK(ticks > 20);
    check_end(&attempts[FULL], RFAAS_ERR_TIMEOUT, "too busy to take a call");
    check_end(&attempts[SILENT], RFAAS_ERR_TIMEOUT, "no answer within 5000 ms");
    check_end(&attempts[HALF], RFAAS_ERR_TIMEOUT, "no answer within 5000 ms");
    event_free(tick);
    rfaas_stream_free(half);
    close_files(callers, count);
    close_files(listening, COUNT);
    end();
}

/* ---- those who hang up --------------------------------------------------------- */

/* At every step: nothing is called any more, and nothing left. */
static void test_hang_up(void)
{
    char address[128];
    int callers[CALLERS_MAX];
    struct attempt attempts[4];
    struct rfaas_handshake handshake;
    begin();
    int listening = fake_server(address);
    for (int i = 0; i < 3; i++)
        dial(&attempts[i], address, &key);
    rfaas_dial_free(attempts[0].dial);
    struct rfaas_stream *first = accept_dial(listening);
    struct rfaas_stream *second = accept_dial(listening);
    challenge(&handshake, first);
    rfaas_dial_free(attempts[1].dial);
    rfaas_dial_free(attempts[2].dial);
    CHECK(raw_wait_end(rfaas_stream_fd(first), 10000));
    CHECK(raw_wait_end(rfaas_stream_fd(second), 10000));
    int count = fill_queue(listening, address, callers);
    dial(&attempts[3], address, &key);
    CHECK_EQUAL(event_base_loop(base, EVLOOP_ONCE), 0);
    rfaas_dial_free(attempts[3].dial);
    run();
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(attempts[i].ends, 0);
    rfaas_stream_free(first);
    rfaas_stream_free(second);
    close_files(callers, count);
    close(listening);
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a server with the key takes the caller", test_welcome},
        {"a wrong key is refused, with the reason", test_wrong_key},
        {"garbage is no handshake", test_garbage},
        {"an address where nobody is ends it at once", test_nobody},
        {"a server that goes ends it at once", test_gone},
        {"so does one that goes with the call in its queue", test_gone_in_queue},
        {"a caller that is sent away comes again", test_come_again},
        {"a server whose queue is full is called until there is room",
         test_full_for_a_while},
        {"a server that keeps silent, or full, has 5 seconds", test_deadline},
        {"hanging up leaves nothing at any step", test_hang_up},
        {NULL, NULL},
    };
    return test_main("dial", tests, argc, argv);
}
