/* Connections to executors: what the client tells them, what they tell of workers. */
#include "client/control_thread.h"

#include "base/error.h"
#include "base/log.h"
#include "control/dial.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* ---- telling --------------------------------------------------------------------- */

void link_send(struct link *link, const Rfaas__Message *message, const int fds[],
               int fd_count)
{
    if (link->connection)
        rfaas_connection_send(link->connection, message, fds, fd_count);
}

const char *link_transport(const struct link *link)
{
    const struct control_transports *transports = &link->control->transports;
    return link->remote ? transports->remote : transports->local;
}

void link_introduce_memory(struct link *link, const struct offered_memory *memory)
{
    if (strcmp(memory->transport, link_transport(link)) != 0)
        return;
    Rfaas__MemoryAdd body = RFAAS__MEMORY_ADD__INIT;
    body.key = memory->key;
    body.memory = (ProtobufCBinaryData){memory->blob.size,
                                        (uint8_t *)(uintptr_t)memory->blob.bytes};
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_MEMORY_ADD;
    message.memory_add = &body;
    link_send(link, &message, memory->blob.fds, memory->blob.fd_count);
}

void link_introduce_function(struct link *link, const struct offered_function *function)
{
    Rfaas__FunctionAdd body = RFAAS__FUNCTION_ADD__INIT;
    body.function = function->number;
    body.name = function->name;
    body.path = function->path;
    body.sha256 = (ProtobufCBinaryData){sizeof function->sha256,
                                        (uint8_t *)(uintptr_t)function->sha256};
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_FUNCTION_ADD;
    message.function_add = &body;
    link_send(link, &message, NULL, 0);
}

/* ---- hearing --------------------------------------------------------------------- */

static void on_library_wanted(struct link *link, const Rfaas__LibraryWanted *body)
{
    struct offered_function *f;
    if (body->sha256.len != SHA256_SIZE)
        return;
    LL_FOREACH(link->control->functions, f) {
        if (memcmp(f->sha256, body->sha256.data, SHA256_SIZE) != 0)
            continue;
        Rfaas__LibraryBytes bytes = RFAAS__LIBRARY_BYTES__INIT;
        bytes.sha256 = body->sha256;
        bytes.content = (ProtobufCBinaryData){f->size, f->content};
        Rfaas__Message message = RFAAS__MESSAGE__INIT;
        message.body_case = RFAAS__MESSAGE__BODY_LIBRARY_BYTES;
        message.library_bytes = &bytes;
        link_send(link, &message, NULL, 0);
        return;
    }
}

static struct remote_worker *worker_find(struct link *link, uint64_t lease,
                                         uint64_t part, uint32_t number)
{
    struct record *record = record_by_id(link->control, lease);
    struct remote_worker *worker =
        record && part != 0 ? remote_worker_find(record, part, number) : NULL;
    if (!worker || worker->link != link || worker->gone)
        return NULL; /* of a lease that is over, or not this executor's */
    return worker;
}

/* Takes `count` descriptors from `first` on into the blob. */
static void blob_take(struct rfaas_blob *blob, ProtobufCBinaryData bytes,
                      struct rfaas_received *received, int first, int count)
{
    blob->size = bytes.len;
    if (bytes.len > 0)
        memcpy(blob->bytes, bytes.data, bytes.len);
    for (int i = 0; i < count; i++) {
        blob->fds[blob->fd_count++] = received->fds[first + i];
        received->fds[first + i] = -1;
    }
}

