/* One run of a function on one worker, and its data on the way. */
#ifndef RFAAS_MPI_INVOCATION_H
#define RFAAS_MPI_INVOCATION_H

#include "mpi/mpix.h"

struct mpix_invocation {
    MPIX_Pool pool;
    rfaas_request *inner; /* NULL once it is over */
    struct mpix_shape out;
    void *outbuf;
    void *packed_in, *packed_out; /* of the pool's memory; NULL: the user's are used */
    int code, source, tag;
    size_t bytes;
    bool cancelled;
};

/* A handle's lease and function, or a code that says what is wrong with them. */
int mpix_invocation_check(MPIX_Function function, MPIX_Lease lease);
/* The shape of the buffer that `which` names, "input" or "output"; or a code. */
int mpix_invocation_shape(const char *which, const void *buffer, MPI_Count count,
                          MPI_Datatype type, MPIX_Pool pool, struct mpix_shape *shape);

/* Packs what has to be, and sends. `done`: see rfaas_invoke_call; NULL: the caller
 * tests. On error there is nothing to be concluded. */
int mpix_invocation_begin(struct mpix_invocation *i, MPIX_Function function,
                          const struct mpix_shape *in, const void *inbuf,
                          const struct mpix_shape *out, void *outbuf, int worker,
                          MPIX_Lease lease, rfaas_done_call *done, void *arg);
/* Takes over what has become of it; `code` says how it failed. */
void mpix_invocation_conclude(struct mpix_invocation *i,
                              const struct rfaas_result *result, int code);
/* The same in a `done` call, whose request it frees. */
void mpix_invocation_done(struct mpix_invocation *i, rfaas_request *inner);

/* A status: how many bytes were written, by whom, and the function's return value. */
void mpix_status_fill(MPI_Status *status, int source, int tag, size_t bytes,
                      bool cancelled);
/* For a call of the library that has just failed, or not. */
int mpix_outcome(int status);

#endif
