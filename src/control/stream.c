/* Messages and file descriptors on a stream socket. */
#include "control/stream.h"
#include "base/clock.h"
#include "base/error.h"
#include "control/inbox.h"
#include "control/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = RFAAS_FRAME_HEADER };

/* A message on its way out. Its descriptors go with its first byte. */
struct frame {
    struct frame *next;
    size_t size, sent;
    int fds[RFAAS_STREAM_FDS_MAX];
    int fd_count;
    unsigned char bytes[];
};

struct rfaas_stream {
    int fd;
    bool local; /* descriptors travel */
    size_t message_max;
    int fds_max;
    struct rfaas_inbox in;
    struct frame *out_first, **out_last;
    size_t out_bytes;
};

/* ---- life --------------------------------------------------------------------- */

int rfaas_stream_new(int socket, size_t message_max, struct rfaas_stream **stream)
{
    int flags = fcntl(socket, F_GETFL);
    if (flags < 0 || fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(socket, F_SETFD, FD_CLOEXEC) < 0)
        return rfaas_fail(RFAAS_ERR_IO, "control socket %d: %m", socket);
    bool local = rfaas_socket_is_local(socket);
    int status = local ? RFAAS_OK : rfaas_socket_watch(socket);
    if (status != RFAAS_OK)
        return status;

    struct rfaas_stream *new = calloc(1, sizeof *new);
    if (!new)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "control stream: out of memory");
    new->fd = socket;
    new->local = local;
    new->message_max = message_max;
    new->fds_max = RFAAS_STREAM_FDS_MAX;
    new->out_last = &new->out_first;
    *stream = new;
    return RFAAS_OK;
}

