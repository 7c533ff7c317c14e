/* Connections on a libevent base. */
#include "control/connection.h"
#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    /* Messages taken before the others on the loop have their turn. */
    TURN = 64,
    NAME_SIZE = 96,
};

struct rfaas_connection {
    struct rfaas_stream *stream;
    const struct rfaas_connection_calls *calls;
    void *arg;
    char name[NAME_SIZE];

    struct event *readable, *writable;
    /* Comes back in the next round of the loop, without the socket having to wake it:
     * for messages that were read but not yet taken, and for failures of sending. */
    struct event *again;

    int broken;   /* status of a send that failed; 0 = none */
    bool closed;  /* the owner has been told */
    bool in_call; /* a callback is running: */
    bool freed;   /* memory is kept until it has returned */
};

static void come_again(struct rfaas_connection *connection)
{
    static const struct timeval at_once = {0, 0};
    /* An event that exists can fail to be added only for lack of memory; then the
     * socket's next event does its work. */
    event_add(connection->again, &at_once);
}

/* Hands messages over; returns RFAAS_IN_PROGRESS when none is left for now, or what
 * ended the connection. */
static int take_messages(struct rfaas_connection *connection)
{
    for (int i = 0; i < TURN; i++) {
        struct rfaas_received received;
        int status = rfaas_stream_get(connection->stream, &received);
        if (status != RFAAS_OK)
            return status;
        connection->calls->message(connection, &received, connection->arg);
        rfaas_received_free(&received);
        if (connection->freed)
            return RFAAS_IN_PROGRESS;
    }
    come_again(connection);
    return RFAAS_IN_PROGRESS;
}

static void report_closed(struct rfaas_connection *connection, int status)
{
    if (status == RFAAS_ERR_IO)
        rfaas_debug("connection to %s: %s", connection->name, rfaas_last_error());
    else
        rfaas_warn("connection to %s: %s", connection->name, rfaas_last_error());
    event_del(connection->readable);
    event_del(connection->writable);
    event_del(connection->again);
    connection->closed = true;
    connection->calls->closed(connection, status, connection->arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_connection *connection = arg;
    connection->in_call = true;
    int status = take_messages(connection);
    /* A peer that can't be written to may still have said something before it went:
     * `broken` counts when that has been read. */
    if (status == RFAAS_IN_PROGRESS && connection->broken &&
        !evtimer_pending(connection->again, NULL))
        status =
            rfaas_fail(connection->broken, "control: the peer can't be written to");
    if (status != RFAAS_IN_PROGRESS && !connection->freed)
        report_closed(connection, status);
    connection->in_call = false;
    if (connection->freed)
        free(connection);
}

/* What came of writing: wait for the socket, or end the connection from the loop. */
static void after_flush(struct rfaas_connection *connection, int status)
{
    if (status == RFAAS_IN_PROGRESS && event_add(connection->writable, NULL) != 0)
        status = rfaas_fail(RFAAS_ERR_NO_MEMORY, "libevent: event_add failed");
    if (status == RFAAS_IN_PROGRESS)
        return;
    event_del(connection->writable);
    if (status == RFAAS_OK)
        return;
    connection->broken = status;
    come_again(connection);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_connection *connection = arg;
    after_flush(connection, rfaas_stream_flush(connection->stream));
}

void rfaas_connection_send(struct rfaas_connection *connection,
                           const Rfaas__Message *message, const int fds[], int fd_count)
{
    if (connection->closed || connection->broken)
        return;
    int status = rfaas_stream_put(connection->stream, message, fds, fd_count);
    if (status != RFAAS_OK)
        rfaas_warn("connection to %s: %s", connection->name, rfaas_last_error());
    else
        status = rfaas_stream_flush(connection->stream);
    after_flush(connection, status);
}

static void free_events(struct rfaas_connection *connection)
{
    if (connection->readable)
        event_free(connection->readable);
    if (connection->writable)
        event_free(connection->writable);
    if (connection->again)
        event_free(connection->again);
}

int rfaas_connection_new(struct event_base *base, struct rfaas_stream *stream,
                         const char *name, const struct rfaas_connection_calls *calls,
                         void *arg, struct rfaas_connection **connection)
{
    struct rfaas_connection *new = calloc(1, sizeof *new);
    if (!new)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "connection to %s: out of memory", name);
    int fd = rfaas_stream_fd(stream);
    new->stream = stream;
    new->calls = calls;
    new->arg = arg;
    snprintf(new->name, sizeof new->name, "%s", name);
    new->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, new);
    new->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, new);
    new->again = evtimer_new(base, on_readable, new);
    if (!new->readable || !new->writable || !new->again ||
        event_add(new->readable, NULL) != 0) {
        free_events(new);
        free(new);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "connection to %s: no event", name);
    }
    /* The stream may hold messages already, or something that is still to be sent. */
    come_again(new);
    after_flush(new, rfaas_stream_flush(stream));
    *connection = new;
    return RFAAS_OK;
}

void rfaas_connection_free(struct rfaas_connection *connection)
{
    if (!connection)
        return;
    free_events(connection);
    if (!connection->closed && !connection->broken)
        rfaas_stream_flush(connection->stream);
    rfaas_stream_free(connection->stream);
    connection->freed = true;
    if (!connection->in_call)
        free(connection);
}

const char *rfaas_connection_name(const struct rfaas_connection *connection)
{
    return connection->name;
}

void rfaas_connection_handle(struct rfaas_connection *connection,
                             const struct rfaas_connection_calls *calls, void *arg)
{
    connection->calls = calls;
    connection->arg = arg;
}
