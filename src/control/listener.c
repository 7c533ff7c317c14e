/* Listeners on a libevent base: strangers come in here, and leave it as peers that
 * have proved themselves, or refused. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/connection.h"
#include "control/socket.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

enum {
    STRANGERS_MAX = 64,
    /* When all places are taken, who has been in the handshake for longer than this
     * makes room for the next in the queue: many that come at once all get their
     * turn, and silent ones don't keep others out. */
    GRACE_MS = 500,
    /* How long to leave the queue alone when the process is out of descriptors. */
    EXHAUSTED_MS = 100,
};

/* A peer in the handshake. */
struct stranger {
    struct stranger *prev, *next;
    struct rfaas_listener *listener;
    struct rfaas_stream *stream;
    struct rfaas_handshake handshake;
    struct event *readable, *deadline;
    uint64_t since_ns;
    char who[RFAAS_ADDRESS_MAX]; /* what the kernel knows of it */
};

struct rfaas_listener {
    struct event_base *base;
    struct rfaas_key key;
    char *key_file;
    rfaas_accepted_call *accepted;
    void *arg;

    struct rfaas_listening listening;
    struct event *incoming;
    struct event *resume;       /* pending while the queue is left alone */
    struct stranger *strangers; /* the one that came first is first */
    int stranger_count;
    bool in_call, freed; /* as in connection.c */
};

/* ---- strangers ---------------------------------------------------------------- */

