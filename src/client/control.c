#include "client/control_thread.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/dial.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

enum { MANAGER_MESSAGE_MAX = 1 << 20 };

/* ---- events ---------------------------------------------------------------------- */

struct control_event *control_event_new(enum control_event_kind kind, uint64_t ticket)
{
    struct control_event *event = calloc(1, sizeof *event);
    if (!event) {
        /* Without it a request would hang: there is no honest way on. */
        rfaas_error("out of memory for an event");
        abort();
    }
    event->kind = kind;
    event->ticket = ticket;
    return event;
}

void control_event_free(struct control_event *event)
{
    for (int i = 0; i < event->endpoint.fd_count; i++)
        close(event->endpoint.fds[i]);
    for (int i = 0; i < event->memory.fd_count; i++)
        close(event->memory.fds[i]);
    free(event);
}

void fd_signal(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one); /* fails only when it is signalled */
    (void)n;
}

void fd_drain(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count); /* fails only when there is nothing */
    (void)n;
}

void control_event_post(struct rfaas_control *control, struct control_event *event)
{
    pthread_mutex_lock(&control->lock);
    LL_APPEND(control->events, event);
    /* Relaxed: only a hint to look; the lock orders the rest. */
    atomic_store_explicit(&control->has_events, true, memory_order_relaxed);
    fd_signal(control->event_fd);
    pthread_mutex_unlock(&control->lock);
}

bool control_has_events(struct rfaas_control *control)
{
    return atomic_load_explicit(&control->has_events, memory_order_relaxed);
}

struct control_event *control_take_event(struct rfaas_control *control)
{
    pthread_mutex_lock(&control->lock);
    struct control_event *event = control->events;
    if (event)
        LL_DELETE(control->events, event);
    if (!control->events) {
        atomic_store_explicit(&control->has_events, false, memory_order_relaxed);
        fd_drain(control->event_fd);
    }
    pthread_mutex_unlock(&control->lock);
    return event;
}

int control_descriptor(const struct rfaas_control *control)
{
    return control->event_fd;
}

/* ---- the manager ----------------------------------------------------------------- */

int lease_end_status(Rfaas__LeaseEnd reason)
{
    switch (reason) {
    case RFAAS__LEASE_END__LEASE_END_RELEASED:
        return RFAAS_ERR_LEASE_RELEASED;
    case RFAAS__LEASE_END__LEASE_END_EXPIRED:
        return RFAAS_ERR_LEASE_EXPIRED;
    default:
        return RFAAS_ERR_LEASE_REVOKED;
    }
}

/* A grant that nobody waits for any more is given back. */
static void on_granted(struct rfaas_control *control, const Rfaas__Message *m)
{
    struct record *record = m->call ? record_find(control, m->call)
                                    : record_by_id(control, m->lease_grant->lease);
    if (record && !record->ended)
        record_granted(record, m->lease_grant, m->call != 0);
    else
        record_send_release(control, m->lease_grant->lease, 0);
}

static void on_refused(struct rfaas_control *control, const Rfaas__Message *m)
{
    struct record *record = record_find(control, m->call);
    if (record && record->id == 0)
        record_ended(record, m->lease_refused->status, m->lease_refused->reason);
    else if (record)
        record_resized(record, m->lease_refused->status, m->lease_refused->reason);
}

static void on_part_lost(struct rfaas_control *control,
                         const Rfaas__LeasePartLost *body)
{
    struct record *record = record_by_id(control, body->lease);
    for (unsigned i = 0; record && i < body->workers; i++)
        if (body->first < record->worker_count &&
            i < record->worker_count - body->first)
            remote_worker_abandon(record->workers[body->first + i]);
}

/* Of the executors whose end hasn't been noticed here; NULL: there is none. */
static const char *last_node(const struct record *record)
{
    for (unsigned i = 0; i < record->worker_count; i++)
        if (record->workers[i]->link)
            return record->workers[i]->link->node;
    return NULL;
}

/* Whether the manager has said of all workers that they have gone for good. */
static bool is_abandoned(const struct record *record)
{
    for (unsigned i = 0; i < record->worker_count; i++)
        if (!record->workers[i]->abandoned)
            return false;
    return true;
}

static void on_ended(struct rfaas_control *control, const Rfaas__LeaseEnded *body)
{
    struct record *record = record_by_id(control, body->lease);
    int status = lease_end_status(body->reason);
    char text[CONTROL_TEXT_MAX];
    if (!record)
        return;
    if (status == RFAAS_ERR_LEASE_REVOKED && is_abandoned(record))
        status = RFAAS_ERR_WORKER_LOST; /* what the manager revoked was gone already */
    if (status == RFAAS_ERR_WORKER_LOST)
        snprintf(text, sizeof text, "lease %llu: its executors have gone%s%s",
                 (unsigned long long)body->lease,
                 last_node(record) ? ", the last on " : "",
                 last_node(record) ? last_node(record) : "");
    else
        snprintf(text, sizeof text, "lease %llu: %s", (unsigned long long)body->lease,
                 rfaas_status_string(status));
    record_ended(record, status, text);
}

