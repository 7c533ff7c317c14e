/* A loop that runs: threads of the rank take its first elements, workers its last ones,
 * until they meet.
 *
 * The threads run nothing but the function. Sending and receiving is done by whoever makes
 * progress: the caller in the blocking call, MPI's progress in the other. */
#ifndef RFAAS_MPI_LOOP_H
#define RFAAS_MPI_LOOP_H

#include "mpi/loop_model.h"
#include "mpi/loop_work.h"
#include "mpi/mpix.h"
#include "mpi/task.h"

struct loop_settings {
    enum rfaas_schedule schedule;
    double offload; /* with static */
    int threads;    /* of the rank */
    int64_t chunk;  /* of workers; 0: auto */
};

/* A worker as the loop sees it. */
struct loop_worker {
    bool gone;  /* it gets no more */
    bool away;  /* what waited for it was taken back, and it hasn't answered since */
    int chunks; /* it has */
    int64_t queued; /* elements in them */
    uint64_t since; /* when it began with the first of them, as far as is known */
};

/* A chunk on its way to a worker and back. */
struct loop_chunk {
    struct mpix_loop *loop;
    struct loop_span span;
    int worker;
    bool to_idle; /* the worker had nothing else */
    rfaas_request *request;
};

/* The most chunks that a worker has: one that it runs, and more than it runs while a thread
 * is between two looks at it. */
enum { LOOP_DEPTH = 3 };

struct mpix_loop {
    struct mpix_task task; /* of the nonblocking call */
    MPIX_Pool pool;
    MPIX_Lease lease; /* or MPIX_LEASE_NULL */
    MPIX_Function handle;
    rfaas_function *function; /* held */
    struct rfaas_callable callable;
    struct loop_settings settings;
    int64_t elements;
    struct mpix_shape in_shape, out_shape;
    void *outbuf;                 /* the user's, if it has to be unpacked to */
    void *packed_in, *packed_out; /* of the pool's memory; NULL: the user's are used */
    const char *in;               /* the elements without gaps, */
    char *out;
    size_t in_size, out_size; /* of these sizes */
    uint64_t begin;           /* ns */
    double predicted;
    bool sender_works; /* the thread that sends is one of the loop's */
    pthread_t *threads;
    int thread_count;

    /* Of everything below. Taken after the pool's and before the session's. */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for threads that find nothing to do */
    int sleepers;
    struct loop_work work;
    struct loop_model model;
    bool ended;     /* nothing more is begun: all is decided, or the pool goes */
    bool suspicion; /* a worker was lost: which are still there? */
    struct loop_worker *workers;
    double *ready;            /* of each, for the model */
    int worker_count, usable; /* all, and those that aren't gone */
    struct loop_chunk *chunks, **free_chunks;
    int free_count, underway;
    int64_t sent;  /* elements, in all */
    unsigned idle; /* looks at the workers without anything to send */
    int code;

    struct mpix_loop *next; /* of the pool's */
};

/* ---- loop.c ---- */
struct loop_arguments {
    MPIX_Function function;
    int64_t elements;
    const void *in;
    void *out;
    struct mpix_shape in_shape, out_shape;
    MPIX_Lease lease;
};
int loop_create(const struct loop_arguments *a, const struct loop_settings *settings,
                bool blocking, struct mpix_loop **loop);
/* Takes in how it went: results into the user's buffer, what was learned to the function.
 * Sets its code. */
void loop_conclude(struct mpix_loop *loop);
void loop_free(struct mpix_loop *loop);
/* Runs it in the calling thread and those that it starts. */
void loop_run(struct mpix_loop *loop);
/* Lets threads that sleep look again; with the mutex. */
void loop_wake(struct mpix_loop *loop);
/* Hands it over to MPI's progress, which ends its task. */
void loop_begin(struct mpix_loop *loop);

/* ---- loop_local.c ---- */
/* One chunk in this thread; false: there was none. */
bool loop_local_turn(struct mpix_loop *loop);
/* Starts `count` threads; fewer if there can't be more. */
void loop_threads_start(struct mpix_loop *loop, int count);
void loop_threads_join(struct mpix_loop *loop);

/* ---- loop_remote.c ---- */
int loop_workers_create(struct mpix_loop *loop);
void loop_workers_free(struct mpix_loop *loop);
/* Sends what is worth sending. With the mutexes of pool and loop. */
void loop_feed(struct mpix_loop *loop);
/* In how many ns all will be done if all goes well; 0: nothing is known. With the
 * loop's mutex. */
double loop_predict(struct mpix_loop *loop, uint64_t now);

#endif
