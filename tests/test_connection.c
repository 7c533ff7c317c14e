/* Connections on an event loop: both ends live on one loop in this thread. */
#include "base/clock.h"
#include "base/error.h"
#include "control/connection.h"
#include "test.h"
#include "wire.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- two ends, and what they were told ----------------------------------------- */

struct side {
    struct rfaas_connection *connection;
    int messages;     /* that came */
    uint64_t last;    /* number of the last one; they have to come in order */
    int fds;          /* that came */
    int closed_calls; /* how often `closed` was called */
    int closed_status;
    int messages_when_closed;
    bool free_on_message, free_on_closed;
    struct rfaas_connection **also_free; /* on the first message */
    uint64_t answers;                    /* so many messages are answered, */
    uint64_t answer_add;                 /* with their number and this */
};

static int fds_before;
static struct event_base *base;
static struct side left, right;

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct side *side = arg;
    CHECK(connection == side->connection);
    CHECK_EQUAL(received->message->call, side->last + 1);
    CHECK_EQUAL(side->closed_calls, 0);
    side->last = received->message->call;
    side->messages++;
    side->fds += received->fd_count;
    if (side->last <= side->answers)
        rfaas_connection_send(connection,
                              make_message(side->last + side->answer_add, 9), NULL, 0);
    if (side->also_free) {
        rfaas_connection_free(*side->also_free);
        *side->also_free = NULL;
        side->also_free = NULL;
    }
    if (side->free_on_message) {
        rfaas_connection_free(connection);
        side->connection = NULL;
    }
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    struct side *side = arg;
    CHECK(connection == side->connection);
    side->closed_calls++;
    side->closed_status = status;
    side->messages_when_closed = side->messages;
    if (side->free_on_closed) {
        rfaas_connection_free(connection);
        side->connection = NULL;
    }
}

static const struct rfaas_connection_calls calls = {.message = on_message,
                                                    .closed = on_closed};

static void connect_side(struct side *side, int socket)
{
    struct rfaas_stream *stream;
    CHECK_FATAL(rfaas_stream_new(socket, RFAAS_MESSAGE_MAX, &stream) == RFAAS_OK);
    CHECK_FATAL(rfaas_connection_new(base, stream, side == &left ? "right" : "left",
                                     &calls, side, &side->connection) == RFAAS_OK);
}

