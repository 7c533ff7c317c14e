/* What goes on behind a request. */
#ifndef RFAAS_MPI_TASK_H
#define RFAAS_MPI_TASK_H

#include <mpi.h>
#include <stdatomic.h>

struct mpix_task;

struct mpix_task_kind {
    /* Fills the status of what has ended and returns its code. */
    int (*query)(const struct mpix_task *task, MPI_Status *status);
    void (*cancel)(struct mpix_task *task); /* it runs; its end comes by progress */
    void (*free)(struct mpix_task *task);
};

/* The first member of what runs. It has two owners: its request, until MPI frees that,
 * and what runs, until that has ended. MPI_Request_free of MPICH frees while it runs. It
 * is begun before its request is made, because it is on its way meanwhile: whichever is
 * later, its end or its request, completes the request. */
struct mpix_task {
    const struct mpix_task_kind *kind;
    _Atomic int owners;
    _Atomic int reached; /* request, end */
    MPI_Request request;
};

void mpix_task_init(struct mpix_task *task, const struct mpix_task_kind *kind);
/* Makes the request of a task that has begun. If that fails the task is waited for and
 * freed: until it has ended, workers write to the user's memory. */
int mpix_task_publish(struct mpix_task *task, MPI_Request *request);
/* It has ended; it may be freed in here. */
void mpix_task_end(struct mpix_task *task);

#endif
