/* Commands to the client's thread, from those who invoke: without an answer, or waited
 * for. */
#include "client/control_thread.h"

#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum { RENEW_SECONDS = 10, USAGE_SECONDS = 1 };

/* ---- calls that are waited for --------------------------------------------------- */

void control_answer(struct rfaas_control *control, uint64_t number, int status,
                    uint64_t execute_ns, uint64_t hot_ns)
{
    struct call *call;
    pthread_mutex_lock(&control->lock);
    HASH_FIND(hh, control->calls, &number, sizeof number, call);
    if (call) {
        if (call->status == RFAAS_OK)
            call->status = status;
        call->execute_ns += execute_ns;
        call->hot_ns += hot_ns;
        if (call->answers > 0)
            call->answers--;
        pthread_cond_broadcast(&control->answered);
    }
    pthread_mutex_unlock(&control->lock);
}

/* Registers a call; the caller fills a command with its number and posts that. */
static void call_begin(struct rfaas_control *control, struct call *call)
{
    pthread_mutex_lock(&control->lock);
    call->number = ++control->next_call;
    call->answers = 1;
    HASH_ADD(hh, control->calls, number, sizeof call->number, call);
    pthread_mutex_unlock(&control->lock);
}

/* Waits until it is answered; seconds 0: for ever, for what the thread itself answers. */
static int call_end(struct rfaas_control *control, struct call *call, int seconds)
{
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += seconds;
    int error = 0;
    pthread_mutex_lock(&control->lock);
    while (call->answers > 0 && error == 0)
        error = seconds
                    ? pthread_cond_timedwait(&control->answered, &control->lock, &limit)
                    : pthread_cond_wait(&control->answered, &control->lock);
    HASH_DEL(control->calls, call);
    pthread_mutex_unlock(&control->lock);
    return error ? RFAAS_ERR_TIMEOUT : call->status;
}

/* ---- commands -------------------------------------------------------------------- */

static void command_post(struct rfaas_control *control, struct command *command)
{
    pthread_mutex_lock(&control->lock);
    LL_APPEND(control->commands, command);
    pthread_mutex_unlock(&control->lock);
    fd_signal(control->command_fd);
}

void commands_run(struct rfaas_control *control)
{
    fd_drain(control->command_fd);
    pthread_mutex_lock(&control->lock);
    struct command *command = control->commands;
    control->commands = NULL;
    pthread_mutex_unlock(&control->lock);
    while (command) {
        struct command *next = command->next;
        command->run(control, command);
        free(command);
        command = next;
    }
}

/* Declares a command's struct `name`, whose first member is the command. */
#define NEW_COMMAND(type, variable, function)                                          \
    struct type *variable = calloc(1, sizeof *variable);                               \
    if (!variable)                                                                     \
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory");               \
    variable->command.run = function

struct acquire_command {
    struct command command;
    struct record *record;
};

static void acquire_run(struct rfaas_control *control, struct command *command)
{
    struct record *record = ((struct acquire_command *)command)->record;
    HASH_ADD(hh, control->records, ticket, sizeof record->ticket, record);
    record_request(control, record);
}

int control_acquire(struct rfaas_control *control, uint64_t ticket,
                    const struct lease_terms *terms,
                    const struct worker_activity *activity)
{
    NEW_COMMAND(acquire_command, c, acquire_run);
    c->record = calloc(1, sizeof *c->record);
    if (!c->record) {
        free(c);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory for a lease");
    }
    c->record->control = control;
    c->record->ticket = ticket;
    c->record->terms = *terms;
    c->record->activity = activity;
    command_post(control, &c->command);
    return RFAAS_OK;
}

struct ticket_command {
    struct command command;
    uint64_t ticket, call, duration_ns;
    unsigned worker;
    pid_t pid;
    struct rfaas_blob endpoint;
};

static void release_run(struct rfaas_control *control, struct command *command)
{
    struct record *record =
        record_find(control, ((struct ticket_command *)command)->ticket);
    if (!record || record->ended)
        return;
    record_send_release(control, record->id, record->ticket);
    record_ended(record, RFAAS_ERR_LEASE_RELEASED, "the lease was released");
}

int control_release(struct rfaas_control *control, uint64_t ticket)
{
    NEW_COMMAND(ticket_command, c, release_run);
    c->ticket = ticket;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void forget_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (record) {
        if (!record->ended)
            record_send_release(control, record->id, record->ticket);
        record_free(record);
    }
    control_answer(control, c->call, RFAAS_OK, 0, 0);
}

