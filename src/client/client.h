/* The side of the client that invokes. A session and all below it are guarded by its
 * lock, or belong to one thread (threads=single); the client's own thread never gets
 * here (control.h). Whoever calls rfaas_progress or a call that makes progress takes
 * in what has come. */
#ifndef RFAAS_CLIENT_CLIENT_H
#define RFAAS_CLIENT_CLIENT_H

#include "base/callable.h"
#include "base/config.h"
#include "base/export.h"
#include "client/arena.h"
#include "client/control.h"
#include "client/registrations.h"
#include "control/invocation.h"
#include "rfaas.h"
#include <pthread.h>
#include <stdatomic.h>

typedef void rfaas_done_call(rfaas_request *request, void *arg);

enum request_state {
    REQUEST_QUEUED,
    REQUEST_SENT,
    REQUEST_DONE,
};

/* What a worker has said of a request that failed. */
enum request_answer {
    REQUEST_UNANSWERED, /* nothing: it was lost, or never got it */
    REQUEST_ANSWERED,
    REQUEST_NOT_LOADED, /* it doesn't have the function; nothing ran */
};

struct rfaas_request {
    rfaas_session *session;
    rfaas_lease *lease; /* not to be followed once it is done */
    rfaas_function *function;
    const void *in;
    void *out;
    size_t in_size, out_capacity;
    size_t received; /* of the output, in parts before the last */
    /* When the user's memory isn't the arena's: pieces of that to copy through, or
     * registrations. */
    void *in_piece, *out_piece;
    struct registration *in_registration, *out_registration;
    int wanted;       /* worker, or RFAAS_ANY_WORKER */
    uint64_t order;   /* of its start, among the lease's */
    unsigned cut_off; /* times that a connection failed with it as the first on it */
    /* Written before `state` says DONE (release), read after (acquire): rfaas_test
     * looks without the lock. */
    struct rfaas_result result;
    enum request_answer answer;
    char *text; /* of the error, or NULL */
    _Atomic int state;
    rfaas_done_call *done; /* NULL: the user tests */
    void *arg;
    rfaas_request *prev, *next; /* in a queue, or free */
};

struct client_slot {
    rfaas_request *request; /* NULL: free */
    unsigned uses;
};

/* A worker as its client has it. */
struct client_worker {
    rfaas_lease *lease;
    int number;
    uint64_t part; /* of the lease; tells it from others that had its number */
    /* Starting: to be connected, at first or again, or waiting for a process to be
     * started. Ending: its process shall go. */
    enum { WORKER_STARTING, WORKER_READY, WORKER_ENDING, WORKER_GONE } state;
    bool retired; /* its number isn't its own any more; it answers what it was sent */
    int gone_status; /* why */
    pid_t pid;
    int device; /* of the session's, by which it is reached */
    struct rfaas_endpoint *endpoint;
    uint32_t connection; /* the number of the process's latest one */
    bool reset;          /* the endpoint was, and isn't connected again */
    bool cut_off;        /* the connection has failed; until another one works */
    unsigned failures;   /* of connections, without an answer in between */
    uint32_t slots_key;
    uint64_t slots_address;
    struct client_slot *slots;
    unsigned char *free; /* stack of free slots */
    unsigned free_count;
    struct worker_activity *activity;  /* in the lease's */
    bool connected;                    /* has said so, of this connection */
    bool reached;                      /* it has once, or by a connection before */
    bool settled;                      /* has got ready once, or never will */
    rfaas_request *queue;              /* for this worker alone, in order */
    struct client_worker *prev, *next; /* retired */
};

struct rfaas_lease {
    rfaas_session *session;
    uint64_t ticket;
    struct rfaas_config config;
    uint64_t slot_size;
    bool granted;
    _Atomic int status; /* IN_PROGRESS, OK, or why it is over */
    char text[CONTROL_TEXT_MAX];
    struct client_worker **workers; /* by their numbers */
    int worker_count;
    _Atomic int size; /* the same, for who looks without the lock */
    struct client_worker *retired;
    int unsettled;     /* workers that are starting for the first time */
    uint64_t deadline; /* for the start, ns */
    bool resizing;     /* the manager hasn't answered yet */
    int resize_status; /* of the last time; text in resize_text */
    char resize_text[CONTROL_TEXT_MAX];
    uint64_t resize_deadline;        /* ns */
    uint64_t counted_at, counted_ns; /* workers x time up to then, ns */
    uint64_t order;
    rfaas_request *queue;             /* for any worker, in order */
    uint64_t ended;                   /* invocations */
    uint32_t underway;                /* not ended */
    struct worker_activity *activity; /* of each worker */
    uint64_t failures, bytes_in, bytes_out;
    rfaas_lease *prev, *next;
};

