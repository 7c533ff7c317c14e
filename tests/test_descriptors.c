/* Messages and descriptors on a stream: in order however cut or glued, none left open. */
#include "base/error.h"
#include "ends.h"
#include "test.h"
#include "wire.h"
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* All is written before anything is read, so that the kernel glues what it can. */
static void test_descriptors_in_order(void)
{
    begin();
    static const int counts[] = {0, 2, 0, 0, FDS_MAX, 1, 0, FDS_MAX, FDS_MAX, 0, 3};
    enum { MESSAGES = sizeof counts / sizeof counts[0] };
    int files[MESSAGES][FDS_MAX];
    struct rfaas_stream *other = other_stream();
    for (int i = 0; i < MESSAGES; i++) {
        make_files(files[i], FDS_MAX);
        CHECK_EQUAL(
            rfaas_stream_put(other, make_message((uint64_t)i, 10), files[i], counts[i]),
            RFAAS_OK);
    }
    CHECK_EQUAL(rfaas_stream_flush(other), RFAAS_OK);
    for (int i = 0; i < MESSAGES; i++)
        expect_message((uint64_t)i, 10, files[i], counts[i]);
    expect_nothing();
    for (int i = 0; i < MESSAGES; i++)
        close_files(files[i], FDS_MAX);
    rfaas_stream_free(other);
    end();
}

static void test_single_bytes(void)
{
    begin();
    unsigned char frame[256];
    int files[2];
    make_files(files, 2);
    for (uint64_t call = 1; call <= 3; call++) {
        size_t size = make_frame(frame, make_message(call, 5), 2);
        for (size_t i = 0; i < size; i++) {
            expect_nothing();
            raw_send(raw, frame + i, 1, files, i == 0 ? 2 : 0);
        }
        expect_message(call, 5, files, 2);
    }
    close_files(files, 2);
    end();
}

/* The end of each frame comes with the beginning of the next. */
static void test_cut_and_glued(void)
{
    begin();
    unsigned char bytes[4096];
    size_t size = 0;
    for (uint64_t call = 1; call <= 20; call++)
        size += make_frame(bytes + size, make_message(call, 37), 0);
    size_t sent = 0;
    uint64_t call = 0; /* the last that came */
    size_t frame = size / 20;
    while (sent < size) {
        size_t piece = size - sent < 71 ? size - sent : 71;
        raw_send(raw, bytes + sent, piece, NULL, 0);
        sent += piece;
        while (call < sent / frame)
            expect_message(++call, 37, NULL, 0);
        expect_nothing();
    }
    CHECK_EQUAL(call, 20);
    end();
}

/* The end of a message and of its descriptors' wait comes with the next ones. */
static void test_cut_with_descriptors(void)
{
    begin();
    unsigned char frame[256];
    int files[5];
    make_files(files, 5);
    size_t size = make_frame(frame, make_message(1, 37), 2);
    raw_send(raw, frame, 20, files, 2);
    expect_nothing();
    raw_send(raw, frame + 20, size - 20, NULL, 0);
    raw_send(raw, frame, make_frame(frame, make_message(2, 37), 3), files + 2, 3);
    expect_message(1, 37, files, 2);
    expect_message(2, 37, files + 2, 3);
    close_files(files, 5);
    end();
}

static void test_taken_descriptor(void)
{
    begin();
    struct rfaas_stream *other = other_stream();
    int files[3];
    make_files(files, 3);
    CHECK_EQUAL(rfaas_stream_send(other, make_message(1, 0), files, 3, 1000), RFAAS_OK);
    struct rfaas_received received;
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 1000), RFAAS_OK);
    int taken = received.fds[1];
    received.fds[1] = -1;
    rfaas_received_free(&received);
    rfaas_received_free(&received); /* a second time does no harm */
    CHECK(same_file(taken, files[1]));
    close(taken);
    close_files(files, 3);
    rfaas_stream_free(other);
    end();
}

/* Descriptors that a program started now would get. */
static int inherited_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) == 0;
    return count;
}

/* The caller may close its own as soon as they are queued. */
static void test_queued_descriptors(void)
{
    begin();
    struct rfaas_stream *other = other_stream();
    int files[2], copies[2];
    make_files(files, 2);
    copies[0] = dup(files[0]);
    copies[1] = dup(files[1]);
    int inherited = inherited_fds();
    CHECK_EQUAL(rfaas_stream_put(other, make_message(1, 0), copies, 2), RFAAS_OK);
    CHECK_EQUAL(inherited_fds(), inherited);
    close_files(copies, 2);
    CHECK_EQUAL(rfaas_stream_flush(other), RFAAS_OK);
    expect_message(1, 0, files, 2);
    /* Those that were never sent and those never received are closed with the stream. */
    CHECK_EQUAL(rfaas_stream_put(other, make_message(1, 0), files, 2), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_flush(other), RFAAS_OK);
    CHECK_EQUAL(rfaas_stream_put(other, make_message(1, 0), files, 2), RFAAS_OK);
    close_files(files, 2);
    rfaas_stream_free(other);
    end();
}

