/* Leases and their workers, as who invokes sees them. */
#include "client/client.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>

enum {
    ANSWER_SECONDS = 10, /* for the manager to answer, beyond wait_seconds */
};

/* ---- what happens to a lease ----------------------------------------------------- */

void lease_fail_queued(rfaas_lease *lease, int status, const char *text)
{
    rfaas_request *request;
    while ((request = lease->queue)) {
        DL_DELETE(lease->queue, request);
        request_end(request, status, -1, text);
    }
    for (int i = 0; i < lease->worker_count; i++)
        while ((request = lease->workers[i]->queue)) {
            DL_DELETE(lease->workers[i]->queue, request);
            request_end(request, status, -1, text);
        }
}

bool lease_any_alive(const rfaas_lease *lease)
{
    for (int i = 0; i < lease->worker_count; i++)
        if (lease->workers[i]->state != WORKER_GONE)
            return true;
    return false;
}

static void lease_end(rfaas_lease *lease, int status, const char *text)
{
    if (atomic_load_explicit(&lease->status, memory_order_relaxed) < 0)
        return;
    if (text != lease->text)
        snprintf(lease->text, sizeof lease->text, "%s", text);
    /* Release: who reads the status without the lock reads the text next. */
    atomic_store_explicit(&lease->status, status, memory_order_release);
    lease_fail_queued(lease, status, lease->text);
}

/* The worker has got ready for the first time, or never will. */
static void worker_settle(struct client_worker *worker)
{
    rfaas_lease *lease = worker->lease;
    if (worker->settled)
        return;
    worker->settled = true;
    if (--lease->unsettled > 0)
        return;
    for (int i = 0; i < lease->worker_count; i++)
        if (lease->workers[i]->state != WORKER_GONE) {
            atomic_store_explicit(&lease->status, RFAAS_OK, memory_order_release);
            return;
        }
    lease_end(lease, lease->workers[0]->gone_status, lease->text);
}

static void on_granted(rfaas_lease *lease, const struct control_event *event)
{
    uint64_t now = rfaas_clock_ns();
    lease->granted = true;
    lease->counted_at = now;
    lease->deadline = now + START_SECONDS * 1000000000ull;
    lease->unsettled = (int)event->value;
    if (workers_count(lease, (int)event->value) != RFAAS_OK)
        lease_end(lease, RFAAS_ERR_NO_MEMORY, "out of memory for a lease's workers");
}

static void worker_end(rfaas_lease *lease, struct client_worker *worker,
                       const struct control_event *event)
{
    int over = atomic_load_explicit(&lease->status, memory_order_relaxed);
    bool replaced = event->replaced && !worker->retired;
    worker_detach(worker);
    worker->pid = 0;
    worker->reached = false;
    worker->state = replaced ? WORKER_STARTING : WORKER_GONE;
    worker->gone_status = event->status;
    if (over < 0) /* the lease's end is the cause, the worker's the effect */
        invoke_worker_gone(worker, over, lease->text, NULL);
    else
        invoke_worker_gone(worker, event->status, event->text, event);
    if (!worker->settled && over == RFAAS_IN_PROGRESS && !replaced) {
        snprintf(lease->text, sizeof lease->text, "%s", event->text);
        worker_settle(worker);
    }
}

static void on_worker_gone(rfaas_lease *lease, struct client_worker *worker,
                           const struct control_event *event)
{
    if (worker->state != WORKER_GONE)
        worker_end(lease, worker, event);
    else /* it was given up, but it could still write until now */
        worker_detach(worker);
    if (worker->retired)
        worker_free(worker);
}

/* Its executor is being drained: what waits is for who gets the number next. */
static void on_worker_retired(struct client_worker *worker,
                              const struct control_event *event)
{
    rfaas_lease *lease = worker->lease;
    if (worker_succeed(worker, event->part) != RFAAS_OK)
        lease_end(lease, RFAAS_ERR_NO_MEMORY, "out of memory for a lease's workers");
}