void control_forget(struct rfaas_control *control, uint64_t ticket)
{
    struct call call = {0};
    struct ticket_command *c = calloc(1, sizeof *c);
    if (!c)
        abort(); /* the lease can't be freed while the thread may look at it */
    c->command.run = forget_run;
    call_begin(control, &call);
    c->ticket = ticket;
    c->call = call.number;
    command_post(control, &c->command);
    call_end(control, &call, 0);
}

static void connect_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (record && c->worker < record->worker_count && record->workers[c->worker].link) {
        Rfaas__WorkerConnect body = RFAAS__WORKER_CONNECT__INIT;
        body.lease = record->id;
        body.worker = c->worker;
        body.pid = (uint32_t)c->pid;
        body.endpoint = (ProtobufCBinaryData){c->endpoint.size, c->endpoint.bytes};
        Rfaas__Message message = RFAAS__MESSAGE__INIT;
        message.body_case = RFAAS__MESSAGE__BODY_WORKER_CONNECT;
        message.worker_connect = &body;
        link_send(record->workers[c->worker].link, &message, c->endpoint.fds,
                  c->endpoint.fd_count);
    }
    for (int i = 0; i < c->endpoint.fd_count; i++)
        close(c->endpoint.fds[i]);
}

/* A copy whose descriptors are its own. */
static int blob_copy(struct rfaas_blob *copy, const struct rfaas_blob *blob)
{
    *copy = *blob;
    for (copy->fd_count = 0; copy->fd_count < blob->fd_count; copy->fd_count++) {
        int fd = fcntl(blob->fds[copy->fd_count], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: duplicating a descriptor: %m");
            while (copy->fd_count > 0)
                close(copy->fds[--copy->fd_count]);
            return RFAAS_ERR_NO_MEMORY;
        }
        copy->fds[copy->fd_count] = fd;
    }
    return RFAAS_OK;
}

int control_connect(struct rfaas_control *control, uint64_t ticket, unsigned worker,
                    pid_t pid, const struct rfaas_blob *endpoint)
{
    NEW_COMMAND(ticket_command, c, connect_run);
    if (blob_copy(&c->endpoint, endpoint) != RFAAS_OK) {
        free(c);
        return RFAAS_ERR_NO_MEMORY;
    }
    c->ticket = ticket;
    c->worker = worker;
    c->pid = pid;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void kill_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (record && c->worker < record->worker_count &&
        record->workers[c->worker].pid == c->pid)
        remote_worker_kill(&record->workers[c->worker]);
}

int control_kill(struct rfaas_control *control, uint64_t ticket, unsigned worker,
                 pid_t pid)
{
    NEW_COMMAND(ticket_command, c, kill_run);
    c->ticket = ticket;
    c->worker = worker;
    c->pid = pid;
    command_post(control, &c->command);
    return RFAAS_OK;
}

struct memory_command {
    struct command command;
    uint32_t key;
    struct offered_memory *memory;
};

static void memory_run(struct rfaas_control *control, struct command *command)
{
    struct offered_memory *memory = ((struct memory_command *)command)->memory;
    struct link *link;
    LL_APPEND(control->memories, memory);
    LL_FOREACH(control->links, link)
        link_introduce_memory(link, memory);
}

void offered_memory_free(struct offered_memory *memory)
{
    for (int i = 0; i < memory->blob.fd_count; i++)
        close(memory->blob.fds[i]);
    free(memory);
}

