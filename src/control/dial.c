/* Connecting to a server and proving oneself. */
#include "control/dial.h"
#include "base/error.h"
#include "control/address.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    /* A server with more callers than places lets those go that answer late, as they
     * do on a machine with little time for each: they come again. */
    TRIES = 4,
    /* How long to leave a server alone whose queue of callers is full: nothing tells
     * when there is room. */
    FULL_MS = 10,
};

struct rfaas_dial {
    struct event_base *base;
    struct rfaas_greeting greeting;
    size_t message_max;
    rfaas_dialled_call *dialled;
    void *arg;

    struct event *attempt, *deadline;
    int tries;                   /* that the server has ended */
    struct rfaas_stream *stream; /* NULL: neither connected nor about to be */
    struct event *connected;     /* comes when TCP is, or can't be */
    struct event *readable;      /* of the stream */
};

static struct timeval time_of(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* An event that exists can fail to be added only for lack of memory; then the deadline
 * ends the dial. */
static void attempt_in(struct rfaas_dial *dial, int ms)
{
    struct timeval time = time_of(ms);
    event_add(dial->attempt, &time);
}

static void hang_up(struct rfaas_dial *dial)
{
    if (dial->readable)
        event_free(dial->readable);
    dial->readable = NULL;
    if (dial->connected)
        event_free(dial->connected);
    dial->connected = NULL;
    rfaas_stream_free(dial->stream);
    dial->stream = NULL;
}

/* The owner may free the dial in the call. */
static void finish(struct rfaas_dial *dial, int status)
{
    struct rfaas_stream *stream = NULL;
    event_del(dial->attempt);
    event_del(dial->deadline);
    if (status == RFAAS_OK) {
        stream = dial->stream;
        dial->stream = NULL;
        rfaas_stream_limit(stream, dial->message_max);
    }
    hang_up(dial);
    dial->dialled(status, stream, dial->arg);
}

/* ---- the server's messages ----------------------------------------------------- */

static int take_messages(struct rfaas_dial *dial)
{
    const struct rfaas_introduction *who = &dial->greeting.who;
    int status;
    do {
        struct rfaas_received received;
        status = rfaas_stream_get(dial->stream, &received);
        if (status == RFAAS_ERR_IO)
            return rfaas_fail(RFAAS_ERR_MANAGER, "%s at %s: closed the connection",
                              who->what, who->address);
        if (status != RFAAS_OK)
            return status;
        status = rfaas_greeting_answer(&dial->greeting, received.message, dial->stream);
        rfaas_received_free(&received);
        /* A new socket has room for Hello. If the server has gone, it may have said
         * why: that is still to be read. */
        if (status == RFAAS_IN_PROGRESS)
            rfaas_stream_flush(dial->stream);
    } while (status == RFAAS_IN_PROGRESS);
    return status;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_dial *dial = arg;
    int status = take_messages(dial);
    if (status == RFAAS_IN_PROGRESS)
        return;
    /* One that has died refuses the next attempt, and so ends this. */
    if (status == RFAAS_ERR_MANAGER && ++dial->tries < TRIES) {
        hang_up(dial);
        attempt_in(dial, 0);
        return;
    }
    finish(dial, status);
}

/* ---- connecting ---------------------------------------------------------------- */

static int nobody(const struct rfaas_introduction *who, int error)
{
    errno = error;
    return rfaas_fail(RFAAS_ERR_MANAGER, "%s at %s: nobody there: %m", who->what,
                      who->address);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct rfaas_dial *dial = arg;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        finish(dial, nobody(&dial->greeting.who, error));
    else
        event_add(dial->readable, NULL); /* as in attempt_in */
}

/* RFAAS_IN_PROGRESS: the server's queue is full. */
static int open_stream(struct rfaas_dial *dial)
{
    const struct rfaas_introduction who = dial->greeting.who;
    struct sockaddr_storage address;
    socklen_t length;
    int status = rfaas_address_parse(who.address, &address, &length);
    if (status != RFAAS_OK)
        return status;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return rfaas_fail(RFAAS_ERR_IO, "%s at %s: socket: %m", who.what, who.address);
    bool underway = false;
    if (connect(fd, (struct sockaddr *)&address, length) != 0) {
        underway = errno == EINPROGRESS;
        if (!underway)
            status = errno == EAGAIN ? RFAAS_IN_PROGRESS : nobody(&who, errno);
    }
    if (status == RFAAS_OK)
        status = rfaas_stream_new(fd, RFAAS_HANDSHAKE_MESSAGE_MAX, &dial->stream);
    if (status != RFAAS_OK) {
        close(fd);
        return status;
    }
    rfaas_greeting_begin(&dial->greeting, &who);
    dial->readable = event_new(dial->base, fd, EV_READ | EV_PERSIST, on_readable, dial);
    dial->connected = event_new(dial->base, fd, EV_WRITE, on_connected, dial);
    if (!dial->readable || !dial->connected ||
        event_add(underway ? dial->connected : dial->readable, NULL) != 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "%s at %s: no event", who.what,
                          who.address);
    return RFAAS_OK;
}

static void on_attempt(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_dial *dial = arg;
    int status = open_stream(dial);
    if (status == RFAAS_IN_PROGRESS)
        attempt_in(dial, FULL_MS);
    else if (status != RFAAS_OK)
        finish(dial, status);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct rfaas_dial *dial = arg;
    const struct rfaas_introduction *who = &dial->greeting.who;
    if (dial->stream)
        rfaas_fail(RFAAS_ERR_TIMEOUT, "%s at %s: no answer within %d ms", who->what,
                   who->address, RFAAS_HANDSHAKE_TIMEOUT_MS);
    else
        rfaas_fail(RFAAS_ERR_TIMEOUT, "%s at %s: too busy to take a call", who->what,
                   who->address);
    finish(dial, RFAAS_ERR_TIMEOUT);
}

/* ---- beginning and ending ------------------------------------------------------ */

int rfaas_dial_new(struct event_base *base, const struct rfaas_introduction *who,
                   size_t message_max, rfaas_dialled_call *dialled, void *arg,
                   struct rfaas_dial **dial)
{
    const struct timeval at_once = time_of(0),
                         limit = time_of(RFAAS_HANDSHAKE_TIMEOUT_MS);
    struct rfaas_dial *new = calloc(1, sizeof *new);
    if (!new)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "%s at %s: out of memory", who->what,
                          who->address);
    rfaas_greeting_begin(&new->greeting, who);
    new->base = base;
    new->message_max = message_max;
    new->dialled = dialled;
    new->arg = arg;
    new->attempt = evtimer_new(base, on_attempt, new);
    new->deadline = evtimer_new(base, on_deadline, new);
    if (!new->attempt || !new->deadline || event_add(new->attempt, &at_once) != 0 ||
        event_add(new->deadline, &limit) != 0) {
        rfaas_dial_free(new);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "%s at %s: no event", who->what,
                          who->address);
    }
    *dial = new;
    return RFAAS_OK;
}

