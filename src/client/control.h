/* The client's thread: it talks with the manager and the executors, keeps leases
 * alive, and notices who has gone. The other side of the client, which invokes, is
 * never waited for and never waits: it posts commands and takes events.
 *
 * A lease is known here by its ticket, which the caller chooses; the manager's number
 * comes with the grant. */
#ifndef RFAAS_CLIENT_CONTROL_H
#define RFAAS_CLIENT_CONTROL_H

#include "base/config.h"
#include "control/handshake.h"
#include "control/invocation.h"
#include "transport/transport.h"
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

enum { CONTROL_TEXT_MAX = 320, SHA256_SIZE = 32 };

enum control_event_kind {
    CONTROL_LEASE_GRANTED,  /* value: workers */
    CONTROL_LEASE_RESIZED,  /* value: workers; or status, text: as it was */
    CONTROL_LEASE_ENDED,    /* status, text; also: it was not granted */
    CONTROL_WORKER_READY,   /* transport, endpoint, memory, slots_address, pid */
    CONTROL_WORKER_MOVED,   /* endpoint, connection, pid */
    CONTROL_WORKER_RETIRED, /* it takes nothing more; its number may get another */
    CONTROL_WORKER_LATE,    /* text; it should have been connected by now */
    CONTROL_WORKER_GONE,    /* status, text, replaced, known; it can't write any more */
    CONTROL_FUNCTION_BROKEN, /* value: number; text */
};

struct control_event {
    enum control_event_kind kind;
    uint64_t ticket;
    unsigned worker;
    uint64_t part; /* of the worker: tells it from others that had its number */
    bool retired;  /* the number isn't its own any more */
    int status;
    char text[CONTROL_TEXT_MAX];
    int64_t value;
    pid_t pid;
    uint32_t connection; /* that is to be made */
    bool replaced;       /* its number gets another worker */
    /* Its executor says what it was doing: if so, `executing`, the tag of the invocation
     * that it was running, plus 1 (0: none), and `begun`, of each slot which use began
     * last, plus 1. */
    bool known;
    uint32_t executing;
    uint16_t begun[RFAAS_SLOTS_MAX];
    const char *transport;              /* the name that control_start was given */
    struct rfaas_blob endpoint, memory; /* own their descriptors */
    uint64_t slots_address;
    struct control_event *next;
};

/* Closes descriptors that weren't used. */
void control_event_free(struct control_event *event);

/* What a worker has done: written by who invokes, read by the thread to decide whether
 * to renew. */
struct worker_activity {
    _Atomic uint64_t ended;    /* invocations */
    _Atomic uint32_t underway; /* sent and not ended */
};

enum {
    LEASE_WORKERS_MAX = 65536, /* of a lease */
    START_SECONDS = 30,        /* for workers to get ready */
};

struct lease_terms {
    uint32_t workers, min_workers, cores_per_worker;
    uint64_t memory_per_worker;
    uint64_t duration_ns, wait_ns;
    uint32_t slots;
    uint64_t slot_size;
    uint32_t inline_max;
    int64_t hot_timeout_us;
    uint32_t log_level;
};

/* One process of a worker. Others have its number before and after it, and one on another
 * node may have its pid. */
struct worker_process {
    uint64_t part;
    unsigned number;
    pid_t pid;
};

/* What a worker is told when its client connects to it. */
struct connect_terms {
    struct rfaas_blob endpoint; /* the client's; its descriptors are duplicated */
    uint32_t connection; /* the number of it: 0, or that of CONTROL_WORKER_MOVED */
    uint32_t outstanding[RFAAS_SLOTS_MAX]; /* tags of what it hasn't answered */
    unsigned outstanding_count;
};

/* The transports of a session, by where the executor is. Texts that live as long as the
 * control. */
struct control_transports {
    const char *local;   /* on this node: descriptors reach it */
    const char *remote;  /* reached by TCP; NULL: none */
    const char *why_not; /* there is no remote one, if so */
};

struct rfaas_control;

/* Connects to the manager and starts the thread. Key NULL: the one that the manager
 * offers. */
int control_start(const struct rfaas_config *config, const struct rfaas_key *key,
                  const struct control_transports *transports,
                  struct rfaas_control **control);
/* Ends thread and connections: the manager ends the leases. NULL is ignored. */
void control_stop(struct rfaas_control *control);

/* Events: whether there are any (cheap), the oldest (NULL: none), and a descriptor
 * that is readable while there are some. */
bool control_has_events(struct rfaas_control *control);
struct control_event *control_take_event(struct rfaas_control *control);
int control_descriptor(const struct rfaas_control *control);

/* Commands without an answer; RFAAS_ERR_NO_MEMORY. */
int control_acquire(struct rfaas_control *control, uint64_t ticket,
                    const struct lease_terms *terms,
                    const struct worker_activity *activity);
int control_release(struct rfaas_control *control, uint64_t ticket);
/* CONTROL_LEASE_RESIZED follows. Workers that the lease is to lose are lost at once. */
int control_resize(struct rfaas_control *control, uint64_t ticket, unsigned workers,
                   unsigned min_workers, uint64_t wait_ns);
int control_connect(struct rfaas_control *control, uint64_t ticket,
                    const struct worker_process *process,
                    const struct connect_terms *terms);
/* The process is connected: it isn't late any more. */
int control_connected(struct rfaas_control *control, uint64_t ticket,
                      const struct worker_process *process);
/* The connection of this number to a worker has failed; CONTROL_WORKER_MOVED follows, or
 * the worker's end. */
int control_cut_off(struct rfaas_control *control, uint64_t ticket,
                    const struct worker_process *process, uint32_t connection);
/* Ends the process of a worker that doesn't keep to the rules; CONTROL_WORKER_GONE
 * follows. */
int control_kill(struct rfaas_control *control, uint64_t ticket,
                 const struct worker_process *process);
/* Memory of a transport is told to the executors that are reached by that. */
int control_add_memory(struct rfaas_control *control, const char *transport,
                       uint32_t key, const struct rfaas_blob *blob);
int control_remove_memory(struct rfaas_control *control, const char *transport,
                          uint32_t key);
int control_add_function(struct rfaas_control *control, uint32_t number,
                         const char *name, const char *path,
                         const unsigned char *sha256, const void *content, size_t size);

/* Commands that block for the answer: `control_forget` until nothing here refers to
 * the lease (its activity may be freed), the others for the manager or executors. */
void control_forget(struct rfaas_control *control, uint64_t ticket);
int control_renew(struct rfaas_control *control, uint64_t ticket, uint64_t duration_ns);
int control_stats(struct rfaas_control *control, struct rfaas_pool_stats *stats);
int control_usage(struct rfaas_control *control, uint64_t ticket, uint64_t *execute_ns,
                  uint64_t *hot_ns);

#endif
