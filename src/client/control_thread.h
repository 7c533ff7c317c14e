/* What the files of the client's thread share: control.c (the thread, its events, the
 * manager), commands.c, worker_commands.c and offers.c (what it is told), records.c
 * (leases and their end), remotes.c (workers), links.c (executors). All of it belongs to
 * the thread, but for what stands under `lock`. */
#ifndef RFAAS_CLIENT_CONTROL_THREAD_H
#define RFAAS_CLIENT_CONTROL_THREAD_H

#include "client/control.h"
#include "control/address.h"
#include "control/connection.h"
#include "control/host.h"
#include <pthread.h>
#include <uthash.h>

struct command {
    void (*run)(struct rfaas_control *control, struct command *command);
    struct command *next;
};

/* Declares a command's struct `name`, whose first member is the command. */
#define NEW_COMMAND(type, variable, function)                                          \
    struct type *variable = calloc(1, sizeof *variable);                               \
    if (!variable)                                                                     \
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory");               \
    variable->command.run = function

enum { CALL_VALUES = 4 };

/* One call that its caller waits for; answered by `answers` messages. */
struct call {
    uint64_t number;
    int status;
    int answers;                  /* awaited; 0: done */
    uint64_t values[CALL_VALUES]; /* sums of theirs */
    UT_hash_handle hh;
};

/* An executor that has workers of ours, or shall have. */
struct link {
    struct rfaas_control *control;
    char address[RFAAS_ADDRESS_MAX];         /* on its node */
    char network_address[RFAAS_ADDRESS_MAX]; /* for others; "": none */
    char node[80];                           /* for texts */
    /* It is reached by TCP: no descriptors come from there, and nothing is known of its
     * processes but what it says. */
    bool remote;
    struct rfaas_dial *dial;             /* NULL: connected */
    struct rfaas_connection *connection; /* NULL: connecting */
    struct link *next;
};

struct remote_worker {
    struct record *record;
    unsigned number;
    uint64_t part;     /* of the lease; 0: there is no worker of this number */
    unsigned first;    /* the number of the part's first worker */
    bool opened;       /* the part's executor has been told to start it */
    bool retired;      /* its number isn't its own any more */
    bool abandoned;    /* no other follows it */
    struct link *link; /* NULL: the executor has gone */
    pid_t pid;
    int alive_fd; /* ends when the process does; -1: none */
    struct event *death;
    struct event *start; /* its deadline: see remote_worker_starts */
    bool killed, gone;
    uint64_t seen_ended; /* of its activity, at the last look */
    bool seen_underway;
    uint64_t busy_since; /* ns */
    struct remote_worker *prev, *next;
};

/* A lease. */
struct record {
    struct rfaas_control *control;
    uint64_t ticket, id, token;
    struct lease_terms terms;
    const struct worker_activity *activity; /* of each worker */
    bool ended;
    struct event *renewal, *limit;
    struct remote_worker **workers; /* by their numbers */
    unsigned worker_count;
    struct remote_worker *all;   /* the retired ones, whose processes live, too */
    uint64_t execute_ns, hot_ns; /* of processes that have ended */
    UT_hash_handle hh;
};

struct offered_memory {
    const char *transport;
    uint32_t key;
    struct rfaas_blob blob; /* owns its descriptors */
    struct offered_memory *next;
};

struct offered_function {
    uint32_t number;
    char *name, *path;
    unsigned char sha256[SHA256_SIZE];
    void *content;
    size_t size;
    struct offered_function *next;
};

struct rfaas_control {
    pthread_t thread;
    struct event_base *base;
    struct event *wake;
    int command_fd, event_fd;
    struct rfaas_key key;
    struct control_transports transports;
    char boot_id[RFAAS_BOOT_ID_MAX];
    char name[64];
    bool stopping;

    struct rfaas_connection *manager;
    struct link *links;
    struct record *records; /* by ticket */
    struct offered_memory *memories;
    struct offered_function *functions;

    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct command *commands;
    struct control_event *events;
    _Atomic bool has_events;
    struct call *calls;
    uint64_t next_call;
};

