/* What the client's thread is told of one process of a worker. It may have gone meanwhile:
 * then there is nothing to do. */
#include "client/control_thread.h"

#include "base/error.h"
#include <stdlib.h>
#include <unistd.h>

struct worker_command {
    struct command command;
    uint64_t ticket;
    struct worker_process process;
    uint32_t connection;
};

/* NULL: it isn't there any more. */
static struct remote_worker *worker_of(struct rfaas_control *control, uint64_t ticket,
                                       const struct worker_process *process)
{
    struct record *record = record_find(control, ticket);
    struct remote_worker *worker =
        record ? remote_worker_find(record, process->part, process->number) : NULL;
    return worker && worker->pid == process->pid ? worker : NULL;
}

/* ---- connecting ------------------------------------------------------------------ */

struct connect_command {
    struct command command;
    uint64_t ticket;
    struct worker_process process;
    struct connect_terms terms;
};

static void tell_connect(const struct remote_worker *worker,
                         struct connect_terms *terms)
{
    struct rfaas_blob *endpoint = &terms->endpoint;
    Rfaas__WorkerConnect body = RFAAS__WORKER_CONNECT__INIT;
    body.lease = worker->record->id;
    body.part = worker->part;
    body.worker = worker->number;
    body.pid = (uint32_t)worker->pid;
    body.endpoint = (ProtobufCBinaryData){endpoint->size, endpoint->bytes};
    body.connection = terms->connection;
    body.outstanding = terms->outstanding;
    body.n_outstanding = terms->outstanding_count;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_CONNECT;
    message.worker_connect = &body;
    link_send(worker->link, &message, endpoint->fds, endpoint->fd_count);
}

static void connect_run(struct rfaas_control *control, struct command *command)
{
    struct connect_command *c = (struct connect_command *)command;
    const struct remote_worker *worker = worker_of(control, c->ticket, &c->process);
    if (worker && worker->link)
        tell_connect(worker, &c->terms);
    for (int i = 0; i < c->terms.endpoint.fd_count; i++)
        close(c->terms.endpoint.fds[i]);
}

int control_connect(struct rfaas_control *control, uint64_t ticket,
                    const struct worker_process *process,
                    const struct connect_terms *terms)
{
    NEW_COMMAND(connect_command, c, connect_run);
    c->terms = *terms;
    if (blob_copy(&c->terms.endpoint, &terms->endpoint) != RFAAS_OK) {
        free(c);
        return RFAAS_ERR_NO_MEMORY;
    }
    c->ticket = ticket;
    c->process = *process;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void connected_run(struct rfaas_control *control, struct command *command)
{
    const struct worker_command *c = (const struct worker_command *)command;
    struct remote_worker *worker = worker_of(control, c->ticket, &c->process);
    if (worker && worker->start)
        evtimer_del(worker->start);
}

int control_connected(struct rfaas_control *control, uint64_t ticket,
                      const struct worker_process *process)
{
    NEW_COMMAND(worker_command, c, connected_run);
    c->ticket = ticket;
    c->process = *process;
    command_post(control, &c->command);
    return RFAAS_OK;
}

/* ---- failing --------------------------------------------------------------------- */

static void tell_cut_off(const struct remote_worker *worker, uint32_t connection)
{
    Rfaas__WorkerCutOff body = RFAAS__WORKER_CUT_OFF__INIT;
    body.lease = worker->record->id;
    body.part = worker->part;
    body.worker = worker->number;
    body.pid = (uint32_t)worker->pid;
    body.connection = connection;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_CUT_OFF;
    message.worker_cut_off = &body;
    link_send(worker->link, &message, NULL, 0);
}

static void cut_off_run(struct rfaas_control *control, struct command *command)
{
    const struct worker_command *c = (const struct worker_command *)command;
    const struct remote_worker *worker = worker_of(control, c->ticket, &c->process);
    if (worker && worker->link)
        tell_cut_off(worker, c->connection);
}

int control_cut_off(struct rfaas_control *control, uint64_t ticket,
                    const struct worker_process *process, uint32_t connection)
{
    NEW_COMMAND(worker_command, c, cut_off_run);
    c->ticket = ticket;
    c->process = *process;
    c->connection = connection;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void kill_run(struct rfaas_control *control, struct command *command)
{
    const struct worker_command *c = (const struct worker_command *)command;
    const struct remote_worker *worker = worker_of(control, c->ticket, &c->process);
    if (worker)
        remote_worker_kill(worker);
}

int control_kill(struct rfaas_control *control, uint64_t ticket,
                 const struct worker_process *process)
{
    NEW_COMMAND(worker_command, c, kill_run);
    c->ticket = ticket;
    c->process = *process;
    command_post(control, &c->command);
    return RFAAS_OK;
}
