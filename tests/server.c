/* A listener in a thread of its own, and callers. */
#include "server.h"
#include "base/error.h"
#include "control/address.h"
#include "control/dial.h"
#include "test.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    (void)arg;
    rfaas_connection_send(connection, received->message, received->fds,
                          received->fd_count);
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    struct server *server = arg;
    (void)status;
    for (int i = 0; i < server->connection_count; i++) {
        if (server->connections[i] == connection)
            server->connections[i] = server->connections[--server->connection_count];
    }
    rfaas_connection_free(connection);
}

static void on_accepted(struct rfaas_stream *stream, Rfaas__Role role, const char *name,
                        void *arg)
{
    static const struct rfaas_connection_calls calls = {.message = on_message,
                                                        .closed = on_closed};
    struct server *server = arg;
    server->last_role = role;
    snprintf(server->last_name, sizeof server->last_name, "%s", name);
    if (rfaas_connection_new(server->base, stream, name, &calls, server,
                             &server->connections[server->connection_count]) ==
        RFAAS_OK)
        server->connection_count++;
    if (server->close_when_accepted) {
        rfaas_listener_free(server->listener);
        server->listener = NULL;
    }
    sem_post(&server->accepted);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    event_base_loopbreak(arg);
}

static void *serve(void *arg)
{
    struct server *server = arg;
    struct event *stop =
        event_new(server->base, server->stop_fd, EV_READ, on_stop, server->base);
    event_add(stop, NULL);
    event_base_dispatch(server->base);
    event_free(stop);
    while (server->connection_count > 0)
        rfaas_connection_free(server->connections[--server->connection_count]);
    rfaas_listener_free(server->listener);
    return NULL;
}

void server_start(struct server *server, const char *address, bool offer)
{
    memset(server, 0, sizeof *server);
    CHECK_FATAL(rfaas_key_create(&server->key) == RFAAS_OK);
    server->key_fd = -1;
    if (offer)
        CHECK_FATAL(rfaas_key_offer(&server->key, &server->key_fd, server->key_file,
                                    sizeof server->key_file) == RFAAS_OK);
    if (address)
        snprintf(server->address, sizeof server->address, "%s", address);
    else
        CHECK_FATAL(rfaas_address_random("test", server->address,
                                         sizeof server->address) == RFAAS_OK);
    sem_init(&server->accepted, 0, 0);
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    server->base = event_base_new();
    CHECK_FATAL(server->base && server->stop_fd >= 0);
    CHECK_FATAL(rfaas_listener_new(server->base, server->address, &server->key,
                                   server->key_file, on_accepted, server,
                                   &server->listener) == RFAAS_OK);
    snprintf(server->address, sizeof server->address, "%s",
             rfaas_listener_address(server->listener));
    CHECK_FATAL(pthread_create(&server->thread, NULL, serve, server) == 0);
}

void server_stop(struct server *server)
{
    eventfd_write(server->stop_fd, 1);
    pthread_join(server->thread, NULL);
    event_base_free(server->base);
    close(server->stop_fd);
    if (server->key_fd >= 0)
        close(server->key_fd);
    sem_destroy(&server->accepted);
}

bool server_accepted(struct server *server)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 10;
    int failed;
    do {
        failed = sem_timedwait(&server->accepted, &deadline);
    } while (failed && errno == EINTR);
    return !failed;
}

int stranger(const char *address)
{
    struct sockaddr_storage parsed;
    socklen_t length;
    CHECK_FATAL(rfaas_address_parse(address, &parsed, &length) == RFAAS_OK);
    int fd = socket(parsed.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_FATAL(fd >= 0 && connect(fd, (struct sockaddr *)&parsed, length) == 0);
    return fd;
}

int fake_server(char address[128])
{
    struct sockaddr_storage parsed;
    socklen_t length;
    CHECK_FATAL(rfaas_address_random("fake", address, 128) == RFAAS_OK);
    CHECK_FATAL(rfaas_address_parse(address, &parsed, &length) == RFAAS_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_FATAL(fd >= 0 && bind(fd, (struct sockaddr *)&parsed, length) == 0 &&
                listen(fd, 16) == 0);
    return fd;
}

struct rfaas_stream *fake_accept(int listening)
{
    struct pollfd ready = {.fd = listening, .events = POLLIN};
    CHECK_FATAL(poll(&ready, 1, 10000) == 1);
    struct rfaas_stream *stream = NULL;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    CHECK_FATAL(fd >= 0 && rfaas_stream_new(fd, 1 << 20, &stream) == RFAAS_OK);
    return stream;
}

/* ---- callers -------------------------------------------------------------------- */

static void *caller_run(void *arg)
{
    struct caller *caller = arg;
    caller->stream = NULL;
    caller->status =
        rfaas_connect(caller->address, "manager", caller->key, RFAAS__ROLE__ROLE_CLIENT,
                      "me", 4 << 20, NULL, &caller->stream);
    snprintf(caller->error, sizeof caller->error, "%s",
             caller->status == RFAAS_OK ? "" : rfaas_last_error());
    return NULL;
}

void caller_start(struct caller *caller)
{
    CHECK_FATAL(pthread_create(&caller->thread, NULL, caller_run, caller) == 0);
}

static void caller_check(struct caller *caller, int status, const char *text)
{
    CHECK_EQUAL(caller->status, status);
    bool named = strstr(caller->error, text) != NULL;
    CHECK(named);
    if (!named)
        printf("    not in \"%s\": %s\n", caller->error, text);
    CHECK_EQUAL(caller->stream == NULL, status != RFAAS_OK);
    rfaas_stream_free(caller->stream);
}

void caller_join(struct caller *caller, int status, const char *text)
{
    pthread_join(caller->thread, NULL);
    caller_check(caller, status, text);
}

void expect_refusal(const char *address, const struct rfaas_key *key, int status,
                    const char *text)
{
    struct caller caller = {.address = address, .key = key};
    caller_run(&caller);
    caller_check(&caller, status, text);
}

void expect_welcome(struct server *server)
{
    struct caller caller = {.address = server->address, .key = &server->key};
    caller_run(&caller);
    caller_check(&caller, RFAAS_OK, "");
    CHECK(caller.status != RFAAS_OK || server_accepted(server));
}