static void on_worker_ready(struct link *link, struct rfaas_received *received)
{
    const Rfaas__WorkerReady *body = received->message->worker_ready;
    struct remote_worker *worker =
        worker_find(link, body->lease, body->part, body->worker);
    int of_endpoint = link->remote ? 0 : (int)body->endpoint_descriptors;
    int of_memory = link->remote ? 0 : received->fd_count - of_endpoint - 1;
    if (!worker)
        return;
    /* Without a pid it would never be said to have gone. */
    if (worker->pid != 0 || body->pid == 0 || body->pid > INT32_MAX ||
        of_endpoint < 0 || of_endpoint > RFAAS_BLOB_FDS_MAX || of_memory < 0 ||
        of_memory > RFAAS_BLOB_FDS_MAX || body->endpoint.len > RFAAS_BLOB_SIZE_MAX ||
        body->memory.len > RFAAS_BLOB_SIZE_MAX) {
        rfaas_warn("%s: malformed readiness of worker %u",
                   rfaas_connection_name(link->connection), body->worker);
        return;
    }
    worker->pid = (pid_t)body->pid;
    if (!link->remote) {
        worker->alive_fd = received->fds[received->fd_count - 1];
        received->fds[received->fd_count - 1] = -1;
    }
    struct control_event *event =
        control_event_new(CONTROL_WORKER_READY, worker->record->ticket);
    event->worker = worker->number;
    event->part = worker->part;
    event->retired = worker->retired;
    event->pid = worker->pid;
    event->transport = link_transport(link);
    event->slots_address = body->slots_address;
    blob_take(&event->endpoint, body->endpoint, received, 0, of_endpoint);
    blob_take(&event->memory, body->memory, received, of_endpoint, of_memory);
    control_event_post(link->control, event);
}

static void on_worker_moved(struct link *link, const Rfaas__WorkerMoved *body)
{
    struct remote_worker *worker =
        worker_find(link, body->lease, body->part, body->worker);
    if (!worker || worker->pid != (pid_t)body->pid)
        return;
    if (body->endpoint.len > RFAAS_BLOB_SIZE_MAX) {
        rfaas_warn("%s: malformed address of worker %u",
                   rfaas_connection_name(link->connection), body->worker);
        return;
    }
    struct control_event *event =
        control_event_new(CONTROL_WORKER_MOVED, worker->record->ticket);
    event->worker = worker->number;
    event->part = worker->part;
    event->retired = worker->retired;
    event->pid = worker->pid;
    event->connection = body->connection;
    blob_take(&event->endpoint, body->endpoint, NULL, 0, 0);
    control_event_post(link->control, event);
}

/* What the end of a worker's process means for the invocation that it was running. */
static int gone_status(const Rfaas__WorkerGone *body, char *text, size_t size)
{
    const char *doing = body->executing ? "in the function" : "while idle";
    switch (body->how) {
    case RFAAS__WORKER_END__WORKER_END_SIGNALLED:
        snprintf(text, size, "worker %u (pid %u): killed by signal %d (%s) %s",
                 body->worker, body->pid, body->value, strsignal(body->value), doing);
        /* Functions crash by other signals; this one comes from outside. */
        return body->value == SIGKILL || !body->executing ? RFAAS_ERR_WORKER_LOST
                                                          : RFAAS_ERR_FUNCTION;
    case RFAAS__WORKER_END__WORKER_END_EXITED:
        snprintf(text, size, "worker %u (pid %u): exited with status %d %s",
                 body->worker, body->pid, body->value, doing);
        return body->executing ? RFAAS_ERR_FUNCTION : RFAAS_ERR_WORKER_LOST;
    case RFAAS__WORKER_END__WORKER_END_LEASE:
        snprintf(text, size, "worker %u (pid %u): ended with its lease", body->worker,
                 body->pid);
        return lease_end_status((Rfaas__LeaseEnd)body->value);
    default:
        snprintf(text, size, "worker %u: could not be started: %s", body->worker,
                 strerror(body->value));
        return RFAAS_ERR_WORKER_LOST;
    }
}

