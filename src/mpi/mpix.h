/* The MPI layer: pools, and how their parts become MPI objects. */
#ifndef RFAAS_MPI_MPIX_H
#define RFAAS_MPI_MPIX_H

#include "base/clock.h"
#include "base/config.h"
#include "base/cores.h"
#include "client/client.h"
#include "manager/server.h"
#include "mpi/loop_model.h"
#include "mpix_rfaas.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Defines PMPIX_name and the weak MPIX_name on it. */
#define MPIX_DEFINE(name, parameters)                                                  \
    int PMPIX_##name parameters;                                                       \
    _Pragma("GCC diagnostic push")                                                     \
        _Pragma("GCC diagnostic ignored \"-Wattributes\"") int MPIX_##name parameters  \
        __attribute__((weak, alias("PMPIX_" #name)));                                  \
    _Pragma("GCC diagnostic pop") int PMPIX_##name parameters

/* An executor that this rank has started. */
struct mpix_executor {
    pid_t pid;  /* 0: none */
    int handle; /* a pidfd; -1: none */
};

/* Handles of what was released or freed stay until the pool goes, so that a copy that
 * is used afterwards gets an error rather than somebody else's memory. */
struct mpix_lease {
    MPIX_Pool pool;
    rfaas_lease *lease; /* NULL: released */
    struct mpix_lease *next;
};

struct mpix_function {
    MPIX_Pool pool;
    rfaas_function *function; /* NULL: freed */
    struct mpix_function *next;
    /* Loops of up to so many elements aren't worth sending, nor a longer look. */
    _Atomic int64_t home_most;
    _Atomic unsigned home_turn; /* of these loops: not all are timed */
    pthread_mutex_t mutex;      /* of what follows */
    struct loop_model model;
    MPIX_Loop last;        /* that ended; */
    int64_t home_elements; /* or, unless 0, the last was left home, and had so many; */
    int64_t home_timed;    /* the last of those that was timed had so many, */
    uint64_t home_ticks;   /* which took this long */
    uint64_t home_ticks_most; /* longer ones aren't short */
};

struct mpix_pool {
    MPI_Comm comm;
    struct rfaas_config config;
    struct rfaas_key key;
    struct rfaas_manager *manager;        /* in rank 0, if it was started here */
    char listen[RFAAS_CONFIG_STRING_MAX]; /* for the executor that is started */
    struct mpix_executor executor;
    struct mpix_loan *loans;    /* of this rank's cores; also those that are ending */
    struct rfaas_cores unbound; /* this rank's cores before it was bound to fewer */
    bool was_bound;
    rfaas_session *session;
    pthread_mutex_t mutex; /* of the lists */
    struct mpix_lease *leases;
    struct mpix_function *functions;
    struct mpix_acquisition *acquisitions; /* underway; how many */
    _Atomic int acquiring;
    struct mpix_loop *loops; /* that run without their caller; how many */
    _Atomic int looping;
    struct rfaas_tick_origin origin;
    struct mpix_pool *next;      /* of those that make progress */
    struct mpix_pool *next_pool; /* of this process */
};

/* ---- errors.c ---- */

/* Creates the error classes and codes, once in a process. */
int mpix_errors_start(void);
/* A code of this class, our own or MPI's, with the sentence as its string. */
__attribute__((format(printf, 2, 3))) int mpix_code(int class, const char *format, ...);
/* The same for a status of the library; MPI_SUCCESS for RFAAS_OK. */
int mpix_error_code(int status, const char *text);
/* Shows a code to the error handler of the communicator and returns what that says. */
int mpix_raise(MPI_Comm comm, int code);
/* The same with the pool's communicator; without a pool, MPI_COMM_WORLD. */
int mpix_raise_in(MPIX_Pool pool, int code);
/* For a call that failed in the library: its status, rfaas_last_error as text. */
int mpix_raise_status(MPIX_Pool pool, int status);
/* For a call with a bad argument: its class, and what is wrong with it. */
__attribute__((format(printf, 3, 4))) int mpix_refuse(MPIX_Pool pool, int class,
                                                      const char *format, ...);

/* ---- launch.c ---- */

/* Decides which cores ranks and workers of this node have (collective over `node`),
 * and in its first rank starts an executor for them. Status of the library. */
int mpix_launch(MPIX_Pool pool, MPI_Comm node);
/* Starts an executor that offers `count` of these cores. It reports to `ready`; `lender`
 * (-1: none) is a socket whose end drains it. Both stay the caller's. */
int mpix_executor_spawn(MPIX_Pool pool, const struct rfaas_cores *cores, int count,
                        int ready, int lender, struct mpix_executor *executor);
/* Waits until it has ended; after some seconds it is killed. */
void mpix_executor_reap(struct mpix_executor *executor);
/* Ends the executor and waits for it; the pool's leases are over. */
void mpix_launch_end(MPIX_Pool pool);

/* ---- serve.c ---- */

/* Waits for the executors of cores that were lent. */
void mpix_loans_end(MPIX_Pool pool);

/* ---- progress.c ---- */

/* The process's pools make progress inside MPI calls from the first pool on. */
extern bool mpix_multiple; /* MPI_THREAD_MULTIPLE; known from the first pool on */
int mpix_progress_add(MPIX_Pool pool);
void mpix_progress_remove(MPIX_Pool pool);
void mpix_progress_poll(void);
/* A generalized request that such progress completes. */
int mpix_request_start(MPI_Grequest_query_function *query,
                       MPI_Grequest_free_function *free_function,
                       MPI_Grequest_cancel_function *cancel, void *state,
                       MPI_Request *request);

/* ---- mpich.c ---- */

/* What a query function returns: this code, which mustn't get lost on the way. */
int mpix_query_result(int code);

/* ---- lease.c ---- */
void mpix_acquisitions_poll(MPIX_Pool pool);
rfaas_lease *mpix_lease_take(MPIX_Lease handle);

/* ---- loop.c ---- */
/* Lets loops of nonblocking calls go on, and ends those that are over. */
void mpix_loops_poll(MPIX_Pool pool);
/* Ends them all: the pool's leases are released. */
void mpix_loops_abandon(MPIX_Pool pool);

/* ---- datatype.c ---- */

/* Data as functions see them: bytes without gaps. */
struct mpix_shape {
    MPI_Count count;
    MPI_Datatype type;
    MPI_Count type_size;
    MPI_Aint extent;
    size_t bytes;
    bool contiguous; /* they lie in the user's buffer like that */
};
/* The size of a predefined type that was met before; -1: it may be any. */
MPI_Count mpix_named_size(MPI_Datatype type);
/* MPI_SUCCESS or the class of what is wrong: count, type or buffer. */
int mpix_shape(const void *buffer, MPI_Count count, MPI_Datatype type, MPI_Comm comm,
               struct mpix_shape *shape);
int mpix_pack(const struct mpix_shape *shape, const void *buffer, void *packed,
              MPI_Comm comm);
/* Unpacks the first `bytes`; what lies behind them stays as it is. */
int mpix_unpack(const struct mpix_shape *shape, const void *packed, size_t bytes,
                void *buffer, MPI_Comm comm);

#endif
