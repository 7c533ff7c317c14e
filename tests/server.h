/* For tests of control: a listener in a thread of its own, whose connections send every
 * message back, and a socket that only listens. */
#ifndef RFAAS_TEST_SERVER_H
#define RFAAS_TEST_SERVER_H

#include "control/connection.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

struct server {
    char address[128];
    struct rfaas_key key;
    char key_file[64]; /* as it is offered; "" for not */
    int key_fd;
    pthread_t thread;
    int stop_fd;
    sem_t accepted; /* posted for each peer that has proved itself */
    Rfaas__Role last_role;
    char last_name[64];

    /* The thread's own: */
    struct event_base *base;
    struct rfaas_listener *listener;
    struct rfaas_connection *connections[256];
    int connection_count;
    bool close_when_accepted; /* frees the listener in its own callback */
};

/* Starts it at a fresh address, or at `address`; it offers its key or not.
 * server.address is where it is then. */
void server_start(struct server *server, const char *address, bool offer);
void server_stop(struct server *server);

/* That one more peer has been accepted, within 10 seconds. */
bool server_accepted(struct server *server);

/* A call of rfaas_connect in a thread of its own. CUnit stays in the main thread: what
 * came of it is looked at there. */
struct caller {
    const char *address;
    const struct rfaas_key *key;
    pthread_t thread;
    struct rfaas_stream *stream;
    int status;
    char error[512];
};
void caller_start(struct caller *caller);
/* Waits for its end; an error has to contain `text`. */
void caller_join(struct caller *caller, int status, const char *text);

/* Calls, and gets such an error. */
void expect_refusal(const char *address, const struct rfaas_key *key, int status,
                    const char *text);
/* That the server takes a peer with the right key. */
void expect_welcome(struct server *server);

/* A socket connected to the address, as a stranger has it. */
int stranger(const char *address);

/* A socket that listens at a fresh address. */
int fake_server(char address[128]);
/* The next caller of it, as a stream; waits 10 seconds at most. */
struct rfaas_stream *fake_accept(int listening);

#endif