static void on_worker_gone(struct link *link, const Rfaas__WorkerGone *body)
{
    struct remote_worker *worker =
        worker_find(link, body->lease, body->part, body->worker);
    char text[CONTROL_TEXT_MAX];
    if (!worker)
        return;
    int status = gone_status(body, text, sizeof text);
    worker->record->execute_ns += body->execute_ns;
    worker->record->hot_ns += body->hot_ns;
    if (body->retired && worker->pid == 0) { /* it ended before it was ready */
        remote_worker_retire(worker);
        return;
    }
    /* The manager says it too, perhaps later: nobody should find the lease alive after
     * it has ended an invocation. An executor that goes revokes only its own part. */
    if (body->how == RFAAS__WORKER_END__WORKER_END_LEASE &&
        status != RFAAS_ERR_LEASE_REVOKED) {
        char why[CONTROL_TEXT_MAX];
        snprintf(why, sizeof why, "lease %llu: %s", (unsigned long long)body->lease,
                 rfaas_status_string(status));
        record_ended(worker->record, status, why);
    }
    worker_gone(worker, status, text, body);
}

static void on_workers_retire(struct link *link, const Rfaas__WorkersRetire *body)
{
    struct record *record = record_by_id(link->control, body->lease);
    for (unsigned i = 0; record && i < record->worker_count; i++) {
        struct remote_worker *worker = record->workers[i];
        if (worker->link == link && worker->part == body->part &&
            worker->number - worker->first >= body->keep &&
            !remote_worker_retire(worker))
            rfaas_error("out of memory for another worker %u", i);
    }
}

static void on_function_broken(struct link *link, const Rfaas__FunctionBroken *body)
{
    struct control_event *event = control_event_new(CONTROL_FUNCTION_BROKEN, 0);
    event->value = body->function;
    snprintf(event->text, sizeof event->text, "%s", body->reason);
    control_event_post(link->control, event);
}

static void on_usage_report(struct link *link, const Rfaas__Message *m)
{
    const uint64_t used[CALL_VALUES] = {m->usage_report->execute_ns,
                                        m->usage_report->hot_ns};
    control_answer(link->control, m->call, RFAAS_OK, used);
}

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct link *link = arg;
    const Rfaas__Message *m = received->message;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_WORKER_READY:
        on_worker_ready(link, received);
        break;
    case RFAAS__MESSAGE__BODY_WORKER_MOVED:
        on_worker_moved(link, m->worker_moved);
        break;
    case RFAAS__MESSAGE__BODY_WORKERS_RETIRE:
        on_workers_retire(link, m->workers_retire);
        break;
    case RFAAS__MESSAGE__BODY_WORKER_GONE:
        on_worker_gone(link, m->worker_gone);
        break;
    case RFAAS__MESSAGE__BODY_LIBRARY_WANTED:
        on_library_wanted(link, m->library_wanted);
        break;
    case RFAAS__MESSAGE__BODY_LIBRARY_REFUSED:
        rfaas_error("%s refused a library: %s", rfaas_connection_name(connection),
                    m->library_refused->reason);
        break;
    case RFAAS__MESSAGE__BODY_FUNCTION_BROKEN:
        on_function_broken(link, m->function_broken);
        break;
    case RFAAS__MESSAGE__BODY_USAGE_REPORT:
        on_usage_report(link, m);
        break;
    default:
        rfaas_warn("%s sent a message that executors don't send",
                   rfaas_connection_name(connection));
    }
}

/* ---- opening and closing --------------------------------------------------------- */

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    struct link *link = arg;
    (void)status;
    rfaas_warn("%s has gone", rfaas_connection_name(connection));
    link_free(link);
}

static const struct rfaas_connection_calls executor_calls = {
    .message = on_message,
    .closed = on_closed,
};

/* There is no connection, for the reason in rfaas_last_error: so no worker there has
 * ever been, and none will be. */
static void link_fail(struct link *link)
{
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "executor on %s: %s", link->node, rfaas_last_error());
    rfaas_warn("%s", text);
    struct record *record, *next;
    HASH_ITER(hh, link->control->records, record, next) {
        struct remote_worker *worker, *after;
        DL_FOREACH_SAFE(record->all, worker, after) {
            if (worker->link != link)
                continue;
            worker->link = NULL;
            worker_gone(worker, RFAAS_ERR_WORKER_LOST, text, NULL);
        }
    }
    link_free(link);
}