struct rfaas_function {
    rfaas_session *session;
    uint32_t number;
    char *name;
    void *library; /* of dlopen */
    struct rfaas_callable callable;
    char *broken;   /* why a worker couldn't load it, or NULL */
    int references; /* the user's and those of requests */
    rfaas_function *next;
};

struct rfaas_session {
    struct rfaas_config config;
    pthread_mutex_t mutex;
    bool locked; /* whether the mutex is used */
    struct client_device devices[CLIENT_DEVICES_MAX];
    int device_count;
    char why_not_remote[CONTROL_TEXT_MAX]; /* workers elsewhere can't be reached */
    struct arena arena;
    struct registrations registrations;
    struct rfaas_control *control;
    uint64_t next_ticket;
    uint32_t next_function;
    rfaas_lease *leases;
    rfaas_function *functions;
    rfaas_request *free_requests;
    struct request_chunk *chunks;
    /* Done, and waiting for their `done` call, which is made without the lock. */
    rfaas_request *finished, **finished_end;
};

/* ---- session.c ---- */
static inline void session_lock(rfaas_session *session)
{
    if (session->locked)
        pthread_mutex_lock(&session->mutex);
}

static inline bool session_trylock(rfaas_session *session)
{
    return !session->locked || pthread_mutex_trylock(&session->mutex) == 0;
}

static inline void session_unlock(rfaas_session *session)
{
    if (session->locked)
        pthread_mutex_unlock(&session->mutex);
}

/* Takes in what has come; with the lock. Returns how many invocations ended. */
int session_poll(rfaas_session *session);
/* Makes the `done` calls that are due; without the lock. */
void session_finish(rfaas_session *session);
/* Between polls that brought nothing: yields now and then, sleeps when told. `turn`
 * counts the caller's polls. */
void session_pause(rfaas_session *session, unsigned turn, bool may_sleep);

/* ---- lease.c ---- */
void lease_event(rfaas_session *session, struct control_event *event);
/* The worker says that it is connected; false: it had said so. */
bool lease_worker_connected(struct client_worker *worker);
/* Whether a worker of it lives, or will, that takes invocations. */
bool lease_any_alive(const rfaas_lease *lease);
/* It can't be used, and nobody will replace it. */
void lease_worker_fail(struct client_worker *worker, const char *why);
/* Fails all that wait in its queues. */
void lease_fail_queued(rfaas_lease *lease, int status, const char *text);

/* ---- workers.c ---- */
/* So many numbers from now on: new workers are to be started, or the last ones retire
 * and what waits for them ends. RFAAS_ERR_NO_MEMORY. */
int workers_count(rfaas_lease *lease, int count);
void workers_free(rfaas_lease *lease);
/* It retires, and its number is another's. */
int worker_succeed(struct client_worker *worker, uint64_t part);
/* The retired worker of this part and number; NULL: there is none. */
struct client_worker *worker_retired(rfaas_lease *lease, uint64_t part, int number);
void worker_free(struct client_worker *worker);

/* ---- worker_connection.c ---- */
/* Connects to a process that is ready. */
int worker_attach(struct client_worker *worker, const struct control_event *event);
void worker_detach(struct client_worker *worker);
/* Its process has said that it is connected, for the first time. */
void worker_reached(struct client_worker *worker);
/* Its connection has failed: makes another, if that makes sense. */
void worker_cut_off(struct client_worker *worker, const char *why);
/* It has found that out, or was told, and has another endpoint. */
void worker_moved(struct client_worker *worker, const struct control_event *event);
/* Nothing that it writes can be trusted any more, or nothing reaches it: its process is
 * ended, and what it had goes the way of all that a lost worker had. Until then it gets
 * nothing more: that waits for who replaces it. */
void worker_broken(struct client_worker *worker, const char *why);

/* ---- resize.c ---- */
void lease_resized(rfaas_lease *lease, const struct control_event *event);

/* ---- invoke.c ---- */
void invoke_completion(const struct rfaas_completion *completion);
/* Sends what waits, as far as slots are free. */
void invoke_queued(rfaas_lease *lease);
/* The slot's request has ended, or (false) is to be sent again. */
rfaas_request *invoke_slot_free(struct client_worker *worker, unsigned number,
                                bool ended);