void lease_worker_fail(struct client_worker *worker, const char *why)
{
    rfaas_lease *lease = worker->lease;
    bool settled = worker->settled;
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "worker %d: %.280s", worker->number, why);
    worker->state = WORKER_GONE;
    worker->gone_status = RFAAS_ERR_WORKER_LOST;
    invoke_worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
    if (!settled)
        snprintf(lease->text, sizeof lease->text, "%s", text);
    worker_settle(worker);
    invoke_queued(lease);
}

/* Until the lease has become active its own deadline counts; connections that have failed
 * have theirs at the executor. */
static void on_worker_late(const rfaas_lease *lease, struct client_worker *worker,
                           const struct control_event *event)
{
    if (atomic_load_explicit(&lease->status, memory_order_relaxed) == RFAAS_OK &&
        worker->state == WORKER_STARTING && !worker->reached)
        lease_worker_fail(worker, event->text);
}

static void on_worker_ready(rfaas_lease *lease, struct client_worker *worker,
                            const struct control_event *event)
{
    if (worker->endpoint || worker->state == WORKER_GONE ||
        atomic_load_explicit(&lease->status, memory_order_relaxed) < 0)
        return;
    if (worker_attach(worker, event) != RFAAS_OK)
        lease_worker_fail(worker, rfaas_last_error());
}

bool lease_worker_connected(struct client_worker *worker)
{
    if (worker->connected)
        return false;
    if (!worker->reached)
        worker_reached(worker);
    worker->connected = true;
    if (worker->state != WORKER_STARTING ||
        atomic_load_explicit(&worker->lease->status, memory_order_relaxed) < 0)
        return true;
    worker->state = WORKER_READY;
    worker->cut_off = false;
    worker_settle(worker);
    invoke_queued(worker->lease);
    return true;
}

/* The worker that the event is about; NULL: it has left the lease. */
static struct client_worker *event_worker(rfaas_lease *lease,
                                          const struct control_event *event)
{
    struct client_worker *worker = NULL;
    if (event->kind == CONTROL_WORKER_GONE || event->kind == CONTROL_WORKER_MOVED)
        worker = worker_retired(lease, event->part, (int)event->worker);
    if (!worker && !event->retired && (int)event->worker < lease->worker_count)
        worker = lease->workers[event->worker];
    return worker;
}

void lease_event(rfaas_session *session, struct control_event *event)
{
    rfaas_lease *lease;
    DL_SEARCH_SCALAR(session->leases, lease, ticket, event->ticket);
    if (!lease)
        return; /* released meanwhile */
    struct client_worker *worker = event_worker(lease, event);
    switch (event->kind) {
    case CONTROL_LEASE_GRANTED:
        on_granted(lease, event);
        break;
    case CONTROL_LEASE_RESIZED:
        lease_resized(lease, event);
        break;
    case CONTROL_LEASE_ENDED:
        lease_end(lease, event->status, event->text);
        break;
    case CONTROL_WORKER_READY:
        if (worker)
            on_worker_ready(lease, worker, event);
        break;
    case CONTROL_WORKER_MOVED:
        if (worker)
            worker_moved(worker, event);
        break;
    case CONTROL_WORKER_LATE:
        if (worker)
            on_worker_late(lease, worker, event);
        break;
    case CONTROL_WORKER_RETIRED:
        if (worker)
            on_worker_retired(worker, event);
        break;
    case CONTROL_WORKER_GONE:
        if (worker)
            on_worker_gone(lease, worker, event);
        break;
    case CONTROL_FUNCTION_BROKEN:
        break; /* of the session */
    }
}

/* ---- acquiring ------------------------------------------------------------------- */

