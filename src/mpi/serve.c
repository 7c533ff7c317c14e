/* A rank that waits lends its cores to the pool: an executor of its own offers them until
 * the wait is over. Functions run in that one's workers, not here, where a crash would
 * end the rank; the rank hardly uses its cores meanwhile. */
#define _GNU_SOURCE /* sched_getcpu */
#include "mpi/mpix.h"
#include "mpi/settings.h"

#include "base/clock.h"
#include "base/error.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LEND_AFTER_NS = 1000000, /* a shorter wait isn't worth an executor's start */
    /* MPI has nothing to sleep on. Pauses grow to this: the rank then takes less than a
     * tenth of its core, and leaves it hardly later than a message takes to be
     * noticed. */
    PAUSE_MIN_NS = 1000,
    PAUSE_MAX_NS = 100000,
    NS_PER_MS = 1000000,
    COUNT_MS = 1000, /* for the executor to say what it has served */
};

/* Cores that are lent, or were: then their executor ends when its workers have. */
struct mpix_loan {
    struct mpix_executor executor;
    int socket; /* to the executor; its end is the end of the loan */
    struct mpix_loan *next;
};

/* What this rank has: the cores that it is bound to or, if it may run anywhere, the one
 * that it runs on. */
static int cores_of_rank(MPIX_Pool pool, struct rfaas_cores *cores)
{
    struct rfaas_cores rest;
    int status = rfaas_cores_allowed(&rest);
    if (status == RFAAS_OK)
        status = rfaas_cores_bound(0, cores);
    if (status != RFAAS_OK)
        return status;
    rfaas_cores_remove(&rest, cores);
    if (!pool->was_bound && rfaas_cores_count(&rest) > 0)
        return RFAAS_OK;
    char core[16];
    snprintf(core, sizeof core, "%d", sched_getcpu());
    return rfaas_cores_parse(core, cores);
}

/* Forgets the loans whose executors have ended. */
static void loans_settle(MPIX_Pool pool)
{
    pthread_mutex_lock(&pool->mutex);
    for (struct mpix_loan **at = &pool->loans; *at;) {
        struct mpix_loan *loan = *at;
        struct pollfd ended = {.fd = loan->executor.handle, .events = POLLIN};
        if (loan->socket >= 0 || loan->executor.handle < 0 || poll(&ended, 1, 0) <= 0) {
            at = &loan->next;
            continue;
        }
        *at = loan->next;
        mpix_executor_reap(&loan->executor);
        free(loan);
    }
    pthread_mutex_unlock(&pool->mutex);
}

void mpix_loans_end(MPIX_Pool pool)
{
    while (pool->loans) {
        struct mpix_loan *loan = pool->loans;
        pool->loans = loan->next;
        mpix_executor_reap(&loan->executor);
        free(loan);
    }
}

static int lend(MPIX_Pool pool, int64_t wanted, struct mpix_loan **made)
{
    struct rfaas_cores cores;
    int ends[2];
    int status = cores_of_rank(pool, &cores);
    if (status != RFAAS_OK)
        return status;
    struct mpix_loan *loan = calloc(1, sizeof *loan); /* loans_settle, mpix_loans_end */
    if (!loan)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "serving: out of memory");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        free(loan);
        return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "serving: socketpair: %m");
    }
    int count = wanted > 0 ? (int)wanted : rfaas_cores_count(&cores);
    status =
        mpix_executor_spawn(pool, &cores, count, ends[1], ends[1], &loan->executor);
    close(ends[1]);
    if (status != RFAAS_OK) {
        close(ends[0]);
        free(loan);
        return status;
    }
    loan->socket = ends[0];
    pthread_mutex_lock(&pool->mutex);
    loan->next = pool->loans;
    pool->loans = loan;
    pthread_mutex_unlock(&pool->mutex);
    *made = loan;
    return RFAAS_OK;
}

/* Adds to `text` what the executor says until that has so many lines, or `wait_ms` are
 * over: "ready" and then a number, or why it failed. Returns the number of lines; `ended`:
 * there won't be more. */