static void on_stats(struct rfaas_control *control, const Rfaas__Message *m)
{
    const Rfaas__StatsReport *body = m->stats_report;
    const uint64_t values[CALL_VALUES] = {body->executors, body->cores, body->leased,
                                          body->queued};
    control_answer(control, m->call, RFAAS_OK, values);
}

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct rfaas_control *control = arg;
    const Rfaas__Message *m = received->message;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_LEASE_GRANT:
        on_granted(control, m);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_REFUSED:
        on_refused(control, m);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_RENEWED:
        control_answer(control, m->call, m->lease_renewed->status, NULL);
        break;
    case RFAAS__MESSAGE__BODY_STATS_REPORT:
        on_stats(control, m);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_ENDED:
        on_ended(control, m->lease_ended);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_PART_LOST:
        on_part_lost(control, m->lease_part_lost);
        break;
    default:
        rfaas_warn("%s sent a message that managers don't send",
                   rfaas_connection_name(connection));
    }
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    struct rfaas_control *control = arg;
    (void)connection;
    (void)status;
    rfaas_connection_free(control->manager);
    control->manager = NULL;
    struct record *record, *next;
    HASH_ITER(hh, control->records, record, next)
        record_ended(record, RFAAS_ERR_MANAGER, "the manager has gone");
}

static const struct rfaas_connection_calls manager_calls = {
    .message = on_message,
    .closed = on_closed,
};

/* ---- the thread ------------------------------------------------------------------ */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct rfaas_control *control = arg;
    commands_run(control);
    if (control->stopping)
        event_base_loopbreak(control->base);
}

static void *thread_main(void *arg)
{
    struct rfaas_control *control = arg;
    event_base_dispatch(control->base);
    return NULL;
}

static int thread_start(struct rfaas_control *control)
{
    /* Signals are the application's business: none is taken by this thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&control->thread, NULL, thread_main, control);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        return RFAAS_OK;
    errno = error;
    return rfaas_fail(RFAAS_ERR_NO_RESOURCES, "client: starting a thread: %m");
}

static int manager_connect(struct rfaas_control *control, const char *address,
                           const struct rfaas_key *key)
{
    char node[40] = "";
    struct rfaas_stream *stream;
    gethostname(node, sizeof node - 1);
    snprintf(control->name, sizeof control->name, "client %d on %s", (int)getpid(),
             node);
    int status =
        rfaas_connect(address, "manager", key, RFAAS__ROLE__ROLE_CLIENT, control->name,
                      MANAGER_MESSAGE_MAX, &control->key, &stream);
    if (status != RFAAS_OK)
        return status;
    status = rfaas_connection_new(control->base, stream, "manager", &manager_calls,
                                  control, &control->manager);
    if (status != RFAAS_OK)
        rfaas_stream_free(stream);
    return status;
}

static void tear_down(struct rfaas_control *control)
{
    struct record *record, *next_record;
    HASH_ITER(hh, control->records, record, next_record)
        record_free(record);
    while (control->links)
        link_free(control->links);
    rfaas_connection_free(control->manager);
    struct offered_memory *memory, *next_memory;
    LL_FOREACH_SAFE(control->memories, memory, next_memory)
        offered_memory_free(memory);
    struct offered_function *function, *next_function;
    LL_FOREACH_SAFE(control->functions, function, next_function)
        offered_function_free(function);
    struct control_event *event, *next_event;
    LL_FOREACH_SAFE(control->events, event, next_event)
        control_event_free(event);
    if (control->wake)
        event_free(control->wake);
    if (control->base)
        event_base_free(control->base);
    close(control->command_fd);
    close(control->event_fd);
    pthread_cond_destroy(&control->answered);
    pthread_mutex_destroy(&control->lock);
    free(control);
}

int control_start(const struct rfaas_config *config, const struct rfaas_key *key,
                  const struct control_transports *transports,
                  struct rfaas_control **out)
{
    struct rfaas_control *control = calloc(1, sizeof *control);
    if (!control)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&control->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&control->lock, NULL);
    control->transports = *transports;
    rfaas_host_boot_id(control->boot_id);
    control->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    control->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    control->base = event_base_new();
    if (control->base)
        control->wake = event_new(control->base, control->command_fd,
                                  EV_READ | EV_PERSIST, on_wake, control);
    int status = RFAAS_OK;
    if (control->command_fd < 0 || control->event_fd < 0 || !control->wake ||
        event_add(control->wake, NULL) < 0)
        status = rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: creating its event loop: %m");
    if (status == RFAAS_OK)
        status = manager_connect(control, config->manager_address, key);
    if (status == RFAAS_OK)
        status = thread_start(control);
    if (status != RFAAS_OK) {
        tear_down(control);
        return status;
    }
    *out = control;
    return RFAAS_OK;
}

void control_stop(struct rfaas_control *control)
{
    if (!control)
        return;
    commands_stop(control);
    pthread_join(control->thread, NULL);
    tear_down(control);
}