static void terms_of(rfaas_lease *lease, int workers, struct lease_terms *terms)
{
    const struct rfaas_config *config = &lease->config;
    uint64_t share = (uint64_t)config->memory_per_worker / (uint64_t)config->slots;
    uint64_t least = RFAAS_SLOT_OVERHEAD + (uint64_t)config->inline_max;
    lease->slot_size = ((share > least ? share : least) + 63) / 64 * 64;
    *terms = (struct lease_terms){
        .workers = (uint32_t)workers,
        .min_workers = (uint32_t)config->min_workers,
        .cores_per_worker = (uint32_t)config->cores_per_worker,
        .memory_per_worker = lease->slot_size * (uint64_t)config->slots,
        .duration_ns = rfaas_seconds_to_ns(config->lease_seconds),
        .wait_ns = rfaas_seconds_to_ns(config->wait_seconds),
        .slots = (uint32_t)config->slots,
        .slot_size = lease->slot_size,
        .inline_max = (uint32_t)config->inline_max,
        .hot_timeout_us = config->hot_timeout_us,
        .log_level = (uint32_t)config->log_level,
    };
    lease->deadline =
        rfaas_clock_ns() + terms->wait_ns + ANSWER_SECONDS * 1000000000ull;
}

enum { ACTIVITY_SIZE = LEASE_WORKERS_MAX * sizeof(struct worker_activity) };

/* For as many workers as a lease can ever have, as it may grow while the client's thread
 * reads it. What isn't written to costs no memory. */
static struct worker_activity *activity_room(void)
{
    void *room = mmap(NULL, ACTIVITY_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room == MAP_FAILED ? NULL : room;
}

static void lease_free(rfaas_lease *lease)
{
    munmap(lease->activity, ACTIVITY_SIZE);
    free(lease);
}

int rfaas_lease_iacquire(rfaas_session *session, int workers,
                         const char *const settings[], rfaas_lease **out)
{
    if (!session || !out || workers < 1)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "acquiring a lease: %s",
                          workers < 1 ? "less than one worker is asked for"
                                      : "a NULL argument");
    rfaas_lease *lease = calloc(1, sizeof *lease);
    if (lease)
        lease->activity = activity_room();
    if (!lease || !lease->activity) {
        free(lease);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "acquiring a lease: out of memory");
    }
    lease->session = session;
    lease->config = session->config;
    int status = rfaas_config_apply(&lease->config, settings);
    if (status == RFAAS_OK && lease->config.min_workers > workers)
        status = rfaas_fail(RFAAS_ERR_ARGUMENT,
                            "acquiring a lease: min_workers=%lld of %d workers",
                            (long long)lease->config.min_workers, workers);
    struct lease_terms terms;
    if (status == RFAAS_OK) {
        terms_of(lease, workers, &terms);
        atomic_init(&lease->status, RFAAS_IN_PROGRESS);
        session_lock(session);
        lease->ticket = session->next_ticket++;
        status =
            control_acquire(session->control, lease->ticket, &terms, lease->activity);
        if (status == RFAAS_OK)
            DL_APPEND(session->leases, lease);
        session_unlock(session);
    }
    if (status != RFAAS_OK) {
        lease_free(lease);
        return status;
    }
    *out = lease;
    return RFAAS_OK;
}

static int lease_check_deadline(rfaas_lease *lease)
{
    session_lock(lease->session);
    int status = atomic_load_explicit(&lease->status, memory_order_relaxed);
    if (status == RFAAS_IN_PROGRESS && rfaas_clock_ns() >= lease->deadline)
        lease_end(lease, lease->granted ? RFAAS_ERR_WORKER_LOST : RFAAS_ERR_MANAGER,
                  lease->granted ? "acquiring a lease: workers don't get ready"
                                 : "acquiring a lease: the manager doesn't answer");
    status = atomic_load_explicit(&lease->status, memory_order_relaxed);
    session_unlock(lease->session);
    return status;
}

int rfaas_lease_test(rfaas_lease *lease)
{
    if (!lease)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_lease_test: lease is NULL");
    rfaas_progress(lease->session);
    /* Acquire: the lease's workers and text were written before it. */
    int status = atomic_load_explicit(&lease->status, memory_order_acquire);
    if (status == RFAAS_IN_PROGRESS)
        status = lease_check_deadline(lease);
    if (status < 0)
        return rfaas_fail(status, "%s", lease->text);
    return status;
}

