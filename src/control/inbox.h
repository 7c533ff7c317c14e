/* The incoming half of a stream: bytes and descriptors as the socket gives them, and
 * the frames in them. Part of stream.c; nobody else needs it. */
#ifndef RFAAS_CONTROL_INBOX_H
#define RFAAS_CONTROL_INBOX_H

#include "control/stream.h"
#include <sys/socket.h>

enum {
    /* Length and number of descriptors, 4 bytes each, little endian. */
    RFAAS_FRAME_HEADER = 8,
    /* Descriptors that have come and wait for their frame: those of a frame that is
     * not complete, and those of the next, whose first bytes came with its end. */
    RFAAS_INBOX_FDS_MAX = 2 * RFAAS_STREAM_FDS_MAX,
};

/* Room for control data of a system call, aligned as it has to be. */
union rfaas_fd_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * RFAAS_STREAM_FDS_MAX)];
};

/* All zero: empty. */
struct rfaas_inbox {
    unsigned char *bytes; /* those in start..end-1 have come and are not taken */
    size_t size, start, end;
    uint64_t position; /* of start, counted from the stream's beginning */
    /* Descriptors in the order they came. The kernel doesn't say with which byte one
     * came, only that it was before position `until`. */
    struct {
        int fd;
        uint64_t until;
    } waiting[RFAAS_INBOX_FDS_MAX];
    int waiting_count;
};

struct rfaas_inbox_frame {
    const unsigned char *bytes; /* of the message; valid until the frame is taken */
    size_t length;
    int fd_count;
};

/* Closes and frees what is left. */
void rfaas_inbox_clear(struct rfaas_inbox *inbox);

/* Reads from the socket what is there. RFAAS_OK: at least one byte came;
 * RFAAS_IN_PROGRESS: none yet; RFAAS_ERR_IO: the peer has gone; RFAAS_ERR_PROTOCOL:
 * more than fds_max descriptors at once. */
int rfaas_inbox_fill(struct rfaas_inbox *inbox, int fd, int fds_max);

/* The first frame, if all of it is there; RFAAS_IN_PROGRESS if not yet;
 * RFAAS_ERR_PROTOCOL if its sizes are wrong, whether or not the rest is there. */
int rfaas_inbox_look(struct rfaas_inbox *inbox, size_t length_max,
                     struct rfaas_inbox_frame *frame);

/* Removes the frame and hands over its descriptors. */
void rfaas_inbox_take(struct rfaas_inbox *inbox, const struct rfaas_inbox_frame *frame,
                      int fds[]);

#endif
