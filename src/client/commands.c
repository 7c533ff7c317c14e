/* Commands to the client's thread, from those who invoke: without an answer, or waited
 * for. */
#include "client/control_thread.h"

#include "base/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum { ANSWER_SECONDS = 10, USAGE_SECONDS = 1 };

/* ---- calls that are waited for --------------------------------------------------- */

void control_answer(struct rfaas_control *control, uint64_t number, int status,
                    const uint64_t values[CALL_VALUES])
{
    struct call *call;
    pthread_mutex_lock(&control->lock);
    HASH_FIND(hh, control->calls, &number, sizeof number, call);
    if (call) {
        if (call->status == RFAAS_OK)
            call->status = status;
        for (int i = 0; values && i < CALL_VALUES; i++)
            call->values[i] += values[i];
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

void command_post(struct rfaas_control *control, struct command *command)
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
    uint64_t ticket, call, duration_ns, wait_ns;
    unsigned workers, min_workers;
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
    control_answer(control, c->call, RFAAS_OK, NULL);
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

static void renew_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (!record || record->ended || record->id == 0 || !control->manager) {
        control_answer(control, c->call,
                       control->manager ? RFAAS_ERR_LEASE_EXPIRED : RFAAS_ERR_MANAGER,
                       NULL);
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
    int status = call_end(control, &call, ANSWER_SECONDS);
    if (status == RFAAS_ERR_TIMEOUT)
        return rfaas_fail(RFAAS_ERR_MANAGER,
                          "renewing a lease: the manager didn't answer in %d s",
                          ANSWER_SECONDS);
    if (status != RFAAS_OK)
        return rfaas_fail(status, "renewing a lease: %s", rfaas_status_string(status));
    return RFAAS_OK;
}

static void resize_run(struct rfaas_control *control, struct command *command)
{
    struct ticket_command *c = (struct ticket_command *)command;
    struct record *record = record_find(control, c->ticket);
    if (!record || record->ended || record->id == 0 || !control->manager)
        return; /* who waits has been told of the lease's end */
    if (c->workers < record->worker_count)
        remote_workers_count(record, c->workers);
    Rfaas__LeaseResize body = RFAAS__LEASE_RESIZE__INIT;
    body.lease = record->id;
    body.workers = c->workers;
    body.min_workers = c->min_workers;
    body.wait_ns = c->wait_ns;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = c->ticket;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_RESIZE;
    message.lease_resize = &body;
    rfaas_connection_send(control->manager, &message, NULL, 0);
}

int control_resize(struct rfaas_control *control, uint64_t ticket, unsigned workers,
                   unsigned min_workers, uint64_t wait_ns)
{
    NEW_COMMAND(ticket_command, c, resize_run);
    c->ticket = ticket;
    c->workers = workers;
    c->min_workers = min_workers;
    c->wait_ns = wait_ns;
    command_post(control, &c->command);
    return RFAAS_OK;
}

/* Whether the lease has, or had until they retired, workers there. */
static bool has_workers_on(const struct record *record, const struct link *link)
{
    const struct remote_worker *worker;
    DL_FOREACH(record->all, worker)
        if (worker->link == link)
            return true;
    return false;
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
    struct link *link;
    LL_FOREACH(control->links, link) {
        /* One that is connecting has run nothing. */
        if (!record || !link->connection || !has_workers_on(record, link))
            continue;
        body.lease = record->id;
        pthread_mutex_lock(&control->lock);
        struct call *call;
        HASH_FIND(hh, control->calls, &c->call, sizeof c->call, call);
        if (call)
            call->answers++;
        pthread_mutex_unlock(&control->lock);
        link_send(link, &message, NULL, 0);
    }
    const uint64_t gone[CALL_VALUES] = {record ? record->execute_ns : 0,
                                        record ? record->hot_ns : 0};
    control_answer(control, c->call, RFAAS_OK, gone); /* the one it began with */
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
    *execute_ns = call.values[0];
    *hot_ns = call.values[1];
    return RFAAS_OK;
}

static void stats_run(struct rfaas_control *control, struct command *command)
{
    Rfaas__StatsQuery body = RFAAS__STATS_QUERY__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = ((struct ticket_command *)command)->call;
    message.body_case = RFAAS__MESSAGE__BODY_STATS_QUERY;
    message.stats_query = &body;
    if (control->manager)
        rfaas_connection_send(control->manager, &message, NULL, 0);
    else
        control_answer(control, message.call, RFAAS_ERR_MANAGER, NULL);
}

int control_stats(struct rfaas_control *control, struct rfaas_pool_stats *stats)
{
    struct call call = {0};
    NEW_COMMAND(ticket_command, c, stats_run);
    call_begin(control, &call);
    c->call = call.number;
    command_post(control, &c->command);
    int status = call_end(control, &call, ANSWER_SECONDS);
    if (status == RFAAS_ERR_TIMEOUT)
        return rfaas_fail(RFAAS_ERR_MANAGER,
                          "statistics: the manager didn't answer in %d s",
                          ANSWER_SECONDS);
    if (status != RFAAS_OK)
        return rfaas_fail(status, "statistics: %s", rfaas_status_string(status));
    *stats = (struct rfaas_pool_stats){.executors = call.values[0],
                                       .cores = call.values[1],
                                       .leased = call.values[2],
                                       .queued = call.values[3]};
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