int rfaas_lease_acquire(rfaas_session *session, int workers,
                        const char *const settings[], rfaas_lease **lease)
{
    rfaas_lease *acquired = NULL;
    int status =
        rfaas_lease_iacquire(session, workers, settings, lease ? &acquired : NULL);
    if (status != RFAAS_OK)
        return status;
    for (unsigned turn = 0; (status = rfaas_lease_test(acquired)) == RFAAS_IN_PROGRESS;
         turn++)
        session_pause(session, turn, true);
    if (status == RFAAS_OK) {
        *lease = acquired;
        return RFAAS_OK;
    }
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "%s", acquired->text);
    rfaas_lease_release(acquired);
    return rfaas_fail(status, "%s", text);
}

/* ---- using ----------------------------------------------------------------------- */

int rfaas_lease_workers(const rfaas_lease *lease)
{
    return lease ? atomic_load_explicit(&lease->size, memory_order_relaxed) : 0;
}

bool rfaas_lease_has_worker(rfaas_lease *lease, int worker)
{
    session_lock(lease->session);
    bool there =
        atomic_load_explicit(&lease->status, memory_order_relaxed) == RFAAS_OK &&
        worker < lease->worker_count && lease->workers[worker]->state != WORKER_GONE;
    session_unlock(lease->session);
    return there;
}

rfaas_session *rfaas_lease_session(const rfaas_lease *lease)
{
    return lease->session;
}

int rfaas_lease_renew(rfaas_lease *lease, double seconds)
{
    if (!lease || !(seconds > 0) || seconds > 1e9)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "renewing a lease: %s",
                          lease ? "the time has to be above 0 and at most 1e9 seconds"
                                : "it is NULL");
    int status = rfaas_lease_test(lease);
    if (status == RFAAS_IN_PROGRESS)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "renewing a lease: it isn't granted yet");
    if (status < 0)
        return status;
    return control_renew(lease->session->control, lease->ticket,
                         rfaas_seconds_to_ns(seconds));
}

int rfaas_lease_usage(rfaas_lease *lease, struct rfaas_usage *usage)
{
    if (!lease || !usage)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "usage of a lease: a NULL argument");
    uint64_t execute_ns, hot_ns;
    control_usage(lease->session->control, lease->ticket, &execute_ns, &hot_ns);
    session_lock(lease->session);
    *usage = (struct rfaas_usage){
        .invocations = lease->ended,
        .failures = lease->failures,
        .execute_ns = execute_ns,
        .hot_ns = hot_ns,
        .bytes_in = lease->bytes_in,
        .bytes_out = lease->bytes_out,
        .lease_ns = lease->counted_ns + (uint64_t)lease->worker_count *
                                            (rfaas_clock_ns() - lease->counted_at),
    };
    session_unlock(lease->session);
    return RFAAS_OK;
}

/* ---- releasing ------------------------------------------------------------------- */

static bool has_invocations(const rfaas_lease *lease)
{
    return lease->underway > 0;
}

void rfaas_lease_release(rfaas_lease *lease)
{
    if (!lease)
        return;
    rfaas_session *session = lease->session;
    session_lock(session);
    lease_end(lease, RFAAS_ERR_LEASE_RELEASED, "the lease was released");
    bool waiting = has_invocations(lease);
    session_unlock(session);
    /* Memory of invocations that run is the user's again only when their workers are
     * dead. The client's thread sees to it that they are within seconds. */
    if (waiting && control_release(session->control, lease->ticket) == RFAAS_OK)
        for (unsigned turn = 0; waiting; turn++) {
            rfaas_progress(session);
            session_lock(session);
            waiting = has_invocations(lease);
            session_unlock(session);
            if (waiting)
                session_pause(session, turn, true);
        }
    session_finish(session);
    control_forget(session->control, lease->ticket);
    session_lock(session);
    DL_DELETE(session->leases, lease);
    workers_free(lease);
    session_unlock(session);
    lease_free(lease);
}