/* ---- lost.c ---- */
/* The tags of what the worker has, whose answers come once more; how many. */
unsigned invoke_outstanding(struct client_worker *worker, uint32_t *tags);
/* The connection has failed: takes down what may be the reason for it. */
void invoke_cut_off(struct client_worker *worker);
/* The worker, which connects again, hasn't begun what is in this slot. */
void invoke_given_back(struct client_worker *worker, unsigned number);
/* The worker is gone: ends what it ran, queues again what it hadn't begun. `event`: what
 * its executor says; NULL: nobody knows what it had begun. */
void invoke_worker_gone(struct client_worker *worker, int status, const char *text,
                        const struct control_event *event);

/* ---- buffers.c ---- */

/* Where the input is taken from, and whether it goes along with the header; if not, it
 * stays in `place` and the worker gets to it by the memory's key. */
struct input_way {
    const void *place; /* NULL: out of memory */
    bool along;
    const struct rfaas_memory *memory; /* NULL: it is copied */
};
struct input_way buffers_input(rfaas_request *request,
                               const struct client_worker *worker);
/* Where the worker puts the output: the caller's buffer, or a piece to copy from. False:
 * out of memory. */
bool buffers_output(rfaas_request *request, const struct client_worker *worker,
                    struct rfaas_invocation_header *header);
/* The registrations were for one worker, which has gone; keep: see registration_put. */
void buffers_unregister(rfaas_request *request, bool keep);
/* All that was needed for the buffers. */
void buffers_return(rfaas_request *request, bool keep);

/* ---- requests.c ---- */
rfaas_request *request_new(rfaas_session *session); /* NULL: out of memory */
/* Ends the request. `text`: why it failed, or NULL. */
void request_finish(rfaas_request *request, const struct rfaas_result *result,
                    const char *text);
void request_end(rfaas_request *request, int status, int worker, const char *text);
void requests_free(rfaas_session *session);

/* ---- function.c ---- */
void function_release(rfaas_function *function);

/* ---- for the MPI layer ---- */

/* As rfaas_session_open, with settings that are known and the key. */
RFAAS_PRIVATE_API int rfaas_session_open_config(const struct rfaas_config *config,
                                                const struct rfaas_key *key,
                                                rfaas_session **session);
/* As rfaas_invoke; when the invocation has ended, `done` is called once, by whichever
 * thread makes progress and without the lock, and owns the request: it reads its
 * result and frees it. */
RFAAS_PRIVATE_API int rfaas_invoke_call(rfaas_lease *lease, int worker,
                                        rfaas_function *function, const void *in,
                                        size_t in_size, void *out, size_t out_capacity,
                                        rfaas_done_call *done, void *arg,
                                        rfaas_request **request);
RFAAS_PRIVATE_API const struct rfaas_result *
rfaas_request_result(const rfaas_request *request);
RFAAS_PRIVATE_API enum request_answer
rfaas_request_answer(const rfaas_request *request);
/* The sentence for a failed request; never NULL. */
RFAAS_PRIVATE_API const char *rfaas_request_text(const rfaas_request *request);
RFAAS_PRIVATE_API void rfaas_request_free(rfaas_request **request);
/* Takes a request back that waits for a slot, which ends with RFAAS_ERR_CANCELLED; one
 * that is on its way or over ends as it does. `arg` is the one it was started with:
 * another thread may free the request and set it to NULL at the same time. */
RFAAS_PRIVATE_API void rfaas_request_withdraw(rfaas_session *session,
                                              rfaas_request **request, void *arg);
RFAAS_PRIVATE_API rfaas_session *rfaas_lease_session(const rfaas_lease *lease);
/* Whether the worker is there, or another will be in its place. */
RFAAS_PRIVATE_API bool rfaas_lease_has_worker(rfaas_lease *lease, int worker);
/* The function as this process has it loaded, to be called here. */
RFAAS_PRIVATE_API const struct rfaas_callable *
rfaas_function_callable(const rfaas_function *function);
/* Holds the function once more; each holder frees it. */
RFAAS_PRIVATE_API void rfaas_function_hold(rfaas_function *function);
/* Its name; valid as long as the function. */
RFAAS_PRIVATE_API const char *rfaas_function_name(const rfaas_function *function);
/* rfaas_lease_resize without blocking: begun, and RFAAS_IN_PROGRESS until it is over. */
RFAAS_PRIVATE_API int rfaas_lease_resize_begin(rfaas_lease *lease, int workers,
                                               const char *const settings[]);
RFAAS_PRIVATE_API int rfaas_lease_resize_test(rfaas_lease *lease);

#endif