int control_add_memory(struct rfaas_control *control, uint32_t key,
                       const struct rfaas_blob *blob)
{
    NEW_COMMAND(memory_command, c, memory_run);
    c->memory = calloc(1, sizeof *c->memory);
    if (!c->memory || blob_copy(&c->memory->blob, blob) != RFAAS_OK) {
        free(c->memory);
        free(c);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory for a memory");
    }
    c->memory->key = key;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void memory_remove_run(struct rfaas_control *control, struct command *command)
{
    struct memory_command *c = (struct memory_command *)command;
    struct offered_memory *memory;
    LL_SEARCH_SCALAR(control->memories, memory, key, c->key);
    if (!memory)
        return;
    LL_DELETE(control->memories, memory);
    offered_memory_free(memory);
    Rfaas__MemoryRemove body = RFAAS__MEMORY_REMOVE__INIT;
    body.key = c->key;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_MEMORY_REMOVE;
    message.memory_remove = &body;
    struct link *link;
    LL_FOREACH(control->links, link)
        link_send(link, &message, NULL, 0);
}

int control_remove_memory(struct rfaas_control *control, uint32_t key)
{
    NEW_COMMAND(memory_command, c, memory_remove_run);
    c->key = key;
    command_post(control, &c->command);
    return RFAAS_OK;
}

struct function_command {
    struct command command;
    struct offered_function *function;
};

static void function_run(struct rfaas_control *control, struct command *command)
{
    struct offered_function *function = ((struct function_command *)command)->function;
    struct link *link;
    LL_APPEND(control->functions, function);
    LL_FOREACH(control->links, link)
        link_introduce_function(link, function);
}

void offered_function_free(struct offered_function *function)
{
    free(function->name);
    free(function->path);
    free(function->content);
    free(function);
}

int control_add_function(struct rfaas_control *control, uint32_t number,
                         const char *name, const char *path,
                         const unsigned char *sha256, const void *content, size_t size)
{
    NEW_COMMAND(function_command, c, function_run);
    struct offered_function *f = c->function = calloc(1, sizeof *f);
    if (f) {
        f->number = number;
        f->name = strdup(name);
        f->path = strdup(path);
        f->content = malloc(size);
        f->size = size;
        memcpy(f->sha256, sha256, sizeof f->sha256);
    }
    if (!f || !f->name || !f->path || !f->content) {
        if (f)
            offered_function_free(f);
        free(c);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory for a function");
    }
    memcpy(f->content, content, size);
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void renew_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (!record || record->ended || record->id == 0 || !control->manager) {
        control_answer(control, c->call,
                       control->manager ? RFAAS_ERR_LEASE_EXPIRED : RFAAS_ERR_MANAGER,
                       0, 0);
        return;
    }
    record->terms.duration_ns = c->duration_ns;
    Rfaas__LeaseRenew body = RFAAS__LEASE_RENEW__INIT;
    body.lease = record->id;
    body.duration_ns = c->duration_ns;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = c->call;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_RENEW;
    message.lease_renew = &body;
    rfaas_connection_send(control->manager, &message, NULL, 0);
    record_renew(record);
}

int control_renew(struct rfaas_control *control, uint64_t ticket, uint64_t duration_ns)
{
    struct call call = {0};
    NEW_COMMAND(ticket_command, c, renew_run);
    call_begin(control, &call);
    c->ticket = ticket;
    c->call = call.number;
    c->duration_ns = duration_ns;
    command_post(control, &c->command);
    int status = call_end(control, &call, RENEW_SECONDS);
    if (status == RFAAS_ERR_TIMEOUT)
        return rfaas_fail(RFAAS_ERR_MANAGER,
                          "renewing a lease: the manager didn't answer in %d s",
                          RENEW_SECONDS);
    if (status != RFAAS_OK)
        return rfaas_fail(status, "renewing a lease: %s", rfaas_status_string(status));
    return RFAAS_OK;
}

static void usage_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    Rfaas__UsageQuery body = RFAAS__USAGE_QUERY__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = c->call;
    message.body_case = RFAAS__MESSAGE__BODY_USAGE_QUERY;
    message.usage_query = &body;
    struct link *before = NULL;
    for (unsigned i = 0; record && i < record->worker_count; i++) {
        struct link *link = record->workers[i].link;
        /* One that is connecting has run nothing; workers of one are neighbours. */
        if (!link || !link->connection || link == before)
            continue;
        before = link;
        body.lease = record->id;
        pthread_mutex_lock(&control->lock);
        struct call *call;
        HASH_FIND(hh, control->calls, &c->call, sizeof c->call, call);
        if (call)
            call->answers++;
        pthread_mutex_unlock(&control->lock);
        link_send(link, &message, NULL, 0);
    }
    control_answer(control, c->call, RFAAS_OK, 0, 0); /* the one it began with */
}

int control_usage(struct rfaas_control *control, uint64_t ticket, uint64_t *execute_ns,
                  uint64_t *hot_ns)
{
    struct call call = {0};
    NEW_COMMAND(ticket_command, c, usage_run);
    call_begin(control, &call);
    c->ticket = ticket;
    c->call = call.number;
    command_post(control, &c->command);
    /* What an executor that has gone knew is lost; the rest counts. */
    call_end(control, &call, USAGE_SECONDS);
    *execute_ns = call.execute_ns;
    *hot_ns = call.hot_ns;
    return RFAAS_OK;
}

static void stop_run(struct rfaas_control *control, struct command *command)
{
    (void)command;
    control->stopping = true;
}

void commands_stop(struct rfaas_control *control)
{
    struct command *stop = calloc(1, sizeof *stop);
    if (!stop)
        abort(); /* the thread would go on with freed memory */
    stop->run = stop_run;
    command_post(control, stop);
}
