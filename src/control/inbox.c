/* The incoming half of a stream. */
#include "control/inbox.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER = RFAAS_FRAME_HEADER,
    BUFFER_MIN = 4096 + HEADER,
    /* A larger buffer is given back as soon as it is empty. */
    BUFFER_KEEP = 64 << 10,
};

void rfaas_inbox_clear(struct rfaas_inbox *inbox)
{
    for (int i = 0; i < inbox->waiting_count; i++)
        close(inbox->waiting[i].fd);
    free(inbox->bytes);
    *inbox = (struct rfaas_inbox){0};
}

/* Makes room so that `size` bytes from `start` on fit. */
static int reserve(struct rfaas_inbox *inbox, size_t size)
{
    if (inbox->size - inbox->start >= size)
        return RFAAS_OK;
    if (inbox->start > 0) {
        size_t have = inbox->end - inbox->start;
        memmove(inbox->bytes, inbox->bytes + inbox->start, have);
        inbox->start = 0;
        inbox->end = have;
    }
    if (inbox->size >= size)
        return RFAAS_OK;
    unsigned char *larger = realloc(inbox->bytes, size);
    if (!larger)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "control: out of memory for %zu bytes",
                          size);
    inbox->bytes = larger;
    inbox->size = size;
    return RFAAS_OK;
}

/* Puts a descriptor among the waiting ones, or closes it: it is open in this process
 * by now, and may not get lost. */
static bool keep_fd(struct rfaas_inbox *inbox, int fd, uint64_t until)
{
    if (inbox->waiting_count == RFAAS_INBOX_FDS_MAX) {
        close(fd);
        return false;
    }
    inbox->waiting[inbox->waiting_count].fd = fd;
    inbox->waiting[inbox->waiting_count++].until = until;
    return true;
}

static int keep_fds(struct rfaas_inbox *inbox, struct msghdr *msg, int fds_max)
{
    uint64_t until = inbox->position + (inbox->end - inbox->start);
    int came = 0, kept = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            came++;
            kept += keep_fd(inbox, fd, until);
        }
    }
    bool cut = msg->msg_flags & MSG_CTRUNC;
    if (kept < came || came > fds_max || (cut && came == fds_max))
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "control: more descriptors came than %d",
                          fds_max);
    if (cut)
        return rfaas_fail(RFAAS_ERR_IO, "control: no room in this process for the "
                                        "descriptors of a message (ulimit -n)");
    return RFAAS_OK;
}

int rfaas_inbox_fill(struct rfaas_inbox *inbox, int fd, int fds_max)
{
    int status = reserve(inbox, BUFFER_MIN);
    if (status != RFAAS_OK)
        return status;
    struct iovec iov = {.iov_base = inbox->bytes + inbox->end,
                        .iov_len = inbox->size - inbox->end};
    union rfaas_fd_space space;
    struct msghdr msg;
    ssize_t n;
    do {
        msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
        /* Without room for them the kernel opens none here. */
        if (fds_max > 0) {
            msg.msg_control = space.bytes;
            msg.msg_controllen = sizeof space.bytes;
        }
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return RFAAS_IN_PROGRESS;
    /* A reset is the end of a peer that hadn't read all we wrote. */
    if (n < 0 && errno != ECONNRESET)
        return rfaas_fail(RFAAS_ERR_IO, "control: reading from the peer: %m");
    if (n <= 0)
        return rfaas_fail(RFAAS_ERR_IO, "control: the peer has gone%s",
                          inbox->end > inbox->start ? " in mid-message" : "");
    inbox->end += (size_t)n;
    return keep_fds(inbox, &msg, fds_max);
}

static size_t read_u32(const unsigned char *from)
{
    return (size_t)from[0] | (size_t)from[1] << 8 | (size_t)from[2] << 16 |
           (size_t)from[3] << 24;
}

int rfaas_inbox_look(struct rfaas_inbox *inbox, size_t length_max,
                     struct rfaas_inbox_frame *frame)
{
    size_t have = inbox->end - inbox->start;
    if (have < HEADER)
        return RFAAS_IN_PROGRESS;
    const unsigned char *header = inbox->bytes + inbox->start;
    size_t length = read_u32(header), fd_count = read_u32(header + 4);
    if (length == 0 || length > length_max)
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "control: a message of %zu bytes came, takes 1..%zu", length,
                          length_max);
    /* Descriptors come with the first byte: all that belong here are here. */
    if (fd_count > RFAAS_STREAM_FDS_MAX || fd_count > (size_t)inbox->waiting_count)
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "control: a message claims %zu descriptors, %d came",
                          fd_count, inbox->waiting_count);
    if (have < HEADER + length) {
        int status = reserve(inbox, HEADER + length);
        return status == RFAAS_OK ? RFAAS_IN_PROGRESS : status;
    }
    if ((size_t)inbox->waiting_count > fd_count &&
        inbox->waiting[fd_count].until <= inbox->position + HEADER + length)
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "control: a message brought more descriptors than it claims");
    *frame = (struct rfaas_inbox_frame){
        .bytes = header + HEADER, .length = length, .fd_count = (int)fd_count};
    return RFAAS_OK;
}

void rfaas_inbox_take(struct rfaas_inbox *inbox, const struct rfaas_inbox_frame *frame,
                      int fds[])
{
    for (int i = 0; i < frame->fd_count; i++)
        fds[i] = inbox->waiting[i].fd;
    inbox->waiting_count -= frame->fd_count;
    memmove(inbox->waiting, inbox->waiting + frame->fd_count,
            sizeof inbox->waiting[0] * (size_t)inbox->waiting_count);

    inbox->position += HEADER + frame->length;
    inbox->start += HEADER + frame->length;
    if (inbox->start < inbox->end)
        return;
    inbox->start = inbox->end = 0;
    if (inbox->size > BUFFER_KEEP) {
        free(inbox->bytes);
        inbox->bytes = NULL;
        inbox->size = 0;
    }
}
