/* What the MPI tests share: MPI's start and end, a pool, short forms of the calls that
 * every test needs, and a look at the processes behind them. */
#ifndef RFAAS_TEST_MPI_POOL_H
#define RFAAS_TEST_MPI_POOL_H

#include "test.h"
#include <mpix_rfaas.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* gcc takes MPICH's MPI_STATUSES_IGNORE, the pointer 1, for an array that is too short. */
#if defined(MPICH_VERSION) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

enum {
    CORES_PER_RANK = 4,    /* that the shared pool has; the machine may have fewer */
};

/* The longest that a request outlives what it depends on. */
#define LOSS_SECONDS (2 * test_slowness())
/* For what takes milliseconds on an idle machine. */
#define PATIENCE_SECONDS (30 * test_slowness())

extern int mpi_rank, mpi_ranks; /* of MPI_COMM_WORLD */

/* Initializes MPI with `level`, lets errors return, runs the tests and finalizes MPI,
 * with the shared pool still there if there is one. Ranks but the first show their
 * output only when a test failed there. Returns main's exit status. */
int mpi_test_main(const char *suite, const struct test tests[], int level, int argc,
                  char **argv);

/* ---- short forms, which fail the test when the call does ------------------------- */

/* Settings: SETTINGS("cores=2", "slots=1"); NULL for none. */
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

MPI_Info
info_of(const char *const settings[]); /* to be freed; MPI_INFO_NULL for NULL */

/* The pool of MPI_COMM_WORLD that most tests use; made, collectively, by the first. */
MPIX_Pool shared_pool(void);
MPIX_Pool pool_create(MPI_Comm comm, const char *const settings[]);
MPIX_Lease lease_acquire(MPIX_Pool pool, int workers, const char *const settings[]);
MPIX_Function function_load(MPIX_Pool pool, const char *name); /* of tests/functions */
const char *functions_path(void);

/* Whether an increment of `value` on that worker, waited for, comes out right. */
bool increments(MPIX_Function increment, MPIX_Lease lease, int worker, int32_t value);

/* ---- errors ---------------------------------------------------------------------- */

int error_class(int code);
const char *error_string(int code); /* valid until the next call */

#define CHECK_OK(call) CHECK_CODE(call, MPI_SUCCESS, "")
/* The code of a call has this class, and its string contains `words`. */
#define CHECK_CODE(call, class, words)                                                 \
    check_code(call, class, words, #call, __FILE__, __LINE__)
void check_code(int code, int class, const char *words, const char *call,
                const char *file, int line);

/* ---- time and processes ---------------------------------------------------------- */

/* A loop's condition: false, and the test failed, once `seconds` have gone by since
 * `start` (MPI_Wtime). Lets others have the core. */
bool patient(double start, double seconds);

/* The process that is worker `worker`, and the executor that started it. */
pid_t worker_pid(MPIX_Lease lease, MPIX_Function whoami, int worker);
pid_t parent_of(pid_t pid);     /* 0: there is no such process */
bool process_exists(pid_t pid); /* one that is dead but not reaped doesn't */

#endif
