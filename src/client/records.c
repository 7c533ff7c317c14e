/* Leases as the client's thread knows them: granted, renewed, ended, and whether the
 * processes of their workers live. */
#include "client/control_thread.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long executors have to end the workers of a lease that is over, and the kernel
 * those of an executor that is gone, before we kill them ourselves. */
static const struct timeval END_LIMIT = {.tv_sec = 1};

enum {
    /* Renewals per duration: one may be late without the lease running out. */
    RENEWALS = 4,
};

struct record *record_by_id(struct rfaas_control *control, uint64_t id)
{
    struct record *record, *next;
    HASH_ITER(hh, control->records, record, next)
        if (record->id == id && id != 0)
            return record;
    return NULL;
}

struct record *record_find(struct rfaas_control *control, uint64_t ticket)
{
    struct record *record;
    HASH_FIND(hh, control->records, &ticket, sizeof ticket, record);
    return record;
}

/* ---- asking ---------------------------------------------------------------------- */

void record_request(struct rfaas_control *control, struct record *record)
{
    if (!control->manager) {
        record_ended(record, RFAAS_ERR_MANAGER, "the manager has gone");
        return;
    }
    const struct lease_terms *terms = &record->terms;
    Rfaas__LeaseRequest body = RFAAS__LEASE_REQUEST__INIT;
    body.workers = terms->workers;
    body.min_workers = terms->min_workers;
    body.cores_per_worker = terms->cores_per_worker;
    body.memory_per_worker = terms->memory_per_worker;
    body.duration_ns = terms->duration_ns;
    body.wait_ns = terms->wait_ns;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = record->ticket;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_REQUEST;
    message.lease_request = &body;
    rfaas_connection_send(control->manager, &message, NULL, 0);
}

void record_open(const struct record *record, struct link *link)
{
    const struct lease_terms *terms = &record->terms;
    unsigned first = 0; /* workers of one executor are neighbours */
    while (first < record->worker_count && record->workers[first].link != link)
        first++;
    if (first == record->worker_count || record->ended)
        return;
    Rfaas__LeaseOpen body = RFAAS__LEASE_OPEN__INIT;
    body.lease = record->id;
    body.token = record->token;
    body.first_worker = first;
    body.workers_in_lease = record->worker_count;
    body.transport = (char *)(uintptr_t)link_transport(link);
    body.slots = terms->slots;
    body.slot_size = terms->slot_size;
    body.inline_max = terms->inline_max;
    body.hot_timeout_us = terms->hot_timeout_us;
    body.log_level = terms->log_level;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_OPEN;
    message.lease_open = &body;
    link_send(link, &message, NULL, 0);
}

static unsigned workers_in(const Rfaas__LeaseGrant *grant)
{
    uint64_t count = 0;
    for (size_t i = 0; i < grant->n_parts; i++)
        count += grant->parts[i]->workers;
    return count <= LEASE_WORKERS_MAX ? (unsigned)count : 0;
}

static void part_open(struct record *record, const Rfaas__LeasePart *part,
                      unsigned first)
{
    struct link *link = link_open(record->control, part);
    char text[CONTROL_TEXT_MAX];
    if (!link)
        snprintf(text, sizeof text, "executor on %s: %s", part->node,
                 rfaas_last_error());
    for (unsigned i = first; i < first + part->workers; i++) {
        record->workers[i].link = link;
        if (!link)
            worker_gone(&record->workers[i], RFAAS_ERR_WORKER_LOST, text, NULL);
    }
    if (link)
        record_open(record, link);
}

static void on_renewal(evutil_socket_t fd, short what, void *arg);
static void on_limit(evutil_socket_t fd, short what, void *arg);

void record_granted(struct record *record, const Rfaas__LeaseGrant *grant)
{
    struct rfaas_control *control = record->control;
    if (record->id != 0)
        return; /* said twice */
    record->id = grant->lease;
    record->token = grant->token;
    record->parts = grant->n_parts;
    record->worker_count = workers_in(grant);
    record->workers = calloc(record->worker_count, sizeof *record->workers);
    record->renewal = evtimer_new(control->base, on_renewal, record);
    record->limit = evtimer_new(control->base, on_limit, record);
    if (record->worker_count == 0 || !record->workers || !record->renewal ||
        !record->limit) {
        record->worker_count = 0;
        record_ended(record, RFAAS_ERR_NO_MEMORY, "client: out of memory for a lease");
        return;
    }
    for (unsigned i = 0; i < record->worker_count; i++) {
        record->workers[i].record = record;
        record->workers[i].number = i;
        record->workers[i].alive_fd = -1;
    }
    struct control_event *event =
        control_event_new(CONTROL_LEASE_GRANTED, record->ticket);
    event->value = record->worker_count;
    control_event_post(control, event);
    unsigned first = 0;
    for (size_t i = 0; i < grant->n_parts; i++) {
        part_open(record, grant->parts[i], first);
        first += grant->parts[i]->workers;
    }
    record_renew(record);
}

void record_send_release(struct rfaas_control *control, uint64_t lease, uint64_t ticket)
{
    Rfaas__LeaseRelease body = RFAAS__LEASE_RELEASE__INIT;
    body.lease = lease;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = ticket;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_RELEASE;
    message.lease_release = &body;
    if (control->manager)
        rfaas_connection_send(control->manager, &message, NULL, 0);
}

/* ---- renewing -------------------------------------------------------------------- */

