/* Messages on a stream: refused when they are wrong, heard to the end, large, late. */
#include "base/error.h"
#include "ends.h"
#include "test.h"
#include "wire.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- bytes that are no message ------------------------------------------------- */

static void refused(const void *bytes, size_t size, const char *text)
{
    begin();
    raw_send(raw, bytes, size, NULL, 0);
    expect_status(RFAAS_ERR_PROTOCOL, text);
    expect_status(RFAAS_ERR_PROTOCOL, text); /* still so when asked again */
    end();
}

static void test_garbage(void)
{
    unsigned char frame[256];
    refused("GET / HTTP/1.1\r\n\r\n", 18, "a message of 542393671 bytes");
    refused(frame, make_header(frame, 0, 0), "a message of 0 bytes");
    refused(frame, make_header(frame, MESSAGE_MAX + 1, 0),
            "a message of 1048577 bytes");
    refused(frame, make_header(frame, 0xffffffff, 0), "a message of 4294967295 bytes");

    size_t header = make_header(frame, 40, 0);
    memset(frame + header, 0xff, 40);
    refused(frame, header + 40, "40 bytes are no message");

    /* Only a call: */
    header = make_header(frame, 2, 0);
    memcpy(frame + header, "\x08\x01", 2);
    refused(frame, header + 2, "unknown kind");
    /* A body that isn't in the protocol (field 1000, empty): */
    header = make_header(frame, 3, 0);
    memcpy(frame + header, "\xc2\x3e\x00", 3);
    refused(frame, header + 3, "unknown kind");
    /* A body cut off by the frame: */
    size_t size = make_frame(frame, make_message(1, 50), 0);
    make_header(frame, size - 8 - 1, 0);
    refused(frame, size - 1, "no message");
}

/* Frames with some bytes changed: whatever comes of them, no memory is touched that
 * isn't the stream's (sanitizers look), and no descriptor stays. */
static void test_damaged_frames(void)
{
    unsigned seed = 1;
    int counts[3] = {0};
    for (int round = 0; round < 5000; round++) {
        unsigned char bytes[512];
        struct rfaas_received received;
        int status, files[2];
        begin();
        make_files(files, 2);
        size_t size = make_frame(bytes, make_message(1, 40), 2);
        size += make_frame(bytes + size, make_message(2, 100), 0);
        for (int i = rand_r(&seed) % 4; i >= 0; i--)
            bytes[(size_t)rand_r(&seed) % size] = (unsigned char)rand_r(&seed);
        raw_send(raw, bytes, size - (size_t)rand_r(&seed) % 20, files, 2);
        while ((status = rfaas_stream_get(stream, &received)) == RFAAS_OK) {
            rfaas_received_free(&received);
            counts[0]++;
        }
        CHECK(status == RFAAS_IN_PROGRESS || status == RFAAS_ERR_PROTOCOL);
        counts[1] += status == RFAAS_IN_PROGRESS;
        counts[2] += status == RFAAS_ERR_PROTOCOL;
        close_files(files, 2);
        end();
    }
    CHECK(counts[0] > 100 && counts[1] > 100 && counts[2] > 100);
}

static void test_limit(void)
{
    begin();
    struct rfaas_stream *other = other_stream();
    rfaas_stream_limit(stream, 100);
    CHECK_EQUAL(rfaas_stream_send(other, make_message(1, 50), NULL, 0, 1000), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_send(other, make_message(2, 200), NULL, 0, 1000),
                RFAAS_OK);
    expect_message(1, 50, NULL, 0);
    expect_status(RFAAS_ERR_PROTOCOL, "takes 1..100");
    rfaas_stream_limit(stream, MESSAGE_MAX);
    expect_message(2, 200, NULL, 0);
    rfaas_stream_free(other);
    end();
}

static void test_peer_gone(void)
{
    begin();
    unsigned char frame[256];
    size_t size = make_frame(frame, make_message(1, 50), 0);
    raw_send(raw, frame, size, NULL, 0);
    raw_send(raw, frame, size - 1, NULL, 0);
    close(raw);
    raw = -1;
    expect_message(1, 50, NULL, 0);
    expect_status(RFAAS_ERR_IO, "mid-message");
    end();

    begin();
    close(raw);
    raw = -1;
    expect_status(RFAAS_ERR_IO, "has gone");
    CHECK(strstr(rfaas_last_error(), "mid-message") == NULL);
    /* No SIGPIPE, which would end this program. */
    CHECK_EQUAL(rfaas_stream_send(stream, make_message(1, 0), NULL, 0, 0),
                RFAAS_ERR_IO);
    end();
}

/* ---- much ---------------------------------------------------------------------- */

