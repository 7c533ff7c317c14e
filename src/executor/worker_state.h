/* What the files of a worker share: worker.c (the loop, invocations, faults) and
 * worker_control.c (what the executor says). */
#ifndef RFAAS_EXECUTOR_WORKER_STATE_H
#define RFAAS_EXECUTOR_WORKER_STATE_H

#include "control/stream.h"
#include "executor/function.h"
#include "executor/output.h"
#include "executor/worker.h"
#include "transport/transport.h"
#include <signal.h>
#include <stdbool.h>

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
    bool retiring;                 /* ends when there is nothing more to do */
    volatile sig_atomic_t running; /* a function: faults are its own */
    uint32_t tag;                  /* of the invocation that runs */
} rfaas_worker;

/* Handles the control messages that come within timeout_ms (0: that are there). The
 * executor's going, or nonsense from it, ends the process. */
void rfaas_worker_control(int timeout_ms);

#endif
