/* Leases as the client's thread knows them: granted, renewed, ended, and whether the
 * processes of their workers live. */
#include "client/control_thread.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

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

static void part_start(const struct record *record, const struct remote_worker *worker,
                       struct link *link)
{
    const struct lease_terms *terms = &record->terms;
    Rfaas__LeaseOpen body = RFAAS__LEASE_OPEN__INIT;
    body.lease = record->id;
    body.part = worker->part;
    body.token = record->token;
    body.first_worker = worker->first;
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

void record_open(const struct record *record, struct link *link)
{
    uint64_t started = 0;
    if (record->ended || !link->connection)
        return;
    for (unsigned i = 0; i < record->worker_count; i++) {
        struct remote_worker *worker = record->workers[i];
        if (worker->link != link || worker->opened)
            continue;
        if (worker->part != started) /* workers of one part are neighbours */
            part_start(record, worker, link);
        started = worker->part;
        worker->opened = true;
    }
}

/* Whether the parts lie within the lease. */
static bool is_sound(const Rfaas__LeaseGrant *grant)
{
    if (grant->workers == 0 || grant->workers > LEASE_WORKERS_MAX)
        return false;
    for (size_t i = 0; i < grant->n_parts; i++) {
        const Rfaas__LeasePart *part = grant->parts[i];
        if (part->part == 0 || part->first > grant->workers ||
            part->workers > grant->workers - part->first)
            return false;
    }
    return true;
}

/* The part's workers get their numbers. Whoever has one of them is being drained. */
static void part_open(struct record *record, const Rfaas__LeasePart *part)
{
    struct link *link = link_open(record->control, part);
    char text[CONTROL_TEXT_MAX];
    if (!link)
        snprintf(text, sizeof text, "executor on %s: %s", part->node,
                 rfaas_last_error());
    for (unsigned i = part->first; i < part->first + part->workers; i++) {
        /* The lease may have got smaller meanwhile. */
        if (i >= record->worker_count || (record->workers[i]->part != 0 &&
                                          !remote_worker_retire(record->workers[i])))
            break;
        struct remote_worker *worker = record->workers[i];
        worker->part = part->part;
        worker->first = part->first;
        worker->link = link;
        if (!link)
            worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
        else
            remote_worker_starts(worker);
    }
    if (link)
        record_open(record, link);
}

static void on_renewal(evutil_socket_t fd, short what, void *arg);
static void on_limit(evutil_socket_t fd, short what, void *arg);

/* The first grant: from now on the lease is kept alive. */
static bool record_begin(struct record *record, const Rfaas__LeaseGrant *grant)
{
    struct event_base *base = record->control->base;
    record->id = grant->lease;
    record->token = grant->token;
    record->renewal = evtimer_new(base, on_renewal, record);
    record->limit = evtimer_new(base, on_limit, record);
    if (!record->renewal || !record->limit)
        return false;
    record_renew(record);
    return true;
}

void record_granted(struct record *record, const Rfaas__LeaseGrant *grant, bool asked)
{
    bool first = record->id == 0;
    bool good = is_sound(grant) && (!first || record_begin(record, grant)) &&
                (!(first || (asked && grant->workers > record->worker_count)) ||
                 remote_workers_count(record, grant->workers));
    if (!good) {
        record_send_release(record->control, grant->lease, record->ticket);
        record_ended(record, RFAAS_ERR_NO_MEMORY, "client: out of memory for a lease");
        return;
    }
    if (first) {
        struct control_event *event =
            control_event_new(CONTROL_LEASE_GRANTED, record->ticket);
        event->value = record->worker_count;
        control_event_post(record->control, event);
    } else if (asked) {
        record_resized(record, RFAAS_OK, "");
    }
    for (size_t i = 0; i < grant->n_parts; i++)
        part_open(record, grant->parts[i]);
}

void record_resized(struct record *record, int status, const char *text)
{
    struct control_event *event =
        control_event_new(CONTROL_LEASE_RESIZED, record->ticket);
    event->value = record->worker_count;
    event->status = status;
    snprintf(event->text, sizeof event->text, "%s", text);
    control_event_post(record->control, event);
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
        uint64_t since = busy_since(record->workers[i], &record->activity[i], now);
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

void record_limit(struct record *record)
{
    /* How long executors have to end the workers of a lease that is over, and the
     * kernel those of an executor that is gone, before we kill them ourselves. */
    static const struct timeval limit = {.tv_sec = 1};
    evtimer_add(record->limit, &limit);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct record *record = arg;
    struct remote_worker *worker, *next;
    DL_FOREACH_SAFE(record->all, worker, next) {
        bool waits = worker->link || worker->part == 0;
        if (worker->gone || (waits && !record->ended))
            continue;
        if (worker->killed) {
            remote_worker_died(worker); /* the kernel holds it; it runs no more code */
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
        record_limit(record);
    struct control_event *event =
        control_event_new(CONTROL_LEASE_ENDED, record->ticket);
    event->status = status;
    snprintf(event->text, sizeof event->text, "%s", text);
    control_event_post(record->control, event);
}

void record_free(struct record *record)
{
    remote_workers_free(record);
    if (record->renewal)
        event_free(record->renewal);
    if (record->limit)
        event_free(record->limit);
    HASH_DEL(record->control->records, record);
    free(record);
}