static int hear(const struct mpix_loan *loan, int wanted, int wait_ms, char *text,
                size_t size, bool *ended)
{
    struct pollfd said = {.fd = loan->socket, .events = POLLIN};
    const uint64_t end = rfaas_clock_ns() + (uint64_t)wait_ms * NS_PER_MS;
    for (;;) {
        size_t length = strlen(text);
        int lines = 0;
        for (const char *at = text; (at = strchr(at, '\n')); at++)
            lines++;
        if (lines >= wanted || length == size - 1)
            return lines;
        uint64_t now = rfaas_clock_ns();
        int left_ms = now < end ? (int)((end - now) / NS_PER_MS) : 0;
        int ready = poll(&said, 1, left_ms);
        if (ready == 0)
            return lines;
        ssize_t n = -1;
        if (ready > 0)
            n = recv(loan->socket, text + length, size - 1 - length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        *ended = n <= 0;
        if (*ended)
            return lines;
        text[length + (size_t)n] = '\0';
    }
}

/* How the loan went, as far as is known. */
static int loan_status(const struct mpix_loan *loan, int lines, bool ended, char *text)
{
    if (lines == 0 && ended)
        return rfaas_fail(RFAAS_ERR_NO_RESOURCES,
                          "serving: the executor (pid %d) ended before it was ready",
                          (int)loan->executor.pid);
    if (lines == 0 || strncmp(text, "ready\n", 6) == 0)
        return RFAAS_OK;
    text[strcspn(text, "\n")] = '\0';
    return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "serving: the executor: %s", text);
}

/* The cores are the rank's own again; what runs on them ends in the background. An
 * executor that wasn't ready yet has served nothing, and isn't waited for. */
static int take_back(MPIX_Pool pool, struct mpix_loan *loan, int *served)
{
    char text[512] = "";
    bool ended = false;
    int lines = hear(loan, 1, 0, text, sizeof text, &ended);
    shutdown(loan->socket, SHUT_WR);
    int status = loan_status(loan, lines, ended, text);
    if (status == RFAAS_OK && lines > 0 &&
        hear(loan, 2, COUNT_MS, text, sizeof text, &ended) > 1)
        *served = (int)strtol(text + 6, NULL, 10);
    pthread_mutex_lock(&pool->mutex);
    close(loan->socket);
    loan->socket = -1;
    pthread_mutex_unlock(&pool->mutex);
    return mpix_error_code(status, rfaas_last_error());
}

static void pause_for(long *ns)
{
    const struct timespec pause = {.tv_nsec = *ns};
    nanosleep(&pause, NULL);
    *ns = 2 * *ns < PAUSE_MAX_NS ? 2 * *ns : PAUSE_MAX_NS;
}

/* Tests the request, which makes MPI's progress and ours, and lends meanwhile. `lending`
 * is the code of that: other errors may come before it is told. */
static int wait_lending(MPIX_Pool pool, MPI_Request *until, int64_t cores,
                        struct mpix_loan **loan, int *lending)
{
    uint64_t start = rfaas_clock_ns();
    long ns = PAUSE_MIN_NS;
    for (bool tried = false;;) {
        int done = 0;
        int code = MPI_Test(until, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS || done)
            return code;
        if (!tried && rfaas_clock_ns() - start >= LEND_AFTER_NS) {
            tried = true;
            int status = lend(pool, cores, loan);
            *lending = mpix_error_code(status, rfaas_last_error());
        }
        if (tried)
            pause_for(&ns);
    }
}

static int cores_wanted(MPIX_Pool pool, MPI_Info info, int64_t *cores)
{
    struct mpix_settings settings;
    struct rfaas_config config = pool->config;
    int code = mpix_settings_read(info, &settings);
    if (code != MPI_SUCCESS)
        return mpix_raise(pool->comm, code);
    config.cores = 0; /* the pool's are those of its executors */
    int status = rfaas_config_apply(&config, settings.list);
    mpix_settings_free(&settings);
    *cores = config.cores;
    return status == RFAAS_OK
               ? MPI_SUCCESS
               : mpix_refuse(pool, MPI_ERR_INFO_VALUE, "%s", rfaas_last_error());
}

MPIX_DEFINE(Pool_serve,
            (MPIX_Pool pool, MPI_Request *until, MPI_Info info, int *served))
{
    struct mpix_loan *loan = NULL;
    int64_t cores;
    int count = 0, lending = MPI_SUCCESS;
    if (!pool || !until || !served)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Pool_serve: %s is null",
                           !pool    ? "the pool"
                           : !until ? "the request's address"
                                    : "where to put the number");
    int code = cores_wanted(pool, info, &cores);
    if (code != MPI_SUCCESS)
        return code;
    loans_settle(pool);
    code = wait_lending(pool, until, cores, &loan, &lending);
    if (loan)
        lending = take_back(pool, loan, &count);
    if (code != MPI_SUCCESS)
        return code; /* the request's, which its own error handler has seen */
    if (lending != MPI_SUCCESS)
        return mpix_raise(pool->comm, lending);
    *served = count;
    return MPI_SUCCESS;
}
