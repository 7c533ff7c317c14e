/* Starting the executor of a node, and sharing the node's cores between ranks and
 * workers. */
#include "mpi/mpix.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    READY_FD = 3, /* in the executor */
    KEY_FD = 4,
    LENDER_FD = 5,
    READY_SECONDS = 20,
    END_SECONDS = 5, /* then it is killed */
};

/* ---- cores ----------------------------------------------------------------------- */

struct share {
    struct rfaas_cores cores; /* for workers */
    int count;                /* that the executor offers */
    bool keep_off;            /* ranks that aren't bound are to keep off them */
};

static void last_of(const struct rfaas_cores *from, int count, struct rfaas_cores *to)
{
    struct rfaas_cores one;
    int available = rfaas_cores_count(from);
    *to = (struct rfaas_cores){0};
    for (int i = available - count; i < available; i++)
        if (rfaas_cores_nth(from, i, &one) == RFAAS_OK)
            rfaas_cores_add(to, &one);
}

/* Ranks that are bound have their cores; each that isn't counts for one. Workers get
 * what is left, from the last core on, and at least one. */
static void share_cores(const struct rfaas_cores *allowed,
                        const struct rfaas_cores *bound, int ranks, int64_t wanted,
                        struct share *share)
{
    struct rfaas_cores left = *allowed;
    int unbound = 0;
    for (int i = 0; i < ranks; i++) {
        struct rfaas_cores rest = *allowed;
        rfaas_cores_remove(&rest, &bound[i]);
        if (rfaas_cores_count(&rest) == 0)
            unbound++;
        else
            rfaas_cores_remove(&left, &bound[i]);
    }
    int available = rfaas_cores_count(&left);
    share->count = wanted > 0 ? (int)wanted : available - unbound;
    if (share->count < 1)
        share->count = 1;
    share->keep_off = unbound > 0 && share->count < available;
    if (share->count <= available)
        last_of(&left, share->count, &share->cores);
    else
        share->cores = *allowed;
}

/* Takes this rank off the workers' cores, if it is free to run anywhere. */
static void keep_off(MPIX_Pool pool, const struct rfaas_cores *allowed,
                     const struct rfaas_cores *workers)
{
    struct rfaas_cores rest = *allowed, bound = pool->unbound;
    rfaas_cores_remove(&rest, &bound);
    if (rfaas_cores_count(&rest) > 0)
        return; /* it is bound by who started it */
    rest = *allowed;
    rfaas_cores_remove(&rest, workers);
    pool->was_bound = rfaas_cores_bind(&rest) == RFAAS_OK;
}

/* ---- executor -------------------------------------------------------------------- */

static const char *executor_path(void)
{
    const char *path = getenv("RFAAS_EXECUTOR");
    return path && path[0] ? path : RFAAS_BINDIR "/rfaas-executor";
}

/* Above those that the child uses by number, so that no dup2 hits another. */
static int fd_lift(int fd)
{
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    close(fd);
    return lifted;
}

/* The executor's command line. */
struct command {
    char manager[RFAAS_CONFIG_STRING_MAX + 16], listen[RFAAS_CONFIG_STRING_MAX + 16];
    char key_file[32], count[32], cpuset[RFAAS_CORES_TEXT + 16];
    char ready_fd[32], log_level[32], lender_fd[32];
    char *arguments[10];
};

static int command_fill(struct command *c, MPIX_Pool pool,
                        const struct rfaas_cores *cores, int count, bool lent)
{
    static char program[] = "rfaas-executor";
    char cpus[RFAAS_CORES_TEXT], level[16] = "none";
    int status = rfaas_cores_format(cores, cpus, sizeof cpus);
    if (status != RFAAS_OK)
        return status;
    for (size_t i = 0; i < rfaas_config_key_count(); i++)
        if (strcmp(rfaas_config_key_at(i)->name, "log_level") == 0)
            rfaas_config_format(&pool->config, i, level, sizeof level);
    snprintf(c->manager, sizeof c->manager, "--manager=%s",
             pool->config.manager_address);
    snprintf(c->listen, sizeof c->listen, "--listen=%s", pool->listen);
    snprintf(c->key_file, sizeof c->key_file, "--key-file=/dev/fd/%d", KEY_FD);
    snprintf(c->count, sizeof c->count, "--cores=%d", count);
    snprintf(c->cpuset, sizeof c->cpuset, "--cpuset=%s", cpus);
    snprintf(c->ready_fd, sizeof c->ready_fd, "--ready-fd=%d", READY_FD);
    snprintf(c->log_level, sizeof c->log_level, "--log-level=%s", level);
    snprintf(c->lender_fd, sizeof c->lender_fd, "--lender-fd=%d", LENDER_FD);
    char *arguments[] = {program,     c->manager,   c->listen,
                         c->key_file, c->count,     c->cpuset,
                         c->ready_fd, c->log_level, lent ? c->lender_fd : NULL,
                         NULL};
    memcpy(c->arguments, arguments, sizeof arguments);
    return RFAAS_OK;
}