static void test_large_messages(void)
{
    begin();
    struct rfaas_stream *other = other_stream();
    enum { LARGE = MESSAGE_MAX - 100 };
    int files[3][2], status = RFAAS_IN_PROGRESS;
    uint64_t came = 0;
    for (uint64_t call = 0; call < 3; call++) {
        make_files(files[call], 2);
        CHECK_EQUAL(rfaas_stream_put(other, make_message(call, LARGE), files[call], 2),
                    RFAAS_OK);
    }
    CHECK_EQUAL(rfaas_stream_flush(other), RFAAS_IN_PROGRESS);
    while (came < 3) {
        struct rfaas_received received;
        if (status == RFAAS_IN_PROGRESS)
            status = rfaas_stream_flush(other);
        int got = rfaas_stream_get(stream, &received);
        if (got == RFAAS_IN_PROGRESS)
            continue;
        CHECK_FATAL(got == RFAAS_OK);
        CHECK(message_is(received.message, came, LARGE));
        CHECK_EQUAL(received.fd_count, 2);
        CHECK(same_file(received.fds[1], files[came][1]));
        rfaas_received_free(&received);
        close_files(files[came++], 2);
    }
    CHECK_EQUAL(rfaas_stream_flush(other), RFAAS_OK);
    rfaas_stream_free(other);
    end();
}

static void test_queue_limit(void)
{
    begin();
    enum { PIECE = 64 << 20 };
    static char scratch[1 << 20];
    const Rfaas__Message *message = make_message(1, PIECE);
    int status = RFAAS_OK, count = 0;
    while (status == RFAAS_OK && count < 20) {
        status = rfaas_stream_put(stream, message, NULL, 0);
        count += status == RFAAS_OK;
    }
    CHECK_EQUAL(status, RFAAS_ERR_IO);
    CHECK_EQUAL(count, RFAAS_STREAM_QUEUE_MAX / PIECE - 1);

    /* What has been written counts no longer. */
    size_t taken = 0;
    while (taken < PIECE + 1024) {
        rfaas_stream_flush(stream);
        ssize_t n = recv(raw, scratch, sizeof scratch, 0);
        CHECK_FATAL(n > 0);
        taken += (size_t)n;
    }
    CHECK_EQUAL(rfaas_stream_put(stream, message, NULL, 0), RFAAS_OK);
    make_message(0, 0); /* gives the memory back */
    end();
}

static void test_refused_to_send(void)
{
    begin();
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    int files[FDS_MAX + 1];
    make_files(files, FDS_MAX + 1);
    CHECK_EQUAL(rfaas_stream_put(stream, &message, NULL, 0), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_stream_put(stream, make_message(1, 0), files, FDS_MAX + 1),
                RFAAS_ERR_ARGUMENT);
    close_files(files, FDS_MAX + 1);
    CHECK_EQUAL(rfaas_stream_put(stream, make_message(1, 0), files, 1), RFAAS_ERR_IO);
    /* Only the content's size is looked at before it is refused. */
    Rfaas__LibraryBytes library = RFAAS__LIBRARY_BYTES__INIT;
    library.content.len = RFAAS_MESSAGE_MAX;
    message.body_case = RFAAS__MESSAGE__BODY_LIBRARY_BYTES;
    message.library_bytes = &library;
    CHECK_EQUAL(rfaas_stream_put(stream, &message, NULL, 0), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_stream_flush(stream), RFAAS_OK);
    end();
}

static void test_timeouts(void)
{
    begin();
    struct rfaas_received received;
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 0), RFAAS_ERR_TIMEOUT);
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 20), RFAAS_ERR_TIMEOUT);
    unsigned char frame[64];
    raw_send(raw, frame, make_frame(frame, make_message(1, 5), 0), NULL, 0);
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 0), RFAAS_OK);
    rfaas_received_free(&received);
    CHECK_EQUAL(rfaas_stream_send(stream, make_message(1, MESSAGE_MAX), NULL, 0, 20),
                RFAAS_ERR_TIMEOUT);
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"bytes that are no message are refused", test_garbage},
        {"damaged messages are refused or taken, and nothing else",
         test_damaged_frames},
        {"messages longer than the limit are refused", test_limit},
        {"what a peer said before it went is heard, half a message is not",
         test_peer_gone},
        {"messages larger than the socket's buffer go piece by piece",
         test_large_messages},
        {"a peer that doesn't read can't use up all memory", test_queue_limit},
        {"what can't be sent is refused at once", test_refused_to_send},
        {"waiting ends in time", test_timeouts},
        {NULL, NULL},
    };
    return test_main("control", tests, argc, argv);
}
