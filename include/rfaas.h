/* rFaaS without MPI: lease workers, invoke functions on them.
 *
 * Objects
 *   session   one client's tie to a manager; owns everything below
 *   lease     the right to some workers, until a time
 *   function  a symbol of a shared library
 *   request   one outstanding invocation
 * Each is created by a call that writes a pointer on success and is freed by the
 * call named beside it. Closing a session frees what is left of it.
 *
 * Return values are RFAAS_OK (0) or a negative rfaas_status; outputs are written
 * only on success. rfaas_last_error() tells who, where and why.
 *
 * Threads: all calls may be made by several threads at once on one session, except
 * that an object must not be used while or after it is freed. With the setting
 * `threads=single` the session does without locks, and only one thread at a time
 * may use it. After fork() without exec only the parent may use a session.
 *
 * Progress: results are taken in by rfaas_test, rfaas_wait, rfaas_waitany and
 * rfaas_progress; a thread of the library keeps leases alive meanwhile.
 */
#ifndef RFAAS_H
#define RFAAS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFAAS_VERSION_MAJOR 0
#define RFAAS_VERSION_MINOR 1
#define RFAAS_VERSION_PATCH 0

#define RFAAS_API __attribute__((visibility("default")))

/* Name, value, text. */
#define RFAAS_STATUS_MAP(X)                                                        \
    X(RFAAS_OK, 0, "success")                                                      \
    X(RFAAS_IN_PROGRESS, 1, "in progress")                                         \
    X(RFAAS_ERR_ARGUMENT, -1, "invalid argument")                                  \
    X(RFAAS_ERR_NO_MEMORY, -2, "out of memory")                                    \
    X(RFAAS_ERR_NO_RESOURCES, -3, "not enough free workers")                       \
    X(RFAAS_ERR_UNSUPPORTED, -4, "not supported here")                             \
    X(RFAAS_ERR_IO, -5, "input/output error")                                      \
    X(RFAAS_ERR_TIMEOUT, -6, "timed out")                                          \
    X(RFAAS_ERR_REFUSED, -7, "refused: wrong key or version")                      \
    X(RFAAS_ERR_PROTOCOL, -8, "malformed message")                                 \
    X(RFAAS_ERR_LEASE_EXPIRED, -9, "lease expired")                                \
    X(RFAAS_ERR_LEASE_RELEASED, -10, "lease released")                             \
    X(RFAAS_ERR_LEASE_REVOKED, -11, "lease revoked")                               \
    X(RFAAS_ERR_WORKER_LOST, -12, "worker lost")                                   \
    X(RFAAS_ERR_FUNCTION, -13, "function missing, not loadable or crashed")        \
    X(RFAAS_ERR_MANAGER, -14, "manager lost or unreachable")                       \
    X(RFAAS_ERR_TRUNCATE, -15, "result larger than the output buffer")             \
    X(RFAAS_ERR_CANCELLED, -16, "cancelled")

enum rfaas_status {
#define RFAAS_STATUS_ENUM(name, value, text) name = value,
    RFAAS_STATUS_MAP(RFAAS_STATUS_ENUM)
#undef RFAAS_STATUS_ENUM
};

/* Any worker of a lease: the least loaded one is taken. */
#define RFAAS_ANY_WORKER (-1)

typedef struct rfaas_session rfaas_session;
typedef struct rfaas_lease rfaas_lease;
typedef struct rfaas_function rfaas_function;
typedef struct rfaas_request rfaas_request;

/* How an invocation ended. Valid after success and failure alike, except that
 * function_status and out_size are 0 unless status is RFAAS_OK.
 *
 * status           RFAAS_OK or why there is no result
 * function_status  what the function returned, 0..32767
 * out_size         bytes that the function wrote into the caller's buffer
 * worker           the worker that ran it, or -1 if none did
 */
struct rfaas_result {
    int status;
    int function_status;
    size_t out_size;
    int worker;
};