/* Tells the executor all that it has to know by now. */
static void link_catch_up(struct link *link)
{
    struct offered_memory *memory;
    LL_FOREACH(link->control->memories, memory)
        link_introduce_memory(link, memory);
    struct offered_function *function;
    LL_FOREACH(link->control->functions, function)
        link_introduce_function(link, function);
    struct record *record, *next;
    HASH_ITER(hh, link->control->records, record, next)
        record_open(record, link);
}

static void on_dialled(int status, struct rfaas_stream *stream, void *arg);

/* Why it isn't called over the network: `before` is what happened first. */
static int no_transport(const struct rfaas_control *control, const char *before)
{
    return rfaas_fail(RFAAS_ERR_WORKER_LOST,
                      "%sreached over the network, which needs the transport verbs: %s",
                      before, control->transports.why_not);
}

static int link_dial(struct link *link)
{
    struct rfaas_control *control = link->control;
    const struct rfaas_introduction who = {
        .address = link->remote ? link->network_address : link->address,
        .what = "executor",
        .key = &control->key,
        .role = RFAAS__ROLE__ROLE_CLIENT,
        .name = control->name};
    return rfaas_dial_new(control->base, &who, RFAAS_MESSAGE_MAX, on_dialled, link,
                          &link->dial);
}

/* It is not to be met on this node after all: it may be in another network namespace. */
static int link_dial_again(struct link *link)
{
    rfaas_dial_free(link->dial);
    link->dial = NULL;
    if (!link->control->transports.remote) {
        char before[CONTROL_TEXT_MAX];
        snprintf(before, sizeof before, "%s; ", rfaas_last_error());
        return no_transport(link->control, before);
    }
    link->remote = true;
    return link_dial(link);
}

static void on_dialled(int status, struct rfaas_stream *stream, void *arg)
{
    struct link *link = arg;
    if (status == RFAAS_ERR_MANAGER && !link->remote && link->network_address[0]) {
        if (link_dial_again(link) != RFAAS_OK)
            link_fail(link);
        return;
    }
    char name[RFAAS_ADDRESS_MAX + 16];
    snprintf(name, sizeof name, "executor %s",
             link->remote ? link->network_address : link->address);
    if (status == RFAAS_OK) {
        status = rfaas_connection_new(link->control->base, stream, name,
                                      &executor_calls, link, &link->connection);
        if (status != RFAAS_OK)
            rfaas_stream_free(stream);
    }
    if (status != RFAAS_OK) {
        link_fail(link);
        return;
    }
    rfaas_dial_free(link->dial);
    link->dial = NULL;
    link_catch_up(link);
}

struct link *link_open(struct rfaas_control *control, const Rfaas__LeasePart *part)
{
    struct link *link;
    bool remote = part->network_address[0] != '\0' &&
                  strcmp(part->boot_id, control->boot_id) != 0;
    LL_FOREACH(control->links, link)
        if (strcmp(link->address, part->address) == 0)
            return link;
    if (remote && !control->transports.remote) {
        no_transport(control, "");
        return NULL;
    }
    link = calloc(1, sizeof *link);
    if (!link) {
        rfaas_fail(RFAAS_ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    link->control = control;
    link->remote = remote;
    snprintf(link->address, sizeof link->address, "%s", part->address);
    snprintf(link->network_address, sizeof link->network_address, "%s",
             part->network_address);
    snprintf(link->node, sizeof link->node, "%s", part->node);
    if (link_dial(link) != RFAAS_OK) {
        free(link);
        return NULL;
    }
    LL_APPEND(control->links, link);
    return link;
}

void link_free(struct link *link)
{
    struct rfaas_control *control = link->control;
    LL_DELETE(control->links, link);
    struct record *record, *next;
    HASH_ITER(hh, control->records, record, next) {
        struct remote_worker *worker, *after;
        DL_FOREACH_SAFE(record->all, worker, after)
            if (worker->link == link)
                worker_orphaned(worker);
    }
    rfaas_dial_free(link->dial);
    rfaas_connection_free(link->connection);
    free(link);
}
