/* Strangers on the sockets of manager and executor while invocations run. */
#include "session_pool.h"

#include "control/address.h"
#include "control/dial.h"
#include "manager/server.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STRANGERS = 8 };

static rfaas_lease *lease;
static rfaas_function *increment;
static int32_t invoked;

static void begin(void)
{
    pool_begin(2);
    lease = lease_of(1, NULL);
    increment = function_of("increment");
    invoked = 0;
}

/* Invocations go on as if nothing were. */
static void check_undisturbed(void)
{
    int wrong = 0;
    double start = seconds_now();
    for (int i = 0; i < 200; i++)
        wrong += !increments(increment, lease, 0, invoked++);
    CHECK_EQUAL(wrong, 0);
    CHECK(seconds_now() - start < LOSS_SECONDS);
    CHECK_OK(rfaas_lease_test(lease));
}

/* ---- hand-made peers ------------------------------------------------------------- */

/* A client that has proved itself, but speaks by hand. */
static struct rfaas_stream *peer(const char *address)
{
    struct rfaas_stream *stream = NULL;
    CHECK_OK_FATAL(rfaas_connect(address, "peer", &pool.key, RFAAS__ROLE__ROLE_CLIENT,
                                 "by hand", 65536, NULL, &stream));
    return stream;
}

/* Where the executor's socket is, as a grant says. */
static void executor_address(char address[RFAAS_ADDRESS_MAX])
{
    struct rfaas_received received;
    struct rfaas_stream *stream = peer(pool.address);
    Rfaas__LeaseRequest request = RFAAS__LEASE_REQUEST__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    request.workers = request.cores_per_worker = 1;
    request.duration_ns = 1000000000;
    message.call = 1;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_REQUEST;
    message.lease_request = &request;
    CHECK_OK_FATAL(rfaas_stream_send(stream, &message, NULL, 0, 10000));
    CHECK_OK_FATAL(rfaas_stream_receive(stream, &received, 10000));
    CHECK_FATAL(received.message->body_case == RFAAS__MESSAGE__BODY_LEASE_GRANT);
    snprintf(address, RFAAS_ADDRESS_MAX, "%s",
             received.message->lease_grant->parts[0]->address);
    rfaas_received_free(&received);
    rfaas_stream_free(stream);
}

/* ---- without the key ------------------------------------------------------------- */

static int stranger(const char *address)
{
    struct sockaddr_storage parsed;
    socklen_t length;
    CHECK_OK_FATAL(rfaas_address_parse(address, &parsed, &length));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_FATAL(fd >= 0 && connect(fd, (struct sockaddr *)&parsed, length) == 0);
    return fd;
}

/* Whether the other end closes the socket, whatever it says before. */
static bool is_thrown_out(int fd)
{
    char bytes[4096];
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, PATIENCE_SECONDS * 1000) == 1) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return true;
    }
    return false;
}

static void check_garbage(const char *address)
{
    unsigned char garbage[STRANGERS][512];
    int fds[STRANGERS];
    memset(garbage[0], 0, sizeof garbage[0]);
    memset(garbage[1], 0xff, sizeof garbage[1]);
    for (size_t i = 2; i < STRANGERS; i++)
        for (size_t j = 0; j < sizeof garbage[i]; j++)
            garbage[i][j] = (unsigned char)((i + 1) * j * 2654435761u >> 11);
    memcpy(garbage[2], "\x10\0\0\0\0\0\0\0", 8);   /* a frame, but of garbage */
    memcpy(garbage[3], "\0\x10\0\0\x05\0\0\0", 8); /* with descriptors */
    memcpy(garbage[4], "GET / HTTP/1.1\r\n\r\n", 18);
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = stranger(address);
        size_t size = i < 5 ? sizeof garbage[i] : i == 5 ? 3 : 0; /* and no more */
        if (size > 0)
            CHECK(send(fds[i], garbage[i], size, MSG_NOSIGNAL) == (ssize_t)size);
        if (i == 6)
            close(fds[i]); /* and the last one says nothing */
    }
    check_undisturbed();
    for (int i = 0; i < 5; i++)
        CHECK(is_thrown_out(fds[i]));
    check_undisturbed();
    for (int i = 0; i < STRANGERS; i++)
        if (i != 6)
            close(fds[i]);
}

static void test_garbage(void)
{
    char address[RFAAS_ADDRESS_MAX];
    begin();
    executor_address(address);
    check_garbage(pool.address);
    check_garbage(address);
    pool_end();
}