static int spawn(struct command *command, int ready, int key, int lender,
                 struct mpix_executor *executor)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, ready, READY_FD);
    posix_spawn_file_actions_adddup2(&files, key, KEY_FD);
    if (lender >= 0)
        posix_spawn_file_actions_adddup2(&files, lender, LENDER_FD);
    posix_spawn_file_actions_addclosefrom_np(&files,
                                             lender >= 0 ? LENDER_FD + 1 : KEY_FD + 1);
    /* A group of its own: a signal to the ranks' group must not reach it before the
     * ranks have ended what they do there. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP |
                                              POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawn(&executor->pid, executor_path(), &files, &attributes,
                            command->arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (!error) {
        executor->handle = (int)syscall(SYS_pidfd_open, executor->pid, 0);
        return RFAAS_OK;
    }
    executor->pid = 0;
    errno = error;
    return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "starting %s: %m", executor_path());
}

/* Above those that the child uses by number; -1: none. */
static int fd_lifted_copy(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);
}

int mpix_executor_spawn(MPIX_Pool pool, const struct rfaas_cores *cores, int count,
                        int ready, int lender, struct mpix_executor *executor)
{
    char path[64];
    int key;
    struct command command;
    int status = command_fill(&command, pool, cores, count, lender >= 0);
    if (status == RFAAS_OK)
        status = rfaas_key_offer(&pool->key, &key, path, sizeof path);
    if (status != RFAAS_OK)
        return status;
    key = fd_lift(key);
    ready = fd_lifted_copy(ready);
    lender = fd_lifted_copy(lender);
    status = spawn(&command, ready, key, lender, executor);
    close(ready);
    close(key);
    if (lender >= 0)
        close(lender);
    return status;
}

/* Reads the executor's line: "ready", or why not. */
static int await_ready(int fd)
{
    char line[512];
    size_t length = 0;
    uint64_t end = rfaas_clock_ns() + READY_SECONDS * 1000000000ull;
    while (length < sizeof line - 1 && !memchr(line, '\n', length)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left_ms = ((int64_t)end - (int64_t)rfaas_clock_ns()) / 1000000;
        if (left_ms <= 0)
            return rfaas_fail(RFAAS_ERR_NO_RESOURCES,
                              "the executor wasn't ready within %d s", READY_SECONDS);
        if (poll(&p, 1, (int)left_ms) < 0 && errno != EINTR)
            return rfaas_fail(RFAAS_ERR_IO, "waiting for the executor: %m");
        if (!p.revents)
            continue;
        ssize_t n = read(fd, line + length, sizeof line - 1 - length);
        if (n <= 0)
            return rfaas_fail(RFAAS_ERR_NO_RESOURCES,
                              "the executor %s ended before it was ready",
                              executor_path());
        length += (size_t)n;
    }
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "ready") == 0)
        return RFAAS_OK;
    return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "the executor: %s", line);
}

static int executor_start(MPIX_Pool pool, const struct share *share)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "starting an executor: pipe: %m");
    int status = mpix_executor_spawn(pool, &share->cores, share->count, ready[1], -1,
                                     &pool->executor);
    close(ready[1]);
    if (status == RFAAS_OK)
        status = await_ready(ready[0]);
    close(ready[0]);
    return status;
}

int mpix_launch(MPIX_Pool pool, MPI_Comm node)
{
    int rank, size, status;
    struct rfaas_cores allowed;
    struct share share = {0};
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &size);
    struct rfaas_cores *bound = calloc((size_t)size, sizeof *bound);
    status = bound ? rfaas_cores_allowed(&allowed)
                   : rfaas_fail(RFAAS_ERR_NO_MEMORY, "starting an executor: no memory");
    if (status == RFAAS_OK)
        status = rfaas_cores_bound(0, &pool->unbound);
    /* Collective calls go on whatever has failed where. */
    MPI_Gather(&pool->unbound, sizeof *bound, MPI_BYTE, bound, sizeof *bound, MPI_BYTE,
               0, node);
    if (rank == 0 && status == RFAAS_OK) {
        share_cores(&allowed, bound, size, pool->config.cores, &share);
        status = executor_start(pool, &share);
    }
    free(bound);
    MPI_Bcast(&share, sizeof share, MPI_BYTE, 0, node);
    if (share.count > 0)
        pool->config.cores = share.count; /* what `auto` came to */
    if (status == RFAAS_OK && share.keep_off)
        keep_off(pool, &allowed, &share.cores);
    return status;
}

/* The application's own handler may have reaped it, and its pid be another's. */
static void executor_signal(const struct mpix_executor *executor, int signal)
{
    if (executor->handle >= 0)
        syscall(SYS_pidfd_send_signal, executor->handle, signal, NULL, 0);
    else
        kill(executor->pid, signal);
}

void mpix_executor_reap(struct mpix_executor *executor)
{
    struct pollfd ended = {.fd = executor->handle, .events = POLLIN};
    int events = 0;
    while (executor->handle >= 0 &&
           (events = poll(&ended, 1, END_SECONDS * 1000)) < 0 && errno == EINTR)
        continue;
    if (executor->handle >= 0 && events == 0) {
        rfaas_warn("the executor %d didn't end: killed", (int)executor->pid);
        executor_signal(executor, SIGKILL);
    }
    if (executor->handle >= 0)
        close(executor->handle);
    waitpid(executor->pid, NULL, 0);
    executor->pid = 0;
}

void mpix_launch_end(MPIX_Pool pool)
{
    if (pool->was_bound)
        rfaas_cores_bind(&pool->unbound);
    pool->was_bound = false;
    if (pool->executor.pid == 0)
        return;
    executor_signal(&pool->executor, SIGTERM); /* its manager may be another's */
    mpix_executor_reap(&pool->executor);
}
