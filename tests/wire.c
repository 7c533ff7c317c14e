/* Messages to send, and peers that don't keep to the rules. */
#include "wire.h"
#include "test.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 64 };

int open_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK_FATAL(directory != NULL);
    int count = 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 3; /* ".", ".." and the directory itself */
}

void make_files(int fds[], int count)
{
    for (int i = 0; i < count; i++) {
        fds[i] = memfd_create("test", MFD_CLOEXEC);
        CHECK_FATAL(fds[i] >= 0);
    }
}

void close_files(int fds[], int count)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

bool same_file(int a, int b)
{
    struct stat of_a, of_b;
    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static unsigned char content_byte(uint64_t call, size_t i)
{
    return (unsigned char)(call * 31 + i * 7 + (i >> 12));
}

const Rfaas__Message *make_message(uint64_t call, size_t size)
{
    static _Thread_local Rfaas__Message message;
    static _Thread_local Rfaas__LibraryBytes library;
    static _Thread_local unsigned char *content;
    free(content);
    content = malloc(size + 1);
    CHECK_FATAL(content != NULL);
    for (size_t i = 0; i < size; i++)
        content[i] = content_byte(call, i);
    rfaas__library_bytes__init(&library);
    library.content.data = content;
    library.content.len = size;
    rfaas__message__init(&message);
    message.call = call;
    message.body_case = RFAAS__MESSAGE__BODY_LIBRARY_BYTES;
    message.library_bytes = &library;
    return &message;
}

bool message_is(const Rfaas__Message *message, uint64_t call, size_t size)
{
    if (message->call != call ||
        message->body_case != RFAAS__MESSAGE__BODY_LIBRARY_BYTES ||
        message->library_bytes->content.len != size)
        return false;
    const unsigned char *content = message->library_bytes->content.data;
    for (size_t i = 0; i < size; i++) {
        if (content[i] != content_byte(call, i))
            return false;
    }
    return true;
}

size_t make_header(unsigned char *to, size_t length, unsigned claimed)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (unsigned char)(length >> 8 * i);
        to[4 + i] = (unsigned char)(claimed >> 8 * i);
    }
    return 8;
}

size_t make_frame(unsigned char *to, const Rfaas__Message *message, unsigned claimed)
{
    size_t length = rfaas__message__pack(message, to + 8);
    return make_header(to, length, claimed) + length;
}

void raw_send(int socket, const void *bytes, size_t size, const int fds[], int count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FILES_MAX)];
    } space;
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        memset(&space, 0, sizeof space);
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *control = CMSG_FIRSTHDR(&msg);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(control), fds, sizeof(int) * (size_t)count);
    }
    CHECK_EQUAL(sendmsg(socket, &msg, MSG_NOSIGNAL), size);
}

bool raw_wait_end(int socket, int timeout_ms)
{
    for (;;) {
        struct pollfd ready = {.fd = socket, .events = POLLIN};
        int n = poll(&ready, 1, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        char dropped[4096];
        ssize_t came = recv(socket, dropped, sizeof dropped, MSG_DONTWAIT);
        if (came == 0 || (came < 0 && errno != EAGAIN && errno != EINTR))
            return true;
    }
}
