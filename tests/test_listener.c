/* Listeners: strangers at the door, silence, crowds, and the socket's file. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "server.h"
#include "test.h"
#include "wire.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int fds_before;
static struct server server;

static void begin(void)
{
    fds_before = open_fds();
    server_start(&server, NULL, false);
}

static void end(void)
{
    server_stop(&server);
    CHECK_EQUAL(open_fds(), fds_before);
}

/* ---- strangers ------------------------------------------------------------------- */

/* What is written to stderr meanwhile. */
static int saved_stderr, captured;

static void capture_log(void)
{
    make_files(&captured, 1);
    saved_stderr = dup(STDERR_FILENO);
    dup2(captured, STDERR_FILENO);
    rfaas_log_start(NULL, RFAAS_LOG_WARN);
}

static void captured_log(char *text, size_t size)
{
    rfaas_log_start(NULL, RFAAS_LOG_NONE);
    dup2(saved_stderr, STDERR_FILENO);
    ssize_t n = pread(captured, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(saved_stderr);
    close(captured);
}

static void test_strangers(void)
{
    begin();
    char log[4096], pid[64];
    int files[8];
    unsigned char frame[5000];
    make_files(files, 8);
    capture_log();
    int garbage = stranger(server.address);
    raw_send(garbage, "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0);
    CHECK(raw_wait_end(garbage, 10000));
    int large = stranger(server.address);
    raw_send(large, frame, make_header(frame, RFAAS_HANDSHAKE_MESSAGE_MAX + 1, 0), NULL,
             0);
    CHECK(raw_wait_end(large, 10000));
    int other = stranger(server.address);
    raw_send(other, frame, make_frame(frame, make_message(1, 10), 0), NULL, 0);
    CHECK(raw_wait_end(other, 10000));
    int giving = stranger(server.address);
    raw_send(giving, frame, 4, files, 8);
    CHECK(raw_wait_end(giving, 10000));
    int dying = stranger(server.address);
    CHECK(recv(dying, frame, 1, 0) == 1); /* of the challenge, so it is in */
    raw_send(dying, frame, 6, NULL, 0);
    close(dying);
    expect_welcome(&server);
    server_stop(&server);
    captured_log(log, sizeof log);
    snprintf(pid, sizeof pid, "refused process %ld of user %ld: ", (long)getpid(),
             (long)getuid());
    CHECK(strstr(log, pid) != NULL);
    CHECK(strstr(log, "a message of 542393671 bytes") != NULL);
    CHECK(strstr(log, "a message of 4097 bytes") != NULL);
    CHECK(strstr(log, "expected Hello") != NULL);
    CHECK(strstr(log, "more descriptors came than 0") != NULL);
    CHECK(strstr(log, "mid-message") != NULL);
    close(garbage);
    close(large);
    close(other);
    close(giving);
    close_files(files, 8);
    CHECK_EQUAL(open_fds(), fds_before);
}

static void test_silent_strangers(void)
{
    begin();
    int silent[100];
    for (int i = 0; i < 100; i++)
        silent[i] = stranger(server.address);
    uint64_t start = rfaas_clock_ns();
    expect_welcome(&server);
    CHECK(rfaas_clock_ns() - start < rfaas_seconds_to_ns(2));
    /* The first had to make room: there are places for 64. */
    int left = 0;
    for (int i = 0; i < 100; i++)
        left += raw_wait_end(silent[i], 0);
    CHECK_EQUAL(left, 100 + 1 - 64);
    close_files(silent, 100);
    end();
}

/* More than there are places, all at once. */
static void test_crowd(void)
{
    begin();
    enum { CROWD = 150 };
    static struct caller crowd[CROWD];
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = (struct caller){.address = server.address, .key = &server.key};
        caller_start(&crowd[i]);
    }
    for (int i = 0; i < CROWD; i++)
        caller_join(&crowd[i], RFAAS_OK, "");
    for (int i = 0; i < CROWD; i++)
        CHECK(server_accepted(&server));
    end();
}

/* Who says nothing for RFAAS_HANDSHAKE_TIMEOUT_MS is left, on either side. */
static void test_silence(void)
{
    begin();
    char address[128];
    int listening = fake_server(address);
    int silent = stranger(server.address);
    CHECK(!raw_wait_end(silent, 0));
    expect_refusal(address, &server.key, RFAAS_ERR_TIMEOUT, "no answer within 5000 ms");
    CHECK(raw_wait_end(silent, 1000));
    close(silent);
    close(listening);
    end();
}

static void test_listener_ends_itself(void)
{
    begin();
    int silent = stranger(server.address);
    server.close_when_accepted = true;
    expect_welcome(&server);
    CHECK(raw_wait_end(silent, 10000));
    expect_refusal(server.address, &server.key, RFAAS_ERR_MANAGER, "nobody there");
    close(silent);
    end();
}

static void test_socket_file(void)
{
    char directory[256], address[300];
    const char *tmp = getenv("TMPDIR"), *path = address + 5;
    struct stat stat;
    static const struct rfaas_key key;
    snprintf(directory, sizeof directory, "%s/rfaas-test.XXXXXX", tmp ? tmp : "/tmp");
    CHECK_FATAL(mkdtemp(directory) != NULL);
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    fds_before = open_fds();

    /* One that was killed: its file is there, but nobody listens. */
    struct rfaas_listener *listener = NULL;
    struct event_base *base = event_base_new();
    CHECK_FATAL(rfaas_listener_new(base, address, &key, "", NULL, NULL, &listener) ==
                RFAAS_OK);
    char moved[320];
    snprintf(moved, sizeof moved, "%s.moved", path);
    CHECK_EQUAL(rename(path, moved), 0);
    FILE *file = fopen(path, "w");
    CHECK_FATAL(file != NULL);
    fclose(file);
    rfaas_listener_free(listener);
    CHECK_EQUAL(unlink(path), 0); /* another's file stays */
    CHECK_EQUAL(rename(moved, path), 0);

    server_start(&server, address, false);
    expect_welcome(&server);
    CHECK_EQUAL(rfaas_listener_new(base, address, &key, "", NULL, NULL, &listener),
                RFAAS_ERR_IO);
    CHECK(strstr(rfaas_last_error(), "in use") != NULL);
    expect_welcome(&server);
    server_stop(&server);
    CHECK(lstat(path, &stat) != 0);

    file = fopen(path, "w");
    CHECK_FATAL(file != NULL);
    fclose(file);
    CHECK_EQUAL(rfaas_listener_new(base, address, &key, "", NULL, NULL, &listener),
                RFAAS_ERR_IO);
    CHECK_EQUAL(unlink(path), 0);
    CHECK_EQUAL(rmdir(directory), 0);
    event_base_free(base);
    CHECK_EQUAL(open_fds(), fds_before);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"strangers are refused and logged, and disturb nobody", test_strangers},
        {"100 silent strangers don't keep a right peer out", test_silent_strangers},
        {"150 right peers at once all get in", test_crowd},
        {"who is silent for too long is left", test_silence},
        {"a listener can be freed when a peer comes", test_listener_ends_itself},
        {"a socket's file goes with its listener, and is replaced when it is stale",
         test_socket_file},
        {NULL, NULL},
    };
    return test_main("listener", tests, argc, argv);
}
