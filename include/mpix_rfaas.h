/* rFaaS for MPI: run functions on leased workers, complete them as MPI requests.
 *
 *     MPIX_Pool pool;  MPIX_Lease lease;  MPIX_Function price;  MPI_Request r;
 *     MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool);
 *     MPIX_Function_load(pool, "./libprice.so", "price", &price);
 *     MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &lease);
 *     MPIX_Iinvoke(price, in, n, MPI_DOUBLE, out, n, MPI_DOUBLE,
 *                  MPIX_ANY_WORKER, lease, &r);
 *     MPI_Wait(&r, MPI_STATUS_IGNORE);
 *
 * Return values: MPI_SUCCESS or an MPI error code, after the error handler of the
 * pool's communicator has seen it (of MPI_COMM_WORLD where there is no pool); it has
 * the handler that its parent had when the pool was created. Errors of requests go
 * where MPI sends those of generalized requests, in Open MPI to MPI_COMM_WORLD's.
 * Outputs are written only on success. MPI_Error_class gives the class of a code, and
 * MPI_Error_string tells who, where and why.
 *
 * Threads: as MPI was initialized. With MPI_THREAD_MULTIPLE several threads may
 * make all calls at once, except that an object must not be used while or after it
 * is freed; collective calls follow the rules for collectives.
 *
 * Each call is a weak MPIX_ symbol on a strong PMPIX_ one, for profiling tools.
 */
#ifndef MPIX_RFAAS_H
#define MPIX_RFAAS_H

#include <mpi.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MPIX_RFAAS_API __attribute__((visibility("default")))

typedef struct mpix_pool *MPIX_Pool;
typedef struct mpix_lease *MPIX_Lease;
typedef struct mpix_function *MPIX_Function;

#define MPIX_POOL_NULL ((MPIX_Pool)0)
#define MPIX_LEASE_NULL ((MPIX_Lease)0)
#define MPIX_FUNCTION_NULL ((MPIX_Function)0)

/* Any worker of a lease: the least loaded one is taken. */
#define MPIX_ANY_WORKER (-1)

/* Error classes, the same on every rank; valid once a pool has been created.
 *
 * NO_RESOURCES  not enough free workers within wait_seconds
 * LEASE         the lease has expired, was revoked or released
 * WORKER_LOST   the worker or its executor has gone
 * FUNCTION      missing, not loadable, or crashed (the string names the signal)
 * MANAGER       the manager can't be reached or has gone
 * A result larger than its buffer is MPI_ERR_TRUNCATE; bad arguments have MPI's
 * own classes. */
extern MPIX_RFAAS_API int MPIX_ERR_NO_RESOURCES;
extern MPIX_RFAAS_API int MPIX_ERR_LEASE;
extern MPIX_RFAAS_API int MPIX_ERR_WORKER_LOST;
extern MPIX_RFAAS_API int MPIX_ERR_FUNCTION;
extern MPIX_RFAAS_API int MPIX_ERR_MANAGER;

/* What a lease has used. Times in nanoseconds.
 *
 * invocations  that have ended; failures: those among them that ended in an error
 * execute_ns   workers' time inside functions
 * hot_ns       workers' time spent polling for the next invocation
 * bytes_in     input of the invocations that ended; bytes_out: their results
 * lease_ns     workers x time since the lease was granted, each number of them
 *              for as long as the lease had it
 */
typedef struct MPIX_Usage {
    uint64_t invocations;
    uint64_t failures;
    uint64_t execute_ns;
    uint64_t hot_ns;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t lease_ns;
} MPIX_Usage;

/* How a loop went. Times in nanoseconds.
 *
 * elements      of the loop: local, those done in the rank; offloaded, by workers; failed
 * first_failed  the first failed one's index, or -1
 * chunks        in which they were done; retried: among them, those done again because
 *               a worker was lost
 * offload       offloaded / elements
 * predicted_ns  the time expected at its start; 0 if nothing was known of the function
 * real_ns       the time taken; not every short loop that stays in the rank is timed:
 *               then it is that of one of the last 16, by its elements
 */
