/* A stream and the bare socket at its other end. */
#include "ends.h"
#include "base/error.h"
#include "test.h"
#include "wire.h"
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fds_before;
struct rfaas_stream *stream;
int raw;

void begin(void)
{
    int ends[2];
    fds_before = open_fds();
    CHECK_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FATAL(rfaas_stream_new(ends[0], MESSAGE_MAX, &stream) == RFAAS_OK);
    raw = ends[1];
}

void end(void)
{
    rfaas_stream_free(stream);
    if (raw >= 0)
        close(raw);
    CHECK_EQUAL(open_fds(), fds_before);
}

struct rfaas_stream *other_stream(void)
{
    struct rfaas_stream *other = NULL;
    CHECK_FATAL(rfaas_stream_new(raw, MESSAGE_MAX, &other) == RFAAS_OK);
    raw = -1;
    return other;
}

void expect_message(uint64_t call, size_t size, const int files[], int count)
{
    struct rfaas_received received = {0};
    CHECK_EQUAL(rfaas_stream_get(stream, &received), RFAAS_OK);
    if (!received.message)
        return;
    CHECK(message_is(received.message, call, size));
    CHECK_EQUAL(received.fd_count, count);
    for (int i = 0; i < received.fd_count && i < count; i++) {
        CHECK(same_file(received.fds[i], files[i]));
        CHECK_EQUAL(fcntl(received.fds[i], F_GETFD), FD_CLOEXEC);
    }
    rfaas_received_free(&received);
    CHECK(received.message == NULL);
}

void expect_status(int status, const char *text)
{
    struct rfaas_received received = {0};
    rfaas_fail(RFAAS_OK, "%s", "");
    CHECK_EQUAL(rfaas_stream_get(stream, &received), status);
    CHECK(strstr(rfaas_last_error(), text) != NULL);
    CHECK(received.message == NULL);
}

void expect_nothing(void)
{
    expect_status(RFAAS_IN_PROGRESS, "");
}
