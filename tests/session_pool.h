/* For tests of the client: a manager in a thread of this process, executors as
 * processes, a session, and short forms of calls, which fail the test when they fail. */
#ifndef RFAAS_TEST_SESSION_POOL_H
#define RFAAS_TEST_SESSION_POOL_H

#include "control/handshake.h"
#include "rfaas.h"
#include "test.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The longest that a request outlives what it depends on. */
#define LOSS_SECONDS (2 * test_slowness())
/* For what takes milliseconds on an idle machine. */
#define PATIENCE_SECONDS (30 * test_slowness())

/* Settings: SETTINGS("slots=1", "wait_seconds=2"). */
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct pool {
    char address[128];    /* of the manager */
    struct rfaas_key key; /* if the manager is a thread */
    pid_t executors[4];   /* 0: ended */
    int executor_count;
    rfaas_session *session;
};
extern struct pool pool;

/* Manager, executor and session anew. First ends what a failed test has left. */
void pool_begin(int cores);
/* The same with a manager that is a process, `manager`. */
void pool_begin_with_program(int cores, pid_t *manager);
/* Ends all; checks that no child, and no descriptor of this process, is left. */
void pool_end(void);

pid_t executor_start(int cores);
/* Closes the session; stops the manager. Harmless the second time. */
void session_end(void);
void manager_end(void);
/* This program with these arguments as a process; `line` gets what it writes first. */
pid_t program_start(const char *const arguments[], char line[128]);

rfaas_session *session_open(void);
rfaas_lease *lease_of(int workers, const char *const settings[]);
rfaas_function *function_of(const char *name); /* of tests/functions */
const char *functions_path(void);

/* ---- calls and their errors ------------------------------------------------------ */

#define CHECK_OK(call) check_status(call, RFAAS_OK, "", #call, __FILE__, __LINE__)
/* The call returns `status`, and rfaas_last_error then contains `words`. */
#define CHECK_STATUS(call, status, words)                                              \
    check_status(call, status, words, #call, __FILE__, __LINE__)
void check_status(int actual, int status, const char *words, const char *call,
                  const char *file, int line);
#define CHECK_OK_FATAL(call)                                                           \
    do {                                                                               \
        int status_ = (call);                                                          \
        check_status(status_, RFAAS_OK, "", #call, __FILE__, __LINE__);                \
        CHECK_FATAL(status_ == RFAAS_OK);                                              \
    } while (0)

/* ---- invocations ----------------------------------------------------------------- */

/* Whether an increment of `value` on that worker, waited for, comes out right. */
bool increments(rfaas_function *increment, rfaas_lease *lease, int worker,
                int32_t value);

/* Many at once, each of an int32 into one; `in` is filled in by who starts it. */
enum { BATCH_MAX = 1024 };
struct batch {
    int count;
    int32_t in[BATCH_MAX], out[BATCH_MAX];
    rfaas_request *requests[BATCH_MAX];
    struct rfaas_result results[BATCH_MAX];
    char texts[BATCH_MAX][200]; /* of errors */
};
/* Adds `count` invocations of it, with i-th input `first` + i. */
void batch_add(struct batch *batch, rfaas_lease *lease, int worker,
               rfaas_function *function, int count, int32_t first);
/* Waits for all, at most so long; false: something is still outstanding. */
bool batch_wait(struct batch *batch, double seconds);
/* How many of [first, first + count) ended with `status`. */
int batch_count(const struct batch *batch, int first, int count, int status);
/* How many succeeded, with `out` = `in` + `more`. */
int batch_right(const struct batch *batch, int first, int count, int32_t more);

/* ---- time and processes ---------------------------------------------------------- */

double seconds_now(void);
/* A loop's condition: false once `seconds` have gone by since `start`. Lets others
 * have the core for a moment. */
bool patient(double start, double seconds);

/* The process that is the worker. */
pid_t worker_pid(rfaas_lease *lease, int worker);
/* Whether the process ends within so many seconds, or is a corpse already. */
bool process_ends(pid_t pid, double seconds);
/* The letter of /proc/PID/stat, and the clock ticks that it has used; 0: no process. */
char process_state(pid_t pid, unsigned long *ticks);
/* Of this process. */
int descriptors_open(void);

#endif