static void test_wrong_key(void)
{
    char address[RFAAS_ADDRESS_MAX];
    begin();
    executor_address(address);
    for (int i = 0; i < 20; i++) {
        struct rfaas_key key;
        struct rfaas_stream *stream = NULL;
        CHECK_OK_FATAL(rfaas_key_create(&key));
        CHECK_STATUS(rfaas_connect(i % 2 ? address : pool.address, "it", &key,
                                   i % 4 < 2 ? RFAAS__ROLE__ROLE_CLIENT
                                             : RFAAS__ROLE__ROLE_EXECUTOR,
                                   "stranger", 65536, NULL, &stream),
                     RFAAS_ERR_REFUSED, "");
        CHECK(stream == NULL);
    }
    check_undisturbed();
    pool_end();
}

/* ---- with the key, but not with its own ------------------------------------------ */

/* Says it to the executor and is thrown out for it. */
static void check_thrown_out(const char *address, const Rfaas__Message *message)
{
    struct rfaas_stream *stream = peer(address);
    struct rfaas_received received;
    CHECK_OK(rfaas_stream_send(stream, message, NULL, 0, 10000));
    int status = rfaas_stream_receive(stream, &received, 10000);
    if (status == RFAAS_OK)
        rfaas_received_free(&received);
    CHECK_EQUAL(status, RFAAS_ERR_IO);
    rfaas_stream_free(stream);
    check_undisturbed();
}

static void test_foreign_lease(void)
{
    char address[RFAAS_ADDRESS_MAX];
    begin();
    executor_address(address);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    Rfaas__LeaseOpen open = RFAAS__LEASE_OPEN__INIT;
    open.lease = open.part = 1; /* the client's; the token is a guess */
    open.token = 4711;
    open.transport = (char[]){"shm"};
    open.slots = 1;
    open.slot_size = 4096;
    open.workers_in_lease = 1;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_OPEN;
    message.lease_open = &open;
    check_thrown_out(address, &message);

    Rfaas__WorkerReady ready = RFAAS__WORKER_READY__INIT;
    ready.lease = 1;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_READY;
    message.worker_ready = &ready;
    check_thrown_out(address, &message); /* not a client's to say */

    Rfaas__FunctionAdd add = RFAAS__FUNCTION_ADD__INIT;
    add.function = 1;
    add.sha256 = (ProtobufCBinaryData){3, (uint8_t[]){1, 2, 3}};
    message.body_case = RFAAS__MESSAGE__BODY_FUNCTION_ADD;
    message.function_add = &add;
    check_thrown_out(address, &message);
    pool_end();
}

/* What concerns another's lease has no effect on it. */
static void test_foreign_worker(void)
{
    char address[RFAAS_ADDRESS_MAX];
    struct rfaas_received received;
    begin();
    executor_address(address);
    struct rfaas_stream *stream = peer(address);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    Rfaas__WorkerConnect body = RFAAS__WORKER_CONNECT__INIT;
    body.lease = 1;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_CONNECT;
    message.worker_connect = &body;
    CHECK_OK(rfaas_stream_send(stream, &message, NULL, 0, 10000));
    Rfaas__UsageQuery query = RFAAS__USAGE_QUERY__INIT;
    query.lease = 1;
    message.call = 5;
    message.body_case = RFAAS__MESSAGE__BODY_USAGE_QUERY;
    message.usage_query = &query;
    check_undisturbed(); /* so that there is something to tell */
    CHECK_OK(rfaas_stream_send(stream, &message, NULL, 0, 10000));
    CHECK_OK_FATAL(rfaas_stream_receive(stream, &received, 10000));
    CHECK_FATAL(received.message->body_case == RFAAS__MESSAGE__BODY_USAGE_REPORT);
    CHECK_EQUAL(received.message->usage_report->execute_ns, 0);
    CHECK_EQUAL(received.message->usage_report->hot_ns, 0);
    rfaas_received_free(&received);
    rfaas_stream_free(stream);
    check_undisturbed();
    pool_end();
}

static const struct test tests[] = {
    {"strangers who talk garbage disturb nobody", test_garbage},
    {"strangers with the wrong key disturb nobody", test_wrong_key},
    {"a client that meddles with a foreign lease is thrown out", test_foreign_lease},
    {"a client learns nothing of a foreign lease", test_foreign_worker},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: strangers", tests, argc, argv);
}
