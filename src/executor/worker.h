/* A worker: the process that runs functions. Started by the executor, whose own
 * program it is, with three descriptors. */
#ifndef RFAAS_EXECUTOR_WORKER_H
#define RFAAS_EXECUTOR_WORKER_H

#include "control/invocation.h"
#include <stdatomic.h>
#include <stdint.h>

enum {
    RFAAS_WORKER_CONTROL_FD = 3, /* its end of a socket pair with the executor */
    RFAAS_WORKER_PAGE_FD = 4,    /* the struct below */
    RFAAS_WORKER_LEASH_FD = 5,   /* for the kernel alone: see workers.c */
};

/* What a worker leaves for its executor to read, while it lives and afterwards. It has
 * one writer, so relaxed stores do; the executor's reads after a death are ordered by
 * waitpid. */
struct rfaas_worker_page {
    _Atomic uint32_t executing; /* tag of the invocation that runs, plus 1; 0: none */
    _Atomic uint64_t ended;     /* invocations */
    _Atomic uint64_t execute_ticks; /* rfaas_ticks; in functions */
    _Atomic uint64_t hot_ticks;     /* polling for the next invocation */
    /* Of each slot: which of its uses began last, plus 1; 0: none. Its answer may not
     * have reached the client, which only the client knows. */
    _Atomic uint16_t begun[RFAAS_SLOTS_MAX];
};

/* Runs until the executor's end of the control socket is closed. Returns the exit
 * status of the process. */
int rfaas_worker_main(void);

#endif
