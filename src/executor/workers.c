/* The processes of workers: starting, killing, reaping. */
#include "executor/executor.h"

#include "base/error.h"
#include "base/log.h"
#include "executor/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    /* For what a library does when it is loaded, or for the function that runs when the
     * worker's connection fails: either may take for ever. */
    LIMIT_SECONDS = 10,
    RETIRE_SECONDS = 30, /* for what was sent before it was told to end */
};

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg);
static void on_closed(struct rfaas_connection *connection, int status, void *arg);

static const struct rfaas_connection_calls worker_calls = {
    .message = on_message,
    .closed = on_closed,
};

/* ---- cores ----------------------------------------------------------------------- */

/* Takes the least used cores: each worker has its own while there are enough. */
static void cores_take(struct rfaas_executor *executor, struct hosted_worker *worker)
{
    for (unsigned i = 0; i < worker->core_count; i++) {
        int best = 0;
        for (int c = 1; c < executor->core_count; c++)
            if (executor->load[c] < executor->load[best])
                best = c;
        executor->load[best]++;
        worker->cores[i] = best;
    }
}

static void cores_return(struct rfaas_executor *executor, struct hosted_worker *worker)
{
    for (unsigned i = 0; i < worker->core_count; i++)
        executor->load[worker->cores[i]]--;
}

/* Binds this process to the worker's cores, for the child to inherit. */
static void cores_lend(struct rfaas_executor *executor,
                       const struct hosted_worker *worker)
{
    struct rfaas_cores set = {0}, one;
    int available = rfaas_cores_count(&executor->cores);
    for (unsigned i = 0; i < worker->core_count; i++)
        if (rfaas_cores_nth(&executor->cores, worker->cores[i] % available, &one) ==
            RFAAS_OK)
            rfaas_cores_add(&set, &one);
    /* Not being bound costs speed, not results. */
    if (rfaas_cores_bind(&set) != RFAAS_OK)
        rfaas_warn("%s", rfaas_last_error());
}

/* ---- starting -------------------------------------------------------------------- */

/* Above those that the child uses by number, so that no dup2 hits another. */
static int fd_lift(int fd)
{
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    close(fd);
    return lifted;
}

static int page_create(struct hosted_worker *worker)
{
    int fd = memfd_create("rfaas-worker", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (ftruncate(fd, sizeof *worker->page) < 0) {
        close(fd);
        return -1;
    }
    void *page =
        mmap(NULL, sizeof *worker->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        close(fd);
        return -1;
    }
    int lifted = fd_lift(fd);
    if (lifted < 0)
        munmap(page, sizeof *worker->page);
    else
        worker->page = page;
    return lifted;
}

/* A pipe whose owner is the worker's group and whose signal SIGKILL: the kernel sends
 * it when our end closes, at the latest with the end of this process, whatever ends
 * that. So what a function has started doesn't outlive its worker when nobody is left
 * to end it. What it has started inherits the other end, which so is there even if the
 * worker has gone before. Each worker needs a pipe of its own: older kernels also tell
 * the owner when one of several readers goes. */
static int leash_tie(int fd, pid_t group)
{
    if (fcntl(fd, F_SETOWN, -group) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC) < 0)
        return errno;
    return 0;
}