typedef struct MPIX_Loop {
    MPI_Count elements, local, offloaded, failed;
    MPI_Count first_failed;
    MPI_Count chunks, retried;
    double offload;
    uint64_t predicted_ns, real_ns;
} MPIX_Loop;

/* What a pool has, and who waits for it.
 *
 * executors  that take work: those that are being drained don't count
 * cores      that they offer; leased: those of them that are taken
 * queued     requests for leases, and for growth, that wait for cores
 */
typedef struct MPIX_Pool_stats {
    uint64_t executors;
    uint64_t cores;
    uint64_t leased;
    uint64_t queued;
} MPIX_Pool_stats;

/* Name, result and parameters of every call: declared here twice, as MPIX_name and
 * PMPIX_name. What each does stands below, in the same order. */
#define MPIX_RFAAS_CALLS(X)                                                        \
    X(Pool_create, (MPI_Comm comm, MPI_Info info, MPIX_Pool *pool))                \
    X(Pool_free, (MPIX_Pool * pool))                                               \
    X(Pool_get_info, (MPIX_Pool pool, MPI_Info *info_used))                        \
    X(Pool_get_stats, (MPIX_Pool pool, MPIX_Pool_stats *stats))                    \
    X(Pool_serve,                                                                  \
      (MPIX_Pool pool, MPI_Request * until, MPI_Info info, int *served))           \
    X(Pool_alloc_mem, (MPI_Aint size, MPIX_Pool pool, void *baseptr))              \
    X(Pool_free_mem, (MPIX_Pool pool, void *base))                                 \
    X(Lease_acquire,                                                               \
      (MPIX_Pool pool, int workers, MPI_Info info, MPIX_Lease *lease))             \
    X(Lease_iacquire, (MPIX_Pool pool, int workers, MPI_Info info,                 \
                       MPIX_Lease *lease, MPI_Request *request))                   \
    X(Lease_get_workers, (MPIX_Lease lease, int *workers))                         \
    X(Lease_renew, (MPIX_Lease lease, double seconds))                             \
    X(Lease_resize, (MPIX_Lease lease, int workers, MPI_Info info))                \
    X(Lease_release, (MPIX_Lease * lease))                                         \
    X(Lease_get_usage, (MPIX_Lease lease, MPIX_Usage *usage))                      \
    X(Function_load, (MPIX_Pool pool, const char *library, const char *name,       \
                      MPIX_Function *function))                                    \
    X(Function_free, (MPIX_Function * function))                                   \
    X(Invoke, (MPIX_Function function, const void *inbuf, MPI_Count incount,       \
               MPI_Datatype intype, void *outbuf, MPI_Count outcount,              \
               MPI_Datatype outtype, int worker, MPIX_Lease lease,                 \
               MPI_Status *status))                                                \
    X(Iinvoke, (MPIX_Function function, const void *inbuf, MPI_Count incount,      \
                MPI_Datatype intype, void *outbuf, MPI_Count outcount,             \
                MPI_Datatype outtype, int worker, MPIX_Lease lease,                \
                MPI_Request *request))                                             \
    X(Parallel_for, (MPIX_Function function, MPI_Count n, const void *in,          \
                     MPI_Datatype intype, void *out, MPI_Datatype outtype,         \
                     MPIX_Lease lease, MPI_Info info))                             \
    X(Iparallel_for, (MPIX_Function function, MPI_Count n, const void *in,         \
                      MPI_Datatype intype, void *out, MPI_Datatype outtype,        \
                      MPIX_Lease lease, MPI_Info info, MPI_Request *request))      \
    X(Loop_stats, (MPIX_Function function, MPIX_Loop *stats))                      \
    X(Invoke_all,                                                                  \
      (MPIX_Function function, const void *inbuf, MPI_Count incount,               \
       const MPI_Count incounts[], const MPI_Aint indispls[], MPI_Datatype intype, \
       void *outbuf, MPI_Count outcount, const MPI_Count outcounts[],              \
       const MPI_Aint outdispls[], MPI_Datatype outtype, MPI_Op op,                \
       MPIX_Lease lease, MPI_Status *status))                                      \
    X(Iinvoke_all,                                                                 \
      (MPIX_Function function, const void *inbuf, MPI_Count incount,               \
       const MPI_Count incounts[], const MPI_Aint indispls[], MPI_Datatype intype, \
       void *outbuf, MPI_Count outcount, const MPI_Count outcounts[],              \
       const MPI_Aint outdispls[], MPI_Datatype outtype, MPI_Op op,                \
       MPIX_Lease lease, MPI_Request *request))