/* `raw`, if not NULL, gets the right end as a bare socket. */
static void begin(int *raw)
{
    int ends[2];
    fds_before = open_fds();
    memset(&left, 0, sizeof left);
    memset(&right, 0, sizeof right);
    base = event_base_new();
    CHECK_FATAL(base && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    connect_side(&left, ends[0]);
    if (raw)
        *raw = ends[1];
    else
        connect_side(&right, ends[1]);
}

static void end(void)
{
    rfaas_connection_free(left.connection);
    rfaas_connection_free(right.connection);
    event_base_free(base);
    CHECK_EQUAL(open_fds(), fds_before);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

/* Runs the loop until the value is reached, for 10 seconds at most. */
static void run_until(const int *value, int reached)
{
    static const struct timeval interval = {0, 100000};
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    CHECK_FATAL(tick && event_add(tick, &interval) == 0);
    uint64_t deadline = rfaas_clock_ns() + rfaas_seconds_to_ns(10);
    while (*value < reached && rfaas_clock_ns() < deadline)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(tick);
    CHECK_EQUAL(*value, reached);
}

/* Runs what is due now. */
static void run_now(void)
{
    for (int i = 0; i < 5; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static void send_numbered(struct side *side, uint64_t first, uint64_t last, size_t size)
{
    for (uint64_t call = first; call <= last; call++)
        rfaas_connection_send(side->connection, make_message(call, size), NULL, 0);
}

/* ---- tests -------------------------------------------------------------------- */

static void test_exchange(void)
{
    begin(NULL);
    int files[2];
    make_files(files, 2);
    for (uint64_t call = 1; call <= 1000; call++)
        rfaas_connection_send(left.connection, make_message(call, 20), files,
                              call % 100 == 0 ? 2 : 0);
    close_files(files, 2);
    CHECK_EQUAL(right.messages, 0); /* calls come from the loop only */
    run_until(&right.messages, 1000);
    CHECK_EQUAL(right.fds, 20);
    send_numbered(&right, 1, 3, 20);
    run_until(&left.messages, 3);
    CHECK_EQUAL(strcmp(rfaas_connection_name(left.connection), "right"), 0);
    CHECK_EQUAL(left.closed_calls + right.closed_calls, 0);
    end();
}

/* More frames in one piece than a connection takes in its turn: the rest is in the
 * stream's buffer, and no event of the socket will tell of it. */
static void test_turns(void)
{
    int raw;
    begin(&raw);
    unsigned char bytes[4000];
    size_t size = 0;
    for (uint64_t call = 1; call <= 150; call++)
        size += make_frame(bytes + size, make_message(call, 5), 0);
    raw_send(raw, bytes, size, NULL, 0);
    run_until(&left.messages, 150);
    close(raw);
    run_until(&left.closed_calls, 1);
    end();
}

/* What the stream had read before it was made a connection. */
static void test_early_messages(void)
{
    int ends[2];
    begin(NULL);
    rfaas_connection_free(left.connection);
    CHECK_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    unsigned char bytes[256];
    size_t size = make_frame(bytes, make_message(9, 5), 0);
    for (uint64_t call = 1; call <= 3; call++)
        size += make_frame(bytes + size, make_message(call, 5), 0);
    raw_send(ends[1], bytes, size, NULL, 0);
    struct rfaas_stream *stream;
    struct rfaas_received received;
    CHECK_FATAL(rfaas_stream_new(ends[0], 4096, &stream) == RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_get(stream, &received), RFAAS_OK);
    rfaas_received_free(&received);
    /* And what was queued: */
    CHECK_EQUAL(rfaas_stream_put(stream, make_message(7, 5), NULL, 0), RFAAS_OK);
    CHECK_FATAL(rfaas_connection_new(base, stream, "early", &calls, &left,
                                     &left.connection) == RFAAS_OK);
    run_until(&left.messages, 3);
    CHECK(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0);
    close(ends[1]);
    end();
}

static void test_free_in_message(void)
{
    begin(NULL);
    right.free_on_message = true;
    send_numbered(&left, 1, 3, 5);
    run_until(&left.closed_calls, 1);
    CHECK_EQUAL(right.messages, 1);
    CHECK_EQUAL(right.closed_calls, 0);
    CHECK_EQUAL(left.closed_status, RFAAS_ERR_IO);
    end();
}

static void test_free_in_closed(void)
{
    begin(NULL);
    left.free_on_closed = true;
    rfaas_connection_free(right.connection);
    right.connection = NULL;
    run_until(&left.closed_calls, 1);
    CHECK(left.connection == NULL);
    end();
}

/* The other end's events are pending when it is freed. */
static void test_free_each_other(void)
{
    begin(NULL);
    left.also_free = &right.connection;
    right.also_free = &left.connection;
    send_numbered(&left, 1, 1, 5);
    send_numbered(&right, 1, 1, 5);
    run_now();
    CHECK_EQUAL(left.messages + right.messages, 1);
    CHECK_EQUAL(left.closed_calls + right.closed_calls, 1);
    end();
}

static void test_answers_in_calls(void)
{
    begin(NULL);
    right.answers = left.answers = 300;
    left.answer_add = 1;
    send_numbered(&left, 1, 1, 5);
    run_until(&right.messages, 301);
    CHECK_EQUAL(left.messages, 300);
    end();
}

static void test_nonsense(void)
{
    int raw;
    begin(&raw);
    unsigned char bytes[256];
    size_t size = make_frame(bytes, make_message(1, 5), 0);
    memset(bytes + size, 'x', 20);
    raw_send(raw, bytes, size + 20, NULL, 0);
    run_until(&left.closed_calls, 1);
    CHECK_EQUAL(left.messages_when_closed, 1);
    CHECK_EQUAL(left.closed_status, RFAAS_ERR_PROTOCOL);
    raw_send(raw, bytes, size, NULL, 0);
    rfaas_connection_send(left.connection, make_message(1, 5), NULL, 0);
    run_now();
    CHECK_EQUAL(left.closed_calls, 1);
    CHECK_EQUAL(left.messages, 1);
    close(raw);
    end();
}

/* A send fails, but what the peer had said before comes first. */
static void test_last_words(void)
{
    int raw;
    begin(&raw);
    unsigned char bytes[4000];
    size_t size = 0;
    for (uint64_t call = 1; call <= 150; call++)
        size += make_frame(bytes + size, make_message(call, 5), 0);
    raw_send(raw, bytes, size, NULL, 0);
    close(raw);
    send_numbered(&left, 1, 2, 5);
    CHECK_EQUAL(left.closed_calls, 0); /* comes from the loop only */
    run_until(&left.closed_calls, 1);
    CHECK_EQUAL(left.messages_when_closed, 150);
    CHECK_EQUAL(left.closed_status, RFAAS_ERR_IO);
    run_now();
    CHECK_EQUAL(left.closed_calls, 1);
    end();
}

/* The socket stays open, but nothing can be written to it. */
static void test_send_fails(void)
{
    int raw;
    begin(&raw);
    shutdown(raw, SHUT_RD);
    send_numbered(&left, 1, 2, 5);
    CHECK_EQUAL(left.closed_calls, 0);
    run_until(&left.closed_calls, 1);
    CHECK_EQUAL(left.closed_status, RFAAS_ERR_IO);
    close(raw);
    end();
}

static void test_slow_reader(void)
{
    begin(NULL);
    send_numbered(&left, 1, 20, 1 << 20);
    run_until(&right.messages, 20);
    send_numbered(&left, 21, 21, 5);
    run_until(&right.messages, 21);
    end();
}

static void test_flush_on_free(void)
{
    begin(NULL);
    send_numbered(&left, 1, 5, 100);
    rfaas_connection_free(left.connection);
    left.connection = NULL;
    run_until(&right.closed_calls, 1);
    CHECK_EQUAL(right.messages_when_closed, 5);
    end();
}

/* Likewise for what the socket had no room for when it was sent. */
static void test_flush_rest_on_free(void)
{
    int raw;
    static char scratch[4 << 20];
    begin(&raw);
    send_numbered(&left, 1, 1, 1 << 20);
    ssize_t first = recv(raw, scratch, sizeof scratch, MSG_DONTWAIT);
    CHECK(first > 0 && first < 1 << 20);
    rfaas_connection_free(left.connection);
    left.connection = NULL;
    CHECK(recv(raw, scratch, sizeof scratch, MSG_DONTWAIT) > 0);
    close(raw);
    end();
}

static int handled;

static void other_message(struct rfaas_connection *connection,
                          struct rfaas_received *received, void *arg)
{
    (void)connection, (void)received;
    CHECK(arg == &handled);
    handled++;
}

static void change_hands(struct rfaas_connection *connection,
                         struct rfaas_received *received, void *arg)
{
    static const struct rfaas_connection_calls others = {.message = other_message,
                                                         .closed = on_closed};
    (void)received, (void)arg;
    rfaas_connection_handle(connection, &others, &handled);
}

static void test_handle(void)
{
    static const struct rfaas_connection_calls first = {.message = change_hands,
                                                        .closed = on_closed};
    begin(NULL);
    handled = 0;
    rfaas_connection_handle(right.connection, &first, NULL);
    send_numbered(&left, 1, 3, 5);
    run_until(&handled, 2);
    CHECK_EQUAL(right.messages, 0);
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"messages and descriptors go both ways in order", test_exchange},
        {"a peer with much to say is heard to the end, in turns", test_turns},
        {"what the stream held already is delivered", test_early_messages},
        {"a connection can be freed when a message comes", test_free_in_message},
        {"a connection can be freed when it closes", test_free_in_closed},
        {"a connection can be freed by another's message", test_free_each_other},
        {"messages can be answered at once", test_answers_in_calls},
        {"nonsense ends the connection, after what made sense", test_nonsense},
        {"a peer's last words are heard when writing to it fails", test_last_words},
        {"a send that fails closes the connection from the loop", test_send_fails},
        {"what the socket doesn't take at once is written later", test_slow_reader},
        {"what was sent just before the end arrives", test_flush_on_free},
        {"the end of a connection writes what the socket still takes",
         test_flush_rest_on_free},
        {"a connection can change hands between messages", test_handle},
        {NULL, NULL},
    };
    return test_main("connection", tests, argc, argv);
}