static int spawn_process(pid_t *pid, int control, int page, int leash)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char program[] = "rfaas-executor", mode[] = "--worker", parent[32];
    char *arguments[] = {program, mode, parent, NULL};
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&files, control, RFAAS_WORKER_CONTROL_FD);
    posix_spawn_file_actions_adddup2(&files, page, RFAAS_WORKER_PAGE_FD);
    posix_spawn_file_actions_adddup2(&files, leash, RFAAS_WORKER_LEASH_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, RFAAS_WORKER_LEASH_FD + 1);
    /* A process group of its own: what a function starts goes with the worker. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP |
                                              POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error =
        posix_spawn(pid, "/proc/self/exe", &files, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static int spawn(struct hosted_worker *worker, int control, int page)
{
    int leash[2];
    if (pipe2(leash, O_CLOEXEC) < 0)
        return errno;
    leash[0] = fd_lift(leash[0]);
    int error = spawn_process(&worker->pid, control, page, leash[0]);
    if (!error) {
        error = leash_tie(leash[0], worker->pid);
        if (error) {
            kill(worker->pid, SIGKILL);
            waitpid(worker->pid, NULL, 0);
        }
    }
    close(leash[0]);
    if (error)
        close(leash[1]);
    else
        worker->leash = leash[1];
    return error;
}

static void send_setup(struct hosted_worker *worker)
{
    Rfaas__WorkerSetup setup = RFAAS__WORKER_SETUP__INIT;
    setup.lease = &worker->lease->terms;
    setup.worker = worker->number;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_SETUP;
    message.worker_setup = &setup;
    rfaas_connection_send(worker->connection, &message, NULL, 0);

    rfaas_client_introduce(worker->lease->client, worker);

    Rfaas__WorkerStart start = RFAAS__WORKER_START__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_START;
    message.worker_start = &start;
    rfaas_connection_send(worker->connection, &message, NULL, 0);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    struct hosted_worker *worker = arg;
    (void)fd;
    (void)what;
    rfaas_warn("%s: not %s within %d s: ended",
               rfaas_connection_name(worker->connection),
               worker->retiring ? "finished" : "ready",
               worker->retiring ? RETIRE_SECONDS : LIMIT_SECONDS);
    rfaas_worker_kill(worker);
}

static void limit_clear(struct hosted_worker *worker)
{
    if (worker->limit)
        event_free(worker->limit);
    worker->limit = NULL;
}

static void limit_set(struct rfaas_executor *executor, struct hosted_worker *worker,
                      int seconds)
{
    struct timeval limit = {.tv_sec = seconds};
    limit_clear(worker);
    worker->limit = evtimer_new(executor->base, on_limit, worker);
    if (worker->limit)
        evtimer_add(worker->limit, &limit);
}

/* One that retires has one limit for all that it does until it has ended. */
void rfaas_worker_limit(struct rfaas_executor *executor, struct hosted_worker *worker)
{
    if (!worker->retiring)
        limit_set(executor, worker, LIMIT_SECONDS);
}

static void limit_met(struct hosted_worker *worker)
{
    if (!worker->retiring)
        limit_clear(worker);
}

static int connection_create(struct rfaas_executor *executor,
                             struct hosted_worker *worker, int socket)
{
    struct rfaas_stream *stream;
    char name[64];
    snprintf(name, sizeof name, "worker %u of lease %llu", worker->number,
             (unsigned long long)worker->lease->id);
    int status = rfaas_stream_new(socket, RFAAS_MESSAGE_MAX, &stream);
    if (status != RFAAS_OK) {
        close(socket);
        return status;
    }
    status = rfaas_connection_new(executor->base, stream, name, &worker_calls, worker,
                                  &worker->connection);
    if (status != RFAAS_OK)
        rfaas_stream_free(stream);
    return status;
}

int rfaas_worker_start(struct rfaas_executor *executor, struct hosted_worker *worker)
{
    int sockets[2];
    int page = page_create(worker);
    if (page < 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "starting a worker: %m");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
        rfaas_fail(RFAAS_ERR_NO_MEMORY, "starting a worker: socketpair: %m");
        goto fail_page;
    }
    sockets[1] = fd_lift(sockets[1]);
    cores_take(executor, worker);
    cores_lend(executor, worker);
    int error = spawn(worker, sockets[1], page);
    struct rfaas_cores all;
    if (rfaas_cores_allowed(&all) == RFAAS_OK)
        rfaas_cores_bind(&all);
    close(sockets[1]);
    close(page);
    if (error) {
        worker->pid = 0;
        cores_return(executor, worker);
        close(sockets[0]);
        errno = error;
        rfaas_fail(RFAAS_ERR_NO_RESOURCES, "starting a worker: %m");
        goto fail_map;
    }
    worker->moves = 0;
    HASH_ADD(hh, executor->processes, pid, sizeof worker->pid, worker);
    worker->lease->running++;
    if (connection_create(executor, worker, sockets[0]) == RFAAS_OK) {
        rfaas_worker_limit(executor, worker);
        send_setup(worker);
    } else {
        rfaas_worker_kill(worker);
    }
    return RFAAS_OK;

fail_page:
    close(page);