static void close_all(int fds[], int count)
{
    for (int i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

static void frame_free(struct frame *frame)
{
    close_all(frame->fds, frame->fd_count);
    free(frame);
}

void rfaas_stream_free(struct rfaas_stream *stream)
{
    if (!stream)
        return;
    while (stream->out_first) {
        struct frame *frame = stream->out_first;
        stream->out_first = frame->next;
        frame_free(frame);
    }
    rfaas_inbox_clear(&stream->in);
    close(stream->fd);
    free(stream);
}

void rfaas_stream_limit(struct rfaas_stream *stream, size_t message_max)
{
    stream->message_max = message_max;
}

void rfaas_stream_limit_fds(struct rfaas_stream *stream, int fds_max)
{
    stream->fds_max = fds_max;
}

int rfaas_stream_fd(const struct rfaas_stream *stream)
{
    return stream->fd;
}

bool rfaas_stream_local(const struct rfaas_stream *stream)
{
    return stream->local;
}

void rfaas_received_free(struct rfaas_received *received)
{
    if (received->message)
        rfaas__message__free_unpacked(received->message, NULL);
    received->message = NULL;
    close_all(received->fds, received->fd_count);
    received->fd_count = 0;
}

/* ---- out ---------------------------------------------------------------------- */

static void write_u32(unsigned char *to, size_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

/* Duplicates, so that the caller may close its own while the frame waits. */
static int frame_add_fds(struct frame *frame, const int fds[], int fd_count)
{
    for (int i = 0; i < fd_count; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return rfaas_fail(RFAAS_ERR_IO, "control: descriptor %d for the peer: %m",
                              fds[i]);
        frame->fds[frame->fd_count++] = copy;
    }
    return RFAAS_OK;
}

int rfaas_stream_put(struct rfaas_stream *stream, const Rfaas__Message *message,
                     const int fds[], int fd_count)
{
    size_t length = rfaas__message__get_packed_size(message);
    if (length == 0 || length > RFAAS_MESSAGE_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "control: a message of %zu bytes, takes 1..%d", length,
                          RFAAS_MESSAGE_MAX);
    if (fd_count < 0 || fd_count > RFAAS_STREAM_FDS_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "control: a message with %d descriptors, takes 0..%d",
                          fd_count, RFAAS_STREAM_FDS_MAX);
    if (!stream->local)
        fd_count = 0;
    if (stream->out_bytes + length > RFAAS_STREAM_QUEUE_MAX)
        return rfaas_fail(RFAAS_ERR_IO,
                          "control: the peer doesn't read: %zu bytes wait",
                          stream->out_bytes);

    struct frame *frame = malloc(sizeof *frame + HEADER + length);
    if (!frame)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "control: out of memory for %zu bytes",
                          length);
    *frame = (struct frame){.size = HEADER + length};
    int status = frame_add_fds(frame, fds, fd_count);
    if (status != RFAAS_OK) {
        frame_free(frame);
        return status;
    }
    write_u32(frame->bytes, length);
    write_u32(frame->bytes + 4, (size_t)fd_count);
    rfaas__message__pack(message, frame->bytes + HEADER);

    *stream->out_last = frame;
    stream->out_last = &frame->next;
    stream->out_bytes += frame->size;
    return RFAAS_OK;
}

/* One system call for one frame: a frame that brings descriptors thus always begins
 * where the data of a call begins, which the reader relies on. */
static ssize_t frame_write(const struct frame *frame, int fd)
{
    struct iovec iov = {.iov_base = (void *)(frame->bytes + frame->sent),
                        .iov_len = frame->size - frame->sent};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union rfaas_fd_space space;

    if (frame->fd_count > 0) {
        size_t size = sizeof(int) * (size_t)frame->fd_count;
        memset(&space, 0, sizeof space);
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *control = CMSG_FIRSTHDR(&msg);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(control), frame->fds, size);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int rfaas_stream_flush(struct rfaas_stream *stream)
{
    while (stream->out_first) {
        struct frame *frame = stream->out_first;
        ssize_t n = frame_write(frame, stream->fd);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return RFAAS_IN_PROGRESS;
        if (n < 0)
            return rfaas_fail(RFAAS_ERR_IO, "control: writing to the peer: %m");

        /* They went with the first byte. */
        close_all(frame->fds, frame->fd_count);
        frame->fd_count = 0;
        frame->sent += (size_t)n;
        if (frame->sent < frame->size)
            continue;
        stream->out_bytes -= frame->size;
        stream->out_first = frame->next;
        if (!frame->next)
            stream->out_last = &stream->out_first;
        frame_free(frame);
    }
    return RFAAS_OK;
}

/* ---- in ----------------------------------------------------------------------- */

/* A frame that is refused stays in the inbox, so that asking again gives the same
 * answer. */
static int take_message(struct rfaas_stream *stream, struct rfaas_received *received)
{
    struct rfaas_inbox_frame frame;
    int status = rfaas_inbox_look(&stream->in, stream->message_max, &frame);
    if (status != RFAAS_OK)
        return status;
    Rfaas__Message *message = rfaas__message__unpack(NULL, frame.length, frame.bytes);
    if (!message)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "control: %zu bytes are no message",
                          frame.length);
    if (message->body_case == RFAAS__MESSAGE__BODY__NOT_SET) {
        rfaas__message__free_unpacked(message, NULL);
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "control: a message of an unknown kind");
    }
    received->message = message;
    received->fd_count = frame.fd_count;
    rfaas_inbox_take(&stream->in, &frame, received->fds);
    return RFAAS_OK;
}

int rfaas_stream_get(struct rfaas_stream *stream, struct rfaas_received *received)
{
    for (;;) {
        int status = take_message(stream, received);
        if (status != RFAAS_IN_PROGRESS)
            return status;
        status = rfaas_inbox_fill(&stream->in, stream->fd, stream->fds_max);
        if (status != RFAAS_OK)
            return status;
    }
}

/* ---- with waiting ------------------------------------------------------------- */

static int64_t now_ms(void)
{
    return (int64_t)(rfaas_clock_ns() / 1000000);
}

/* Sleeps until the socket may be ready; deadline_ms < 0: for ever. */
static int socket_wait(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
        if (deadline_ms >= 0 && left <= 0)
            return rfaas_fail(RFAAS_ERR_TIMEOUT, "control: the peer is silent");
        struct pollfd ready = {.fd = fd, .events = events};
        int n = poll(&ready, 1, (int)left);
        if (n > 0)
            return RFAAS_OK;
        if (n < 0 && errno != EINTR)
            return rfaas_fail(RFAAS_ERR_IO, "control: poll: %m");
    }
}

int rfaas_stream_send(struct rfaas_stream *stream, const Rfaas__Message *message,
                      const int fds[], int fd_count, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    int status = rfaas_stream_put(stream, message, fds, fd_count);
    if (status != RFAAS_OK)
        return status;
    while ((status = rfaas_stream_flush(stream)) == RFAAS_IN_PROGRESS) {
        status = socket_wait(stream->fd, POLLOUT, deadline_ms);
        if (status != RFAAS_OK)
            return status;
    }
    return status;
}

int rfaas_stream_receive(struct rfaas_stream *stream, struct rfaas_received *received,
                         int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    int status;
    while ((status = rfaas_stream_get(stream, received)) == RFAAS_IN_PROGRESS) {
        status = socket_wait(stream->fd, POLLIN, deadline_ms);
        if (status != RFAAS_OK)
            return status;
    }
    return status;
}