/* What a lease has used. Times in nanoseconds.
 *
 * invocations  that have ended; failures: those among them that ended in an error
 * execute_ns   workers' time inside functions
 * hot_ns       workers' time spent polling for the next invocation
 * bytes_in     input of the invocations that ended; bytes_out: their results
 * lease_ns     workers x time since the lease was granted, each number of them
 *              for as long as the lease had it
 */
struct rfaas_usage {
    uint64_t invocations;
    uint64_t failures;
    uint64_t execute_ns;
    uint64_t hot_ns;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t lease_ns;
};

/* What a pool has, and who waits for it.
 *
 * executors  that take work: those that are being drained don't count
 * cores      that they offer; leased: those of them that are taken
 * queued     requests for leases, and for growth, that wait for cores
 */
struct rfaas_pool_stats {
    uint64_t executors;
    uint64_t cores;
    uint64_t leased;
    uint64_t queued;
};

/* Text of a status; never NULL, not to be freed. */
RFAAS_API const char *rfaas_status_string(int status);

/* What the last failing call of this thread failed at, in a sentence; "" if none
 * did. Valid until this thread's next call of the library. */
RFAAS_API const char *rfaas_last_error(void);

/* The library's version, e.g. "0.1.0". */
RFAAS_API const char *rfaas_version(void);

/* Opens a session with the manager that the setting manager_address names.
 *
 * settings  "key=value" strings, ended by NULL; NULL for none. `rfaas-info` lists
 *           the keys. A key that isn't set here comes from the environment
 *           (RFAAS_ and the key in capitals), then from the configuration file,
 *           then from the defaults. Unknown keys are an error.
 * Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_MANAGER (nobody at that address),
 * RFAAS_ERR_REFUSED (key or version differ), RFAAS_ERR_NO_MEMORY.
 */
RFAAS_API int rfaas_session_open(const char *const settings[], rfaas_session **session);

/* Ends the session: releases its leases, ends outstanding requests with
 * RFAAS_ERR_LEASE_RELEASED and frees all that belongs to it, memory of rfaas_alloc
 * included. NULL is ignored. */
RFAAS_API void rfaas_session_close(rfaas_session *session);

/* What the pool has at this moment. Asks the manager; blocks for 10 seconds at most.
 * Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_MANAGER. */
RFAAS_API int rfaas_pool_stats(rfaas_session *session, struct rfaas_pool_stats *stats);

/* Leases `workers` (> 0) workers and starts them. Blocks until they are ready, at
 * most wait_seconds for free cores and some seconds more for the start.
 *
 * settings  as above, for this lease alone. With min_workers fewer may be granted.
 * Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_NO_RESOURCES, RFAAS_ERR_MANAGER,
 * RFAAS_ERR_WORKER_LOST (the workers could not be started).
 */
RFAAS_API int rfaas_lease_acquire(rfaas_session *session, int workers,
                                  const char *const settings[], rfaas_lease **lease);

/* The same without blocking: `lease` is written at once, rfaas_lease_test says what
 * becomes of it. Until that is RFAAS_OK only rfaas_lease_test and
 * rfaas_lease_release may be called with it. */
RFAAS_API int rfaas_lease_iacquire(rfaas_session *session, int workers,
                                   const char *const settings[], rfaas_lease **lease);

/* RFAAS_OK (active), RFAAS_IN_PROGRESS (still being acquired), or the error that
 * ended it. */
RFAAS_API int rfaas_lease_test(rfaas_lease *lease);

/* Number of the lease's workers; those that are lost count. */
RFAAS_API int rfaas_lease_workers(const rfaas_lease *lease);

/* Makes the lease last `seconds` (> 0) from now, and takes that as its duration
 * from now on. The library renews a lease by itself while its client lives, except
 * while a worker is at one invocation for longer than the duration: a function that
 * never returns ends with its lease. Blocks for the manager's answer.
 * Errors: RFAAS_ERR_LEASE_…, RFAAS_ERR_MANAGER. */
RFAAS_API int rfaas_lease_renew(rfaas_lease *lease, double seconds);