static void pause_listener(struct rfaas_listener *listener, uint64_t ms)
{
    struct timeval time = {.tv_sec = (time_t)(ms / 1000),
                           .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    if (event_add(listener->resume, &time) == 0)
        event_del(listener->incoming);
}

static void resume_listener(struct rfaas_listener *listener)
{
    event_del(listener->resume);
    event_add(listener->incoming, NULL);
}

/* Closes its connection, unless the stream was taken out. */
static void stranger_free(struct stranger *stranger)
{
    struct rfaas_listener *listener = stranger->listener;
    DL_DELETE(listener->strangers, stranger);
    listener->stranger_count--;
    if (stranger->readable)
        event_free(stranger->readable);
    if (stranger->deadline)
        event_free(stranger->deadline);
    rfaas_stream_free(stranger->stream);
    free(stranger);
}

static void stranger_refuse(struct stranger *stranger, const char *why)
{
    struct rfaas_listener *listener = stranger->listener;
    rfaas_warn("refused %s: %s", stranger->who, why);
    stranger_free(stranger);
    resume_listener(listener);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    stranger_refuse(arg, "the handshake took too long");
}

static void stranger_accept(struct stranger *stranger)
{
    struct rfaas_listener *listener = stranger->listener;
    struct rfaas_stream *stream = stranger->stream;
    struct rfaas_handshake handshake = stranger->handshake;
    rfaas_debug("accepted %s: %s", stranger->who, handshake.name);
    stranger->stream = NULL;
    stranger_free(stranger);
    resume_listener(listener);

    rfaas_stream_limit(stream, RFAAS_MESSAGE_MAX);
    rfaas_stream_limit_fds(stream, RFAAS_STREAM_FDS_MAX);
    listener->in_call = true;
    listener->accepted(stream, handshake.role, handshake.name, listener->arg);
    listener->in_call = false;
    if (listener->freed)
        free(listener);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stranger *stranger = arg;
    struct rfaas_received received;
    int status = rfaas_stream_get(stranger->stream, &received);
    if (status == RFAAS_IN_PROGRESS)
        return;
    if (status == RFAAS_OK) {
        status = rfaas_handshake_answer(&stranger->handshake, received.message,
                                        stranger->stream);
        rfaas_received_free(&received);
        if (status == RFAAS_IN_PROGRESS)
            return;
    }
    if (status == RFAAS_OK) {
        /* The connection made of it writes what the socket doesn't take now, and
         * notices if the peer has gone. */
        rfaas_stream_flush(stranger->stream);
        stranger_accept(stranger);
        return;
    }
    char why[256];
    snprintf(why, sizeof why, "%s", rfaas_last_error());
    rfaas_stream_flush(stranger->stream);
    stranger_refuse(stranger, why);
}

/* Begins the handshake with the peer on `fd`. */
static void admit(struct rfaas_listener *listener, int fd)
{
    static const struct timeval timeout = {RFAAS_HANDSHAKE_TIMEOUT_MS / 1000,
                                           RFAAS_HANDSHAKE_TIMEOUT_MS % 1000 * 1000};
    struct stranger *stranger = calloc(1, sizeof *stranger);
    if (!stranger || rfaas_stream_new(fd, RFAAS_HANDSHAKE_MESSAGE_MAX,
                                      &stranger->stream) != RFAAS_OK) {
        rfaas_warn("refused a peer: out of memory");
        free(stranger);
        close(fd);
        return;
    }
    rfaas_socket_peer(fd, stranger->who, sizeof stranger->who);
    rfaas_stream_limit_fds(stranger->stream, 0);
    stranger->listener = listener;
    stranger->since_ns = rfaas_clock_ns();
    DL_APPEND(listener->strangers, stranger);
    listener->stranger_count++;

    stranger->readable =
        event_new(listener->base, fd, EV_READ | EV_PERSIST, on_answer, stranger);
    stranger->deadline = evtimer_new(listener->base, on_deadline, stranger);
    if (!stranger->readable || !stranger->deadline ||
        event_add(stranger->readable, NULL) != 0 ||
        event_add(stranger->deadline, &timeout) != 0) {
        stranger_refuse(stranger, "out of memory");
        return;
    }
    if (rfaas_handshake_begin(&stranger->handshake, &listener->key, listener->key_file,
                              stranger->stream) != RFAAS_OK ||
        rfaas_stream_flush(stranger->stream) != RFAAS_OK)
        stranger_refuse(stranger, rfaas_last_error());
}

/* How long the first stranger may still keep its place when there is no other. */
static uint64_t grace_left_ms(const struct rfaas_listener *listener)
{
    if (listener->stranger_count < STRANGERS_MAX)
        return 0;
    uint64_t age_ms = (rfaas_clock_ns() - listener->strangers->since_ns) / 1000000;
    return age_ms < GRACE_MS ? GRACE_MS - age_ms : 0;
}

static void on_incoming(evutil_socket_t listening, short what, void *arg)
{
    (void)what;
    struct rfaas_listener *listener = arg;
    for (;;) {
        uint64_t wait_ms = grace_left_ms(listener);
        if (wait_ms > 0) {
            pause_listener(listener, wait_ms);
            return;
        }
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (fd < 0) {
            rfaas_warn("accepting a connection: %m");
            pause_listener(listener, EXHAUSTED_MS);
            return;
        }
        if (listener->stranger_count >= STRANGERS_MAX)
            stranger_refuse(listener->strangers, "silent, and others wait");
        admit(listener, fd);
    }
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    resume_listener(arg);
}

/* ---- the listener itself ------------------------------------------------------ */

static int start_events(struct rfaas_listener *listener)
{
    listener->incoming = event_new(listener->base, listener->listening.fd,
                                   EV_READ | EV_PERSIST, on_incoming, listener);
    listener->resume = evtimer_new(listener->base, on_resume, listener);
    if (!listener->incoming || !listener->resume ||
        event_add(listener->incoming, NULL) != 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "listener: no event");
    return RFAAS_OK;
}

int rfaas_listener_new(struct event_base *base, const char *address,
                       const struct rfaas_key *key, const char *key_file,
                       rfaas_accepted_call *accepted, void *arg,
                       struct rfaas_listener **listener)
{
    struct rfaas_listener *new = calloc(1, sizeof *new);
    if (!new)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "listener: out of memory");
    new->base = base;
    new->key = *key;
    new->accepted = accepted;
    new->arg = arg;
    new->listening.fd = -1;
    new->key_file = strdup(key_file);
    int status = new->key_file
                     ? rfaas_socket_listen(address, &new->listening)
                     : rfaas_fail(RFAAS_ERR_NO_MEMORY, "listener: out of memory");
    if (status == RFAAS_OK)
        status = start_events(new);
    if (status != RFAAS_OK) {
        rfaas_listener_free(new);
        return status;
    }
    *listener = new;
    return RFAAS_OK;
}

const char *rfaas_listener_address(const struct rfaas_listener *listener)
{
    return listener->listening.address;
}

void rfaas_listener_free(struct rfaas_listener *listener)
{
    if (!listener)
        return;
    while (listener->strangers)
        stranger_free(listener->strangers);
    if (listener->incoming)
        event_free(listener->incoming);
    if (listener->resume)
        event_free(listener->resume);
    rfaas_socket_close(&listener->listening);
    free(listener->key_file);
    listener->freed = true;
    if (!listener->in_call)
        free(listener);
}