/* Sets the next look at the lease. */
void record_renew(struct record *record)
{
    uint64_t ns = record->terms.duration_ns / RENEWALS;
    struct timeval interval = {.tv_sec = (time_t)(ns / 1000000000),
                               .tv_usec = (suseconds_t)(ns % 1000000000 / 1000)};
    evtimer_add(record->renewal, &interval);
}

/* Since when the worker has been seen at the invocation that it is at; now, if at
 * none. */
static uint64_t busy_since(struct remote_worker *worker,
                           const struct worker_activity *activity, uint64_t now)
{
    /* Relaxed: nothing else depends on the counters, and a late look does no harm. */
    uint64_t ended = atomic_load_explicit(&activity->ended, memory_order_relaxed);
    bool underway = atomic_load_explicit(&activity->underway, memory_order_relaxed) > 0;
    if (!underway || !worker->seen_underway || ended != worker->seen_ended)
        worker->busy_since = now;
    worker->seen_ended = ended;
    worker->seen_underway = underway;
    return worker->busy_since;
}

/* A lease is renewed while its client lives, but not for invocations that don't end: it
 * lasts for its duration from now, and no longer than that from when the invocation that
 * has been underway longest was first seen. So an invocation has at least the whole
 * duration, and at most a quarter more. */
static void on_renewal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct record *record = arg;
    if (record->ended || !record->control->manager)
        return;
    uint64_t now = rfaas_clock_ns(), oldest = now;
    for (unsigned i = 0; i < record->worker_count; i++) {
        uint64_t since = busy_since(&record->workers[i], &record->activity[i], now);
        if (since < oldest)
            oldest = since;
    }
    uint64_t end = oldest + record->terms.duration_ns;
    if (end > now) {
        Rfaas__LeaseRenew body = RFAAS__LEASE_RENEW__INIT;
        body.lease = record->id;
        body.duration_ns = end - now;
        Rfaas__Message message = RFAAS__MESSAGE__INIT;
        message.body_case = RFAAS__MESSAGE__BODY_LEASE_RENEW;
        message.lease_renew = &body;
        rfaas_connection_send(record->control->manager, &message, NULL, 0);
    }
    record_renew(record);
}

/* ---- ending ---------------------------------------------------------------------- */

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
    struct control_event *event =
        control_event_new(CONTROL_WORKER_GONE, record->ticket);
    event->worker = worker->number;
    event->status = status;
    snprintf(event->text, sizeof event->text, "%s", text);
    event->replaced = !worker->gone;
    if (body) {
        event->executing = body->executing;
        for (size_t i = 0; i < body->n_begun; i++)
            event->begun[rfaas_tag_slot(body->begun[i])] =
                (uint16_t)(rfaas_tag_use(body->begun[i]) + 1);
    }
    control_event_post(record->control, event);
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct remote_worker *worker = arg;
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "worker %u: its executor has gone", worker->number);
    worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
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
        on_death(-1, 0, worker); /* it has never been connected */
        return;
    }
    evtimer_add(record->limit, &END_LIMIT);
}

/* Whoever should have ended the workers hasn't: a stopped process, perhaps. The open
 * descriptor shows that the process is still there, so the pid is its own. */
static void send_kill(const struct remote_worker *worker)
{
    Rfaas__WorkerKill body = RFAAS__WORKER_KILL__INIT;
    body.lease = worker->record->id;
    body.worker = worker->number;
    body.pid = (uint32_t)worker->pid;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_KILL;
    message.worker_kill = &body;
    link_send(worker->link, &message, NULL, 0);
}

/* By its descriptor it can be no other process; a pipe's is refused, and then the
 * process is still there if the pipe is. On another node its executor does it. */
void remote_worker_kill(const struct remote_worker *worker)
{
    if (worker->link && worker->link->remote) {
        send_kill(worker);
        return;
    }
    if (worker->pid > 0 &&
        syscall(SYS_pidfd_send_signal, worker->alive_fd, SIGKILL, NULL, 0) < 0 &&
        errno != ESRCH)
        kill(worker->pid, SIGKILL);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct record *record = arg;
    for (unsigned i = 0; i < record->worker_count; i++) {
        struct remote_worker *worker = &record->workers[i];
        if (worker->gone || (worker->link && !record->ended))
            continue;
        if (worker->killed) {
            on_death(-1, 0, worker); /* the kernel holds it; it runs no more code */
            continue;
        }
        remote_worker_kill(worker);
        worker->killed = true;
        worker_orphaned(worker);
    }
}

void record_ended(struct record *record, int status, const char *text)
{
    if (record->ended)
        return;
    record->ended = true;
    if (record->renewal)
        evtimer_del(record->renewal);
    if (record->limit && record->worker_count > 0)
        evtimer_add(record->limit, &END_LIMIT);
    struct control_event *event =
        control_event_new(CONTROL_LEASE_ENDED, record->ticket);
    event->status = status;
    snprintf(event->text, sizeof event->text, "%s", text);
    control_event_post(record->control, event);
}

void record_free(struct record *record)
{
    for (unsigned i = 0; i < record->worker_count; i++) {
        if (record->workers[i].death)
            event_free(record->workers[i].death);
        if (record->workers[i].alive_fd >= 0)
            close(record->workers[i].alive_fd);
    }
    free(record->workers);
    if (record->renewal)
        event_free(record->renewal);
    if (record->limit)
        event_free(record->limit);
    HASH_DEL(record->control->records, record);
    free(record);
}
