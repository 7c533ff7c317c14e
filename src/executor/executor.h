/* The executor: the daemon of one node. It takes its share of leases from the
 * manager, starts a worker for each core leased, and brings client and worker
 * together; invocations then pass it by.
 *
 * One thread, one event loop. Who owns what:
 *   executor   its connections, the leases it hosts, the clients, the libraries
 *   lease      its workers
 *   client     what it told us for its workers: memories and functions
 * What is hosted of a lease is a part of it. It begins with LeaseAssign (manager) and
 * LeaseOpen (client), in either order, and ends when it was withdrawn, or all of its
 * workers retired, and the last of its processes is reaped. */
#ifndef RFAAS_EXECUTOR_EXECUTOR_H
#define RFAAS_EXECUTOR_EXECUTOR_H

#include "base/clock.h"
#include "base/cores.h"
#include "control/address.h"
#include "control/connection.h"
#include "control/invocation.h"
#include "executor/library.h"
#include "transport/transport.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

struct hosted_worker {
    struct hosted_lease *lease;
    unsigned number; /* within the lease's part here */
    pid_t pid;       /* 0: no process */
    int leash;       /* of the process; when it closes, the kernel kills the group */
    struct rfaas_connection *connection;
    struct rfaas_worker_page *page;
    int *cores; /* indices into executor.load that it occupies */
    unsigned core_count;
    bool retiring;          /* it has been told to end when it has finished */
    struct event *limit;    /* until it is ready, has another endpoint, or has ended */
    unsigned failed_starts; /* in a row, without having got ready */
    uint32_t moves;         /* of the process: the number of its latest connection */
    UT_hash_handle hh;      /* in executor.processes, by pid */
};

/* What is known of a process that has ended. */
struct worker_end {
    pid_t pid; /* 0: it could not be started */
    int wait_status;
    uint64_t execute_ticks, hot_ticks;
    uint32_t executing;              /* as in WorkerGone */
    uint32_t begun[RFAAS_SLOTS_MAX]; /* likewise */
    size_t begun_count;
};

enum { TRANSPORT_NAME_MAX = 16 };

struct hosted_lease {
    uint64_t part; /* of the lease; names it here */
    uint64_t id;
    uint64_t token;
    bool assigned, opened;
    Rfaas__LeaseEnd ended; /* NONE: active */
    bool withdrawn;        /* the manager waits for LeaseFreed */
    struct rfaas_client *client;
    Rfaas__LeaseOpen terms; /* of the client; transport in `transport` */
    char transport[TRANSPORT_NAME_MAX];
    unsigned cores_per_worker;
    struct hosted_worker *workers;
    unsigned worker_count, running;
    unsigned kept;     /* workers that stay; the others are retiring */
    UT_hash_handle hh; /* in executor.leases, by part */
};

struct client_memory {
    uint32_t key;
    struct rfaas_blob blob; /* owns its descriptors */
    struct client_memory *next;
};

struct client_function {
    uint32_t number;
    char *name, *path;
    unsigned char sha256[RFAAS_SHA256_SIZE];
    bool wanted; /* the library's bytes were asked for */
    struct client_function *next;
};

struct rfaas_client {
    struct rfaas_executor *executor;
    struct rfaas_connection *connection;
    struct client_memory *memories;
    struct client_function *functions;
    struct rfaas_client *prev, *next;
};

struct rfaas_executor {
    struct event_base *base;
    struct event *child_signal, *end_signals[2], *end_timer;
    struct rfaas_connection *manager;
    struct rfaas_listener *listener, *network; /* for its node, and others or NULL */
    struct rfaas_key key;
    struct rfaas_cores cores; /* that workers are bound to */
    int core_count;           /* offered; may be more than there are in `cores` */
    int *load;                /* workers on each of them, [core_count] */
    struct hosted_lease *leases;
    uint64_t last_part; /* assigned; the manager assigns them in rising order */
    struct hosted_worker *processes;
    struct rfaas_client *clients;
    struct rfaas_libraries libraries;
    struct rfaas_tick_origin start;
    uint64_t ended; /* invocations, of processes that have ended */
    int ready_fd;   /* of who started us; -1: none, or told */
    int lender_fd;  /* of whose the cores are; -1: nobody's */
    struct event *lender;
    bool draining; /* takes nothing more; ends when what runs has ended */
    bool drained;  /* and the manager knows it */
    bool ending;
    int status;
};

/* What the command line says. */
struct rfaas_executor_options {
    const char *manager;
    const char *listen;               /* the setting */
    const struct rfaas_key *key;      /* NULL: the one that the manager offers */
    int cores;                        /* 0: all of `cpuset` */
    const struct rfaas_cores *cpuset; /* NULL: all that are allowed */
    int ready_fd;
    int lender_fd;
};

/* Runs until the manager goes or a signal comes; returns the exit status. */
int rfaas_executor_run(const struct rfaas_executor_options *options);

/* clients.c: those who have leases here */
void rfaas_clients_accept(struct rfaas_stream *stream, Rfaas__Role role,
                          const char *name, void *executor);
void rfaas_client_free(struct rfaas_client *client);
/* Tells it that of this part only the first `keep` workers stay. */
void rfaas_client_retire(struct rfaas_client *client, uint64_t lease, uint64_t part,
                         unsigned keep);
/* Sends all memories and functions that the client has to a worker that starts. */
void rfaas_client_introduce(struct rfaas_client *client, struct hosted_worker *worker);

/* leases.c: leases and their workers */
struct hosted_lease *rfaas_hosted_find(struct rfaas_executor *executor, uint64_t part);
struct hosted_lease *rfaas_hosted_add(struct rfaas_executor *executor, uint64_t id,
                                      uint64_t part);
void rfaas_hosted_start(struct rfaas_executor *executor, struct hosted_lease *lease);
/* Kills the workers; the lease goes when they are reaped and it is withdrawn. */
void rfaas_hosted_end(struct rfaas_executor *executor, struct hosted_lease *lease,
                      Rfaas__LeaseEnd reason);
/* Lets all workers but the first `keep` finish what was sent to them, and end; those that
 * don't within some seconds are killed. */
void rfaas_hosted_retire(struct rfaas_executor *executor, struct hosted_lease *lease,
                         unsigned keep);
/* Adds what the process of a worker has used, or those of a lease that live have. */
void rfaas_hosted_page_read(const struct hosted_worker *worker, uint64_t *execute_ticks,
                            uint64_t *hot_ticks);
void rfaas_hosted_usage(const struct rfaas_executor *executor,
                        const struct hosted_lease *lease, uint64_t *execute_ns,
                        uint64_t *hot_ns);

/* workers.c: processes */
int rfaas_worker_start(struct rfaas_executor *executor, struct hosted_worker *worker);
void rfaas_worker_kill(struct hosted_worker *worker);
/* Ends it unless it says within 10 seconds that it has another endpoint. */
void rfaas_worker_limit(struct rfaas_executor *executor, struct hosted_worker *worker);
/* Has it end when it has finished what was sent to it, within 30 seconds. */
void rfaas_worker_retire(struct rfaas_executor *executor, struct hosted_worker *worker);
/* Reaps all that have ended; calls rfaas_hosted_reaped for each. */
void rfaas_workers_reap(struct rfaas_executor *executor);
void rfaas_hosted_reaped(struct rfaas_executor *executor, struct hosted_worker *worker,
                         struct worker_end *end);
void rfaas_executor_end(struct rfaas_executor *executor, int status, const char *why);

#endif