void rfaas_dial_free(struct rfaas_dial *dial)
{
    if (!dial)
        return;
    hang_up(dial);
    if (dial->attempt)
        event_free(dial->attempt);
    if (dial->deadline)
        event_free(dial->deadline);
    OPENSSL_cleanse(dial, sizeof *dial);
    free(dial);
}

/* ---- waiting for it ------------------------------------------------------------ */

struct outcome {
    int status;
    struct rfaas_stream *stream;
};

static void on_dialled(int status, struct rfaas_stream *stream, void *arg)
{
    *(struct outcome *)arg = (struct outcome){status, stream};
}

static int connect_to(const struct rfaas_introduction *who, size_t message_max,
                      struct rfaas_key *used, struct rfaas_stream **stream)
{
    struct outcome outcome = {RFAAS_IN_PROGRESS, NULL};
    struct rfaas_dial *dial = NULL;
    struct event_base *base = event_base_new();
    if (!base)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "%s at %s: no event loop", who->what,
                          who->address);
    int status = rfaas_dial_new(base, who, message_max, on_dialled, &outcome, &dial);
    /* It ends by itself: a dial that is over has no event. */
    if (status == RFAAS_OK && event_base_dispatch(base) < 0)
        status = rfaas_fail(RFAAS_ERR_IO, "%s at %s: the event loop failed: %m",
                            who->what, who->address);
    if (status == RFAAS_OK)
        status = outcome.status;
    if (status == RFAAS_OK) {
        *stream = outcome.stream;
        if (used)
            *used = dial->greeting.key;
    }
    rfaas_dial_free(dial);
    event_base_free(base);
    return status;
}

int rfaas_connect(const char *address, const char *what, const struct rfaas_key *key,
                  Rfaas__Role role, const char *name, size_t message_max,
                  struct rfaas_key *used, struct rfaas_stream **stream)
{
    char addresses[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX];
    int count;
    int status = rfaas_address_resolve(address, addresses, &count);
    if (status != RFAAS_OK)
        return status;
    for (int i = 0; i < count; i++) {
        const struct rfaas_introduction who = {.address = addresses[i],
                                               .what = what,
                                               .key = key,
                                               .role = role,
                                               .name = name};
        status = connect_to(&who, message_max, used, stream);
        if (status != RFAAS_ERR_MANAGER && status != RFAAS_ERR_TIMEOUT)
            break;
    }
    return status;
}
