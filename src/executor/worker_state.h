/* What the files of a worker share: worker.c (the loop, invocations, faults), answer.c
 * (answers, and the connection that they go by) and worker_control.c (what the executor
 * says). */
#ifndef RFAAS_EXECUTOR_WORKER_STATE_H
#define RFAAS_EXECUTOR_WORKER_STATE_H

#include "control/invocation.h"
#include "control/stream.h"
#include "executor/function.h"
#include "executor/output.h"
#include "executor/worker.h"
#include "transport/transport.h"
#include <signal.h>
#include <stdbool.h>

struct rfaas_answer {
    int status;
    size_t size;
    const void *output;
    struct rfaas_invocation_header header;
};

enum {
    /* Of output; copying so much takes less time than to hear that it has arrived. */
    RFAAS_KEPT_COPY_MAX = 1024,
};

/* An answer, kept until its slot is used again: it may be lost with the connection. */
struct rfaas_kept_answer {
    struct rfaas_answer
        answer; /* `output` is the copy, or where the function wrote it */
    unsigned char copy[RFAAS_KEPT_COPY_MAX];
};

/* One in a process, and the signal handler has to find it. */
extern struct rfaas_worker {
    struct rfaas_stream *control;
    struct rfaas_worker_page *page;
    const struct rfaas_transport *transport;
    struct rfaas_device *device;
    struct rfaas_endpoint *client;
    struct rfaas_memory *slots;
    struct rfaas_functions functions;
    struct rfaas_output output;
    /* Without common memory: the output's, and room for input that was fetched. */
    struct rfaas_memory *output_memory, *fetched;
    unsigned char *copy; /* input for classic functions, which may write to it */
    size_t copy_size;
    uint64_t lease;
    unsigned slot_count;
    size_t slot_size;
    int64_t hot_timeout_ns; /* < 0: for ever */
    int index, workers;
    int alive_fd; /* tells others our death; -1: not yet */
    bool connected;
    bool cut_off;        /* the connection has failed: another is to be made */
    bool retiring;       /* ends when there is nothing more to do */
    uint32_t connection; /* the number of the one that there is, or shall be */
    struct rfaas_kept_answer *kept; /* by slot; NULL: connections don't fail */
    bool output_kept;               /* the last answer's, where it was written */
    volatile sig_atomic_t running;  /* a function: faults are its own */
    uint32_t tag;                   /* of the invocation that runs */
} rfaas_worker;

/* Handles the control messages that come within timeout_ms (0: that are there). The
 * executor's going, or nonsense from it, ends the process. */
void rfaas_worker_control(int timeout_ms);

/* Makes another endpoint, tells the client of it, and waits until that has connected. */
void rfaas_worker_reconnect(void);

/* ---- answer.c ---- */

enum {
    /* How long something waits for the control message that it needs. */
    RFAAS_CONTROL_TIMEOUT_MS = 5000,
};

/* Where the output lies it stays as long as the answer may have to be sent again; see
 * rfaas_output_delivered. */
void rfaas_answer_send(uint32_t tag, int status, const void *output, size_t size,
                       const struct rfaas_invocation_header *header);
/* Waits until the last output may be overwritten where it was written. Otherwise it may
 * not; RFAAS_ERR_IO: the connection has failed. */
int rfaas_output_delivered(void);
/* Answers again, on another connection: with what was kept, or that it hasn't begun. */
void rfaas_answer_again(uint32_t tag);

#endif