#define MPIX_RFAAS_DECLARE(name, parameters)                                       \
    MPIX_RFAAS_API int MPIX_##name parameters;                                     \
    MPIX_RFAAS_API int PMPIX_##name parameters;
MPIX_RFAAS_CALLS(MPIX_RFAAS_DECLARE)
#undef MPIX_RFAAS_DECLARE

/* MPIX_Pool_create(comm, info, pool)
 *   Collective over comm, which it duplicates. Starts the manager in a thread of
 *   rank 0 and an executor by the first rank of every node, unless the info keys
 *   say otherwise; returns when the executors are ready. Rank 0's keys choose the
 *   manager. Errors: MPI_ERR_ARG, MPI_ERR_COMM, MPI_ERR_INFO_VALUE,
 *   MPIX_ERR_MANAGER, MPIX_ERR_NO_RESOURCES (no executor could be started). All
 *   ranks return an error if one does.
 *
 * MPIX_Pool_free(pool)
 *   Collective. Ends the pool's leases, executors and manager, frees its memory and
 *   functions, and sets the handle to MPIX_POOL_NULL. Outstanding invocations end
 *   with MPIX_ERR_LEASE. A pool that is still there in MPI_Finalize is freed then.
 *
 * MPIX_Pool_get_info(pool, info_used)
 *   A new info object with every key and its effective value, manager_address and
 *   key_file included (with these two an executor or client started by hand can
 *   join). The caller frees it.
 *
 * MPIX_Pool_get_stats(pool, stats)
 *   What the pool has at this moment, for all ranks together. Asks the manager;
 *   blocks for 10 seconds at most. Local. Errors: MPI_ERR_ARG, MPIX_ERR_MANAGER.
 *
 * MPIX_Pool_serve(pool, until, info, served)
 *   Waits for the request as MPI_Wait does, and lends this rank's cores to the pool
 *   meanwhile: those that the rank is bound to, or the one that it runs on, or as
 *   many as the key `cores` says. Workers of other processes run there, not this
 *   one; the rank looks at the request every 100 microseconds. When that has
 *   completed the call returns at once: workers that are at an invocation then
 *   finish what they were sent, in the background and for 30 seconds at most, and
 *   their leases get other cores if there are any. `served` is the number of
 *   invocations that ended on the cores until then. Waits of less than a millisecond
 *   lend nothing. Local. Errors: those of MPI_Wait; MPI_ERR_ARG, MPI_ERR_INFO_VALUE;
 *   MPIX_ERR_NO_RESOURCES (the cores couldn't be offered; the request has completed
 *   nevertheless).
 *
 * MPIX_Pool_alloc_mem(size, pool, baseptr), MPIX_Pool_free_mem(pool, base)
 *   Memory as MPI_Alloc_mem's, `size` bytes aligned to 64, which workers reach
 *   without a copy. Freed by the second call, or with the pool. Errors:
 *   MPI_ERR_SIZE, MPI_ERR_NO_MEM, MPI_ERR_BASE (not such memory).
 *
 * MPIX_Lease_acquire(pool, workers, info, lease)
 *   Leases and starts `workers` workers for the calling rank alone. Waits at most
 *   wait_seconds for free cores; with min_workers fewer may be granted. Local.
 *   Errors: MPI_ERR_ARG (workers < 1), MPIX_ERR_NO_RESOURCES, MPIX_ERR_MANAGER.
 *
 * MPIX_Lease_iacquire(pool, workers, info, lease, request)
 *   The same without waiting. The handle is written at once and may be used when
 *   the request has completed without an error; on error it is released as well.
 *
 * MPIX_Lease_get_workers(lease, workers)
 *   How many workers the lease has; invocations name them 0..workers-1.
 *
 * MPIX_Lease_renew(lease, seconds)
 *   Makes the lease last `seconds` (> 0) from now, and takes that as its duration.
 *   The library renews leases by itself while their rank lives, except while a
 *   worker is at one invocation for longer than the duration: a function that never
 *   returns ends with its lease.
 *
 * MPIX_Lease_resize(lease, workers, info)
 *   Makes the lease have `workers` (> 0) workers, while invocations go on. Growing
 *   waits at most wait_seconds (default: the lease's) for free cores, behind those who
 *   wait already; with min_workers (of all workers, the new ones included) fewer may be
 *   granted. The new workers get the next numbers and start meanwhile: invocations wait
 *   for them.
 *   Shrinking takes the workers with the highest numbers: they finish what was sent
 *   to them, for 30 seconds at most; what still waits for one of them alone ends
 *   with MPIX_ERR_WORKER_LOST, what waits for any goes to others. After an error the
 *   lease is as it was; after MPIX_ERR_MANAGER (no answer within 10 seconds) it can't
 *   be resized any more, and has given up the workers that it was to give up. One call
 *   at a time for each lease. Local. Errors: MPI_ERR_ARG, MPI_ERR_INFO_VALUE,
 *   MPIX_ERR_NO_RESOURCES, MPIX_ERR_LEASE, MPIX_ERR_MANAGER.
 *
 * MPIX_Lease_release(lease)
 *   Gives the workers back and sets the handle to MPIX_LEASE_NULL. Outstanding
 *   invocations end with MPIX_ERR_LEASE.
 *
 * MPIX_Lease_get_usage(lease, usage)
 *   What the lease has used so far.
 *
 * MPIX_Function_load(pool, library, name, function), MPIX_Function_free(function)
 *   Symbol `name` of the shared library at path `library`, for invocations on any
 *   lease of this rank. Executors that don't have the same file at that path get
 *   its bytes. Missing file or symbol: MPIX_ERR_FUNCTION. Local.
 *
 * MPIX_Invoke(…, status), MPIX_Iinvoke(…, request)
 *   Runs the function on `worker` (0..workers-1 or MPIX_ANY_WORKER) with the
 *   packed data of inbuf as input, and puts its output into outbuf. Buffers may be
 *   NULL where the count is 0, must not be touched (inbuf: changed) until the
 *   request has completed, and must not overlap. Contiguous data in memory of
 *   MPIX_Pool_alloc_mem are read where they lie, and results are written straight
 *   to where they belong.
 *   status: MPI_Get_count(status, outtype) is what the function wrote, MPI_SOURCE
 *   the worker that ran it, MPI_TAG the function's return value. The request is
 *   real in every respect; MPI_Cancel succeeds while the invocation waits for a
 *   slot. Errors of the call: MPI_ERR_COUNT, MPI_ERR_BUFFER, MPI_ERR_TYPE,
 *   MPI_ERR_RANK (worker), MPI_ERR_ARG (handle), MPIX_ERR_LEASE; of the request:
 *   MPIX_ERR_LEASE, MPIX_ERR_WORKER_LOST, MPIX_ERR_FUNCTION, MPIX_ERR_MANAGER,
 *   MPI_ERR_TRUNCATE.
 *
 * MPIX_Parallel_for(function, n, in, intype, out, outtype, lease, info)
 *   Applies the function to n elements, in chunks of neighbours: on the lease's
 *   workers, and at the same time in this process. The function gets the packed
 *   elements of a chunk and room for as many of outtype, which it has to fill: it
 *   returns 0, and out_size is out_capacity; in the process call->worker is -1. Each
 *   element's result is taken once. The buffers must not overlap; they may be NULL
 *   where n is 0 or the type is empty.
 *   Without workers, because the lease is MPIX_LEASE_NULL or they were lost, the
 *   process does it all. What a worker was lost with is done again, and so is what
 *   waited for one that left the lease (MPIX_Lease_resize); one that joins it gets a
 *   part of the next loop. A chunk with
 *   which the function fails is halved, until the elements that it fails for are
 *   found; all others are done. Then the loop ends with MPIX_ERR_FUNCTION, and the
 *   string tells how many elements failed, and the first one's index and reason; their
 *   results are undefined. What has crashed a worker is not tried in the process, and
 *   a loop crashes at most some 64 workers: what isn't told apart by then has failed
 *   as a whole.
 *   Info keys: schedule, model (the default): by costs that are measured, so that both
 *   sides end together, and what isn't worth sending stays here; dynamic: chunks as
 *   they come; static: workers do the part of the elements that the key offload
 *   says. local_threads: threads of the process, 1 is the caller itself; 0: workers
 *   do it all. chunk: elements that a worker gets at a time.
 *   Errors: MPI_ERR_COUNT, MPI_ERR_BUFFER, MPI_ERR_TYPE, MPI_ERR_ARG (handle),
 *   MPI_ERR_INFO_VALUE, MPIX_ERR_LEASE (it was released), MPIX_ERR_FUNCTION.
 *
 * MPIX_Iparallel_for(…, request)
 *   The same without waiting: the process's part is done by local_threads threads
 *   that it starts, which call nothing of MPI, and share the caller's cores. Chunks
 *   are sent and results taken while MPI makes progress. status: MPI_Get_count(status,
 *   outtype) is the number of elements done. MPI_Cancel does nothing. If the pool is
 *   freed meanwhile, the request ends with MPIX_ERR_LEASE.
 *
 * MPIX_Loop_stats(function, stats)
 *   How the last loop of the function that ended went; all 0 before the first.
 *
 * MPIX_Invoke_all(…, status), MPIX_Iinvoke_all(…, request)
 *   Runs the function once on every worker of the lease, each with its part of the
 *   input, and puts the results where they belong. incounts and outcounts have an
 *   entry for each worker; where they are NULL the parts of all incount or outcount
 *   elements are equal, and the first ones have one element more if it doesn't come
 *   out even. indispls and outdispls say where parts begin, in elements (their
 *   datatype's extents); NULL, also wherever counts are NULL: one behind the other.
 *   With counts, incount and outcount mean nothing. Parts of the output must not
 *   overlap. The arrays are read before the call returns.
 *   op: MPI_OP_NULL, or an operation: then each worker gives outcount elements, no
 *   more, no less, and outbuf gets all of them reduced in the order of the workers;
 *   outcounts and outdispls are NULL, and outtype has no gaps. op has to stay until
 *   the request has completed.
 *   status: MPI_Get_count(status, outtype) is what all have written together (with
 *   op: outcount). MPI_TAG is 0, or else the first return value that isn't in the
 *   workers' order, and MPI_SOURCE its worker (else MPI_UNDEFINED).
 *   Errors: those of MPIX_Invoke. If parts fail, the request has the first one's error
 *   in the workers' order, with that worker as MPI_SOURCE; the others' results are in
 *   place, except with op. The part of a worker that leaves the lease meanwhile fails
 *   if it wasn't sent yet. MPI_Cancel does nothing.
 */

#ifdef __cplusplus
}
#endif

#endif