/* Makes the lease have `workers` (> 0) workers, while invocations go on.
 *
 * Growing waits at most wait_seconds for free cores, in the manager's queue; the new
 * workers get the next numbers and are started when this has returned: invocations of
 * them wait until they are ready. Shrinking takes the workers with the highest numbers,
 * at once: they finish what was sent to them, and end after 30 seconds at the latest;
 * what waits here for one of them alone ends with RFAAS_ERR_WORKER_LOST, what waits for
 * any goes to others.
 * settings  as above, of which only wait_seconds (default: the lease's) and min_workers
 *           count: the least number of all workers that is a success (0: `workers`)
 * After an error the lease is as it was; after RFAAS_ERR_MANAGER (the manager hasn't
 * answered within 10 seconds) it can't be resized any more, and has given up the workers
 * that it was to give up. Blocks, and makes progress meanwhile; one
 * resize of a lease at a time.
 * Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_NO_RESOURCES, RFAAS_ERR_LEASE_…,
 * RFAAS_ERR_MANAGER, RFAAS_ERR_NO_MEMORY. */
RFAAS_API int rfaas_lease_resize(rfaas_lease *lease, int workers,
                                 const char *const settings[]);

/* What the lease has used so far. Asks the executors; blocks for a second at most. */
RFAAS_API int rfaas_lease_usage(rfaas_lease *lease, struct rfaas_usage *usage);

/* Gives the workers back and frees the lease; its outstanding requests end with
 * RFAAS_ERR_LEASE_RELEASED. NULL is ignored. */
RFAAS_API void rfaas_lease_release(rfaas_lease *lease);

/* Names a function for this session's leases: symbol `name` of the shared library
 * at path `library`. The library is loaded here to look at it, and its bytes go to
 * executors that don't have the same file at that path.
 * Errors: RFAAS_ERR_FUNCTION (missing file or symbol), RFAAS_ERR_ARGUMENT. */
RFAAS_API int rfaas_function_load(rfaas_session *session, const char *library,
                                  const char *name, rfaas_function **function);

/* Frees the function; its outstanding invocations still end. NULL is ignored. */
RFAAS_API void rfaas_function_free(rfaas_function *function);

/* Memory that workers read in place and write to: `size` bytes (> 0), aligned to 64. */
RFAAS_API int rfaas_alloc(rfaas_session *session, size_t size, void **base);

/* Frees memory of rfaas_alloc. No invocation may be using it. NULL is ignored. */
RFAAS_API int rfaas_free(rfaas_session *session, void *base);

/* Starts an invocation.
 *
 * worker        0..workers-1 or RFAAS_ANY_WORKER
 * in, in_size   input; must stay as it is until the request has ended
 * out,          room for the result; its contents are undefined until then, and
 * out_capacity  after a failure. Neither may be unmapped or freed before
 * request       must be ended by rfaas_wait, rfaas_waitany or rfaas_test
 * Any number may be outstanding: what finds no free slot waits here, in order.
 * Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_LEASE_…, RFAAS_ERR_NO_MEMORY; any other
 * failure ends the request. */
RFAAS_API int rfaas_invoke(rfaas_lease *lease, int worker, rfaas_function *function,
                           const void *in, size_t in_size, void *out,
                           size_t out_capacity, rfaas_request **request);

/* RFAAS_IN_PROGRESS, or else: the request has ended, is freed and set to NULL, the
 * result is written (NULL: not wanted) and its status returned. */
RFAAS_API int rfaas_test(rfaas_request **request, struct rfaas_result *result);

/* Waits until the request has ended, then as rfaas_test. */
RFAAS_API int rfaas_wait(rfaas_request **request, struct rfaas_result *result);

/* Waits until one of `count` requests has ended, then as rfaas_test for that one;
 * `index` tells which. NULL requests are skipped; if all are NULL, index is -1 and
 * RFAAS_OK returned. All must belong to one session. */
RFAAS_API int rfaas_waitany(int count, rfaas_request *requests[], int *index,
                            struct rfaas_result *result);

/* Takes in results that have arrived; returns how many. Never blocks. */
RFAAS_API int rfaas_progress(rfaas_session *session);

#ifdef __cplusplus
}
#endif

#endif