fail_map:
    munmap(worker->page, sizeof *worker->page);
    worker->page = NULL;
    return RFAAS_ERR_NO_RESOURCES;
}

/* ---- running --------------------------------------------------------------------- */

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct hosted_worker *worker = arg;
    Rfaas__Message *m = received->message;
    struct rfaas_client *client = worker->lease->client;
    if (!client)
        return;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_WORKER_READY:
        worker->failed_starts = 0;
        limit_met(worker);
        m->worker_ready->lease = worker->lease->id;
        m->worker_ready->part = worker->lease->part;
        m->worker_ready->worker = worker->lease->terms.first_worker + worker->number;
        break;
    case RFAAS__MESSAGE__BODY_WORKER_MOVED:
        limit_met(worker);
        worker->moves = m->worker_moved->connection;
        m->worker_moved->lease = worker->lease->id;
        m->worker_moved->part = worker->lease->part;
        m->worker_moved->worker = worker->lease->terms.first_worker + worker->number;
        break;
    case RFAAS__MESSAGE__BODY_FUNCTION_BROKEN:
        rfaas_warn("%s: %s", rfaas_connection_name(connection),
                   m->function_broken->reason);
        break;
    default:
        rfaas_warn("%s sent a message that workers don't send: ended",
                   rfaas_connection_name(connection));
        rfaas_worker_kill(worker);
        return;
    }
    rfaas_connection_send(client->connection, m, received->fds, received->fd_count);
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    (void)connection;
    (void)status;
    /* Mostly its death, and SIGCHLD follows; if not, it is no worker any more. */
    rfaas_worker_kill(arg);
}

/* ---- ending ---------------------------------------------------------------------- */

void rfaas_worker_kill(struct hosted_worker *worker)
{
    limit_clear(worker);
    if (worker->pid > 0) /* before it sees its connection end, and ends by itself */
        kill(-worker->pid, SIGKILL);
    rfaas_connection_free(worker->connection);
    worker->connection = NULL;
}

void rfaas_worker_retire(struct rfaas_executor *executor, struct hosted_worker *worker)
{
    if (!worker->connection || worker->retiring)
        return;
    Rfaas__WorkersRetire retire = RFAAS__WORKERS_RETIRE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKERS_RETIRE;
    message.workers_retire = &retire;
    worker->retiring = true;
    limit_set(executor, worker, RETIRE_SECONDS);
    rfaas_connection_send(worker->connection, &message, NULL, 0);
}

static void end_read(const struct hosted_worker *worker, struct worker_end *end)
{
    const struct rfaas_worker_page *page = worker->page;
    rfaas_hosted_page_read(worker, &end->execute_ticks, &end->hot_ticks);
    end->executing = atomic_load_explicit(&page->executing, memory_order_relaxed);
    for (unsigned slot = 0; slot < RFAAS_SLOTS_MAX; slot++) {
        unsigned begun = atomic_load_explicit(&page->begun[slot], memory_order_relaxed);
        if (begun > 0)
            end->begun[end->begun_count++] = rfaas_tag(slot, begun - 1);
    }
}

void rfaas_workers_reap(struct rfaas_executor *executor)
{
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        /* Not reaped yet: as long as the leader is there its group's number can't be
         * another's. */
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            info.si_pid == 0)
            return;
        kill(-info.si_pid, SIGKILL);
        int wait_status;
        if (waitpid(info.si_pid, &wait_status, 0) < 0)
            return;
        struct hosted_worker *worker;
        HASH_FIND(hh, executor->processes, &info.si_pid, sizeof info.si_pid, worker);
        if (!worker)
            continue;
        HASH_DEL(executor->processes, worker);
        close(worker->leash);
        limit_clear(worker);
        rfaas_connection_free(worker->connection);
        worker->connection = NULL;
        struct worker_end end = {.pid = worker->pid, .wait_status = wait_status};
        end_read(worker, &end);
        executor->ended +=
            atomic_load_explicit(&worker->page->ended, memory_order_relaxed);
        munmap(worker->page, sizeof *worker->page);
        worker->page = NULL;
        cores_return(executor, worker);
        worker->lease->running--;
        rfaas_hosted_reaped(executor, worker, &end);
    }
}
