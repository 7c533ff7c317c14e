/* Workers as the client's thread knows them: who has which number, and whether their
 * processes live. */
#include "client/control_thread.h"

#include "base/error.h"
#include "base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

/* ---- numbers --------------------------------------------------------------------- */

static struct remote_worker *worker_new(struct record *record, unsigned number)
{
    struct remote_worker *worker = calloc(1, sizeof *worker); /* worker_free */
    if (!worker)
        return NULL;
    worker->record = record;
    worker->number = number;
    worker->alive_fd = -1;
    DL_APPEND(record->all, worker);
    return worker;
}

static void worker_free(struct remote_worker *worker)
{
    DL_DELETE(worker->record->all, worker);
    if (worker->death)
        event_free(worker->death);
    if (worker->start)
        event_free(worker->start);
    if (worker->alive_fd >= 0)
        close(worker->alive_fd);
    free(worker);
}

void remote_workers_free(struct record *record)
{
    while (record->all)
        worker_free(record->all);
    free(record->workers);
}

struct remote_worker *remote_worker_find(struct record *record, uint64_t part,
                                         unsigned number)
{
    struct remote_worker *worker;
    if (number < record->worker_count && record->workers[number]->part == part)
        return record->workers[number];
    DL_FOREACH(record->all, worker)
        if (worker->number == number && worker->part == part)
            return worker;
    return NULL;
}

/* Without a process that who invokes knows of there is nothing to wait for. */
static void worker_take_leave(struct remote_worker *worker)
{
    worker->retired = true;
    if (worker->pid == 0)
        worker_free(worker);
}

bool remote_workers_count(struct record *record, unsigned count)
{
    while (record->worker_count > count)
        worker_take_leave(record->workers[--record->worker_count]);
    struct remote_worker **workers =
        realloc(record->workers, count * sizeof *record->workers);
    if (!workers)
        return false;
    record->workers = workers;
    while (record->worker_count < count) {
        workers[record->worker_count] = worker_new(record, record->worker_count);
        if (!workers[record->worker_count])
            return false;
        record->worker_count++;
    }
    return true;
}

bool remote_worker_retire(struct remote_worker *worker)
{
    struct record *record = worker->record;
    if (worker->retired)
        return true;
    struct remote_worker *successor = worker_new(record, worker->number);
    if (!successor)
        return false;
    record->workers[worker->number] = successor;
    struct control_event *event =
        control_event_new(CONTROL_WORKER_RETIRED, record->ticket);
    event->worker = worker->number;
    event->part = worker->part;
    control_event_post(record->control, event);
    if (worker->abandoned)
        remote_worker_abandon(successor);
    worker_take_leave(worker);
    return true;
}

void remote_worker_abandon(struct remote_worker *worker)
{
    char text[CONTROL_TEXT_MAX];
    worker->abandoned = true;
    if (worker->part != 0)
        return; /* its end will be noticed */
    snprintf(text, sizeof text,
             "worker %u: its executor was drained, and no cores were free on another",
             worker->number);
    worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
}

/* ---- starting -------------------------------------------------------------------- */

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    const struct remote_worker *worker = arg;
    struct record *record = worker->record;
    struct control_event *event =
        control_event_new(CONTROL_WORKER_LATE, record->ticket);
    event->worker = worker->number;
    event->part = worker->part;
    event->retired = worker->retired;
    snprintf(event->text, sizeof event->text, "%s within %d s: the executor on %s",
             worker->pid > 0 ? "not connected" : "not started", START_SECONDS,
             worker->link ? worker->link->node : "a node that has gone");
    control_event_post(record->control, event);
}

void remote_worker_starts(struct remote_worker *worker)
{
    static const struct timeval limit = {.tv_sec = START_SECONDS};
    if (!worker->start)
        worker->start = evtimer_new(worker->record->control->base, on_late, worker);
    if (!worker->start || evtimer_add(worker->start, &limit) < 0)
        rfaas_error("worker %u: out of memory for its deadline", worker->number);
}