/* Sends a frame with other descriptors than it claims. */
static void wrong_count(unsigned claimed, int sent, const char *text)
{
    begin();
    unsigned char frame[256];
    int files[64];
    make_files(files, sent);
    size_t size = make_frame(frame, make_message(1, 5), 0);
    raw_send(raw, frame, size, NULL, 0); /* one that is right, which it is glued to */
    size = make_frame(frame, make_message(2, 5), claimed);
    raw_send(raw, frame, size, files, sent);
    expect_message(1, 5, NULL, 0);
    expect_status(RFAAS_ERR_PROTOCOL, text);
    expect_status(RFAAS_ERR_PROTOCOL, text);
    close_files(files, sent);
    end();
}

static void test_wrong_counts(void)
{
    wrong_count(1, 0, "claims 1 descriptors, 0 came");
    wrong_count(0, 1, "more descriptors than it claims");
    wrong_count(1, 2, "more descriptors than it claims");
    wrong_count(FDS_MAX, FDS_MAX - 1, "claims 8 descriptors, 7 came");
    wrong_count(FDS_MAX + 1, FDS_MAX, "claims 9 descriptors");
    wrong_count(0xffffffff, 1, "claims 4294967295 descriptors");
}

static void test_too_many(void)
{
    begin();
    unsigned char frame[256];
    int files[64];
    make_files(files, 64);
    size_t size = make_frame(frame, make_message(1, 5), FDS_MAX);
    raw_send(raw, frame, size, files, 64);
    expect_status(RFAAS_ERR_PROTOCOL, "more descriptors came than 8");
    close_files(files, 64);
    end();
}

/* A frame that never ends, each byte of it with descriptors. */
static void test_hoard(void)
{
    begin();
    unsigned char frame[4096];
    int files[FDS_MAX];
    make_files(files, FDS_MAX);
    make_frame(frame, make_message(1, 2000), 0);
    int status = RFAAS_IN_PROGRESS;
    for (int i = 0; i < 20 && status == RFAAS_IN_PROGRESS; i++) {
        struct rfaas_received received;
        raw_send(raw, frame + i, 1, files, FDS_MAX);
        status = rfaas_stream_get(stream, &received);
    }
    CHECK_EQUAL(status, RFAAS_ERR_PROTOCOL);
    CHECK(open_fds() <= fds_before + 2 + 3 * FDS_MAX);
    close_files(files, FDS_MAX);
    end();
}

static void test_no_descriptors_from_strangers(void)
{
    begin();
    unsigned char frame[256];
    int files[2], before;
    make_files(files, 2);
    rfaas_stream_limit_fds(stream, 0);
    size_t size = make_frame(frame, make_message(1, 5), 0);
    raw_send(raw, frame, size, NULL, 0);
    expect_message(1, 5, NULL, 0);
    raw_send(raw, frame, size, files, 2);
    before = open_fds();
    expect_status(RFAAS_ERR_PROTOCOL, "more descriptors came than 0");
    CHECK_EQUAL(open_fds(), before);
    close_files(files, 2);
    end();
}

static void test_no_room_for_descriptors(void)
{
    begin();
    unsigned char frame[256];
    int files[4];
    struct rlimit limit, low;
    make_files(files, 4);
    raw_send(raw, frame, make_frame(frame, make_message(1, 5), 4), files, 4);
    CHECK_FATAL(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    low = limit;
    low.rlim_cur = (rlim_t)files[3] + 2; /* room for one */
    CHECK_FATAL(setrlimit(RLIMIT_NOFILE, &low) == 0);
    expect_status(RFAAS_ERR_IO, "ulimit");
    CHECK_FATAL(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    close_files(files, 4);
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"descriptors come with their messages, in order", test_descriptors_in_order},
        {"a message that comes byte by byte is put together", test_single_bytes},
        {"messages glued together and cut anywhere come in order", test_cut_and_glued},
        {"descriptors stay apart when messages are cut and glued",
         test_cut_with_descriptors},
        {"a descriptor that is taken stays, the others are closed",
         test_taken_descriptor},
        {"descriptors wait with their message, and end with the stream",
         test_queued_descriptors},
        {"other descriptors than claimed are refused, none stays open",
         test_wrong_counts},
        {"more descriptors than a message can have are refused", test_too_many},
        {"descriptors can't be piled up in an unfinished message", test_hoard},
        {"a stranger's descriptors are never opened",
         test_no_descriptors_from_strangers},
        {"running out of descriptors is told apart from nonsense",
         test_no_room_for_descriptors},
        {NULL, NULL},
    };
    return test_main("descriptors", tests, argc, argv);
}