/* control.c */
struct control_event *control_event_new(enum control_event_kind kind, uint64_t ticket);
void control_event_post(struct rfaas_control *control, struct control_event *event);
int lease_end_status(Rfaas__LeaseEnd reason);
void fd_signal(int fd); /* of an eventfd */
void fd_drain(int fd);

/* commands.c */
void command_post(struct rfaas_control *control, struct command *command);
void commands_run(struct rfaas_control *control);
void commands_stop(struct rfaas_control *control);
/* One of the answers that a call waits for; values NULL: it has none. */
void control_answer(struct rfaas_control *control, uint64_t call, int status,
                    const uint64_t values[CALL_VALUES]);

/* offers.c */
/* A copy whose descriptors are its own. */
int blob_copy(struct rfaas_blob *copy, const struct rfaas_blob *blob);
void offered_memory_free(struct offered_memory *memory);
void offered_function_free(struct offered_function *function);

/* records.c */
struct record *record_find(struct rfaas_control *control, uint64_t ticket);
/* Lease 0: the request of this ticket that waits. */
void record_send_release(struct rfaas_control *control, uint64_t lease,
                         uint64_t ticket);
/* It has been granted, resized (`asked`), or gets some other workers. */
void record_granted(struct record *record, const Rfaas__LeaseGrant *grant, bool asked);
/* Within a second, processes that should have ended will have. */
void record_limit(struct record *record);
void record_ended(struct record *record, int status, const char *text);
void record_free(struct record *record);
void record_request(struct rfaas_control *control, struct record *record);
/* The answer to its being resized. */
void record_resized(struct record *record, int status, const char *text);
/* Has the executor start the workers that the lease has there, if any. */
void record_open(const struct record *record, struct link *link);
struct record *record_by_id(struct rfaas_control *control, uint64_t id);
void record_renew(struct record *record);

/* remotes.c: workers, and what becomes of their processes */

/* From now on there are so many numbers. false: out of memory. */
bool remote_workers_count(struct record *record, unsigned count);
void remote_workers_free(struct record *record);
/* The worker of this part and number, retired or not; NULL: none. */
struct remote_worker *remote_worker_find(struct record *record, uint64_t part,
                                         unsigned number);
/* An executor is to start a process: CONTROL_WORKER_LATE is posted if that isn't connected
 * within START_SECONDS. */
void remote_worker_starts(struct remote_worker *worker);
/* It takes nothing more. If its number is still one of the lease, that is free for
 * another. false: out of memory. */
bool remote_worker_retire(struct remote_worker *worker);
/* Nobody will have the number again, once its worker has gone. */
void remote_worker_abandon(struct remote_worker *worker);
/* The process of a worker has ended, or never was. `body`: what its executor says; NULL:
 * nobody knows more, and nobody replaces it. */
void worker_gone(struct remote_worker *worker, int status, const char *text,
                 const Rfaas__WorkerGone *body);
void remote_worker_kill(const struct remote_worker *worker);
/* The process has ended, or will never be heard of again. */
void remote_worker_died(struct remote_worker *worker);
/* Its executor doesn't tell any more: watches the process itself. */
void worker_orphaned(struct remote_worker *worker);

/* links.c */
/* The executor of this part, called if need be; NULL: it can't be. Workers there are
 * gone if it can't be had. */
struct link *link_open(struct rfaas_control *control, const Rfaas__LeasePart *part);
const char *link_transport(const struct link *link);
void link_free(struct link *link);
/* Sends nothing while it is connecting: once connected, the executor is told all that
 * holds by then. */
void link_send(struct link *link, const Rfaas__Message *message, const int fds[],
               int fd_count);
void link_introduce_memory(struct link *link, const struct offered_memory *memory);
void link_introduce_function(struct link *link,
                             const struct offered_function *function);

#endif