/* ---- processes ------------------------------------------------------------------- */

/* Of one that is replaced or retires its executor knows what had begun. */
static void tell_begun(const Rfaas__WorkerGone *body, struct control_event *event)
{
    event->known = body->replaced || body->retired;
    event->executing = body->executing;
    for (size_t i = 0; i < body->n_begun; i++)
        event->begun[rfaas_tag_slot(body->begun[i])] =
            (uint16_t)(rfaas_tag_use(body->begun[i]) + 1);
}

void worker_gone(struct remote_worker *worker, int status, const char *text,
                 const Rfaas__WorkerGone *body)
{
    struct record *record = worker->record;
    if (worker->death)
        event_free(worker->death);
    worker->death = NULL;
    if (worker->alive_fd >= 0)
        close(worker->alive_fd);
    worker->alive_fd = -1;
    worker->pid = 0;
    worker->gone = !body || !body->replaced;
    if (!worker->gone)
        remote_worker_starts(worker);
    else if (worker->start)
        evtimer_del(worker->start);
    struct control_event *event =
        control_event_new(CONTROL_WORKER_GONE, record->ticket);
    event->worker = worker->number;
    event->part = worker->part;
    event->retired = worker->retired;
    event->status = status;
    snprintf(event->text, sizeof event->text, "%s", text);
    event->replaced = !worker->gone;
    if (body)
        tell_begun(body, event);
    control_event_post(record->control, event);
    if (worker->retired)
        worker_free(worker);
}

void remote_worker_died(struct remote_worker *worker)
{
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "worker %u: its executor has gone", worker->number);
    worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    remote_worker_died(arg);
}

void worker_orphaned(struct remote_worker *worker)
{
    struct record *record = worker->record;
    const struct link *link = worker->link;
    worker->link = NULL;
    if (worker->gone)
        return;
    if (link && link->remote) { /* nothing here shows whether it is there */
        char text[CONTROL_TEXT_MAX];
        snprintf(text, sizeof text,
                 "worker %u: the executor on %s can't be reached any more",
                 worker->number, link->node);
        worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
        return;
    }
    if (worker->alive_fd >= 0 && !worker->death)
        worker->death = event_new(record->control->base, worker->alive_fd, EV_READ,
                                  on_death, worker);
    if (!worker->death || event_add(worker->death, NULL) < 0) {
        remote_worker_died(worker); /* it has never been connected */
        return;
    }
    record_limit(record);
}

/* Whoever should have ended the workers hasn't: a stopped process, perhaps. The open
 * descriptor shows that the process is still there, so the pid is its own. */
static void send_kill(const struct remote_worker *worker)
{
    Rfaas__WorkerKill body = RFAAS__WORKER_KILL__INIT;
    body.lease = worker->record->id;
    body.part = worker->part;
    body.worker = worker->number;
    body.pid = (uint32_t)worker->pid;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_KILL;
    message.worker_kill = &body;
    link_send(worker->link, &message, NULL, 0);
}

/* By its descriptor it can be no other process; a pipe's is refused, and then the process
 * is still there if the pipe is. False: it can't be signalled from here, as in another PID
 * namespace, where its pid is a stranger's. */
static bool kill_here(const struct remote_worker *worker)
{
    if (syscall(SYS_pidfd_send_signal, worker->alive_fd, SIGKILL, NULL, 0) == 0 ||
        errno == ESRCH)
        return true;
    if (errno != EBADF && errno != ENOSYS)
        return false;
    kill(worker->pid, SIGKILL);
    return true;
}

/* Where that isn't possible, as on another node, its executor does it. */
void remote_worker_kill(const struct remote_worker *worker)
{
    bool here = !worker->link || !worker->link->remote;
    if (here && (worker->pid <= 0 || kill_here(worker)))
        return;
    if (worker->link)
        send_kill(worker);
}
