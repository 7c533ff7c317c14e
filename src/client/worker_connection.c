/* The connections to a worker: made, and made again when they fail. The first one is the
 * answer to WorkerReady, each further one to WorkerMoved. Whoever finds the connection to
 * have failed resets his end; so nothing of the old one is taken for something of the new
 * one. The worker does it before the client connects, and then answers what it has got and
 * ended, or gives back what it hasn't begun; a retired one as well. */
#include "client/client.h"

#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <string.h>

enum {
    /* Connections that fail one after the other without an answer in between. Then it is
     * not by chance, and what it comes from may go with the process. */
    FAILURES_MAX = 3,
};

/* ---- connecting ------------------------------------------------------------------ */

void worker_detach(struct client_worker *worker)
{
    if (!worker->endpoint)
        return;
    worker->endpoint->transport->endpoint_close(worker->endpoint);
    worker->lease->session->devices[worker->device].endpoints--;
    worker->endpoint = NULL;
}

/* Which of the session's devices a worker is reached by. */
static int device_of(const rfaas_session *session, const char *transport)
{
    for (int i = 0; i < session->device_count; i++)
        if (strcmp(session->devices[i].transport->name, transport) == 0)
            return i;
    return -1;
}

static int endpoint_create(struct client_worker *worker,
                           const struct control_event *event)
{
    rfaas_session *session = worker->lease->session;
    const struct rfaas_config *config = &worker->lease->config;
    struct rfaas_endpoint_options options = {.depth = (unsigned)config->slots,
                                             .inline_max = (size_t)config->inline_max};
    worker->device = device_of(session, event->transport);
    if (worker->device < 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "a worker of transport %s",
                          event->transport);
    struct client_device *device = &session->devices[worker->device];
    int status =
        device->transport->endpoint_open(device->device, &options, &worker->endpoint);
    if (status != RFAAS_OK)
        return status;
    device->endpoints++;
    status = device->transport->endpoint_connect(worker->endpoint, &event->endpoint);
    if (status == RFAAS_OK)
        status = device->transport->memory_import(worker->endpoint, &event->memory,
                                                  &worker->slots_key);
    return status;
}

static struct worker_process process_of(const struct client_worker *worker)
{
    return (struct worker_process){
        .part = worker->part, .number = (unsigned)worker->number, .pid = worker->pid};
}

/* Has the worker connect to our endpoint, which is connected to its own. */
static int worker_connect(struct client_worker *worker)
{
    struct connect_terms terms = {.connection = worker->connection};
    worker->endpoint->transport->endpoint_export(worker->endpoint, &terms.endpoint);
    terms.outstanding_count = invoke_outstanding(worker, terms.outstanding);
    worker->reset = false;
    worker->connected = false;
    struct worker_process process = process_of(worker);
    return control_connect(worker->lease->session->control, worker->lease->ticket,
                           &process, &terms);
}

int worker_attach(struct client_worker *worker, const struct control_event *event)
{
    int status = endpoint_create(worker, event);
    if (status == RFAAS_OK) {
        worker->endpoint->owner = worker;
        worker->slots_address = event->slots_address;
        worker->part = event->part;
        worker->pid = event->pid;
        worker->connection = 0;
        worker->failures = 0;
        worker->reached = false;
        status = worker_connect(worker);
    }
    if (status != RFAAS_OK) {
        rfaas_error("worker %d: %s", worker->number, rfaas_last_error());
        worker_detach(worker);
    }
    return status;
}

void worker_reached(struct client_worker *worker)
{
    struct worker_process process = process_of(worker);
    worker->reached = true;
    /* Else it is told to be late, which is known to be wrong. */
    if (control_connected(worker->lease->session->control, worker->lease->ticket,
                          &process) != RFAAS_OK)
        rfaas_error("%s", rfaas_last_error());
}

/* ---- failing --------------------------------------------------------------------- */

void worker_broken(struct client_worker *worker, const char *why)
{
    struct worker_process process = process_of(worker);
    rfaas_error("worker %d (pid %d): %s: ended", worker->number, (int)worker->pid, why);
    worker->state = WORKER_ENDING;
    if (control_kill(worker->lease->session->control, worker->lease->ticket,
                     &process) != RFAAS_OK)
        rfaas_error("%s", rfaas_last_error());
}

static void worker_give_up(struct client_worker *worker, const char *why)
{
    char text[CONTROL_TEXT_MAX];
    snprintf(text, sizeof text, "%.200s, %u times in a row", why, worker->failures);
    if (worker->reached || worker->retired)
        worker_broken(worker, text);
    else /* another process would be no better off */
        lease_worker_fail(worker, text);
}

/* Whether the connection, which has failed, can be made again: our end is reset. */
static bool worker_reset(struct client_worker *worker, const char *why)
{
    if (worker->reset)
        return true;
    worker->state = WORKER_STARTING;
    worker->cut_off = true;
    invoke_cut_off(worker);
    if (++worker->failures > FAILURES_MAX) {
        worker_give_up(worker, why);
        return false;
    }
    if (worker->endpoint->transport->endpoint_reset(worker->endpoint) != RFAAS_OK) {
        worker_broken(worker, why);
        return false;
    }
    rfaas_warn("worker %d (pid %d): %s: connecting again", worker->number,
               (int)worker->pid, why);
    worker->reset = true;
    return true;
}

static bool is_wanted(const struct client_worker *worker)
{
    return worker->endpoint && worker->state != WORKER_ENDING &&
           worker->state != WORKER_GONE &&
           atomic_load_explicit(&worker->lease->status, memory_order_relaxed) >= 0;
}

void worker_cut_off(struct client_worker *worker, const char *reason)
{
    char
        why[CONTROL_TEXT_MAX]; /* the reason is that of the last error: others follow */
    snprintf(why, sizeof why, "%s", reason);
    struct worker_process process = process_of(worker);
    if (is_wanted(worker) && worker_reset(worker, why) &&
        control_cut_off(worker->lease->session->control, worker->lease->ticket,
                        &process, worker->connection) != RFAAS_OK)
        worker_broken(worker, rfaas_last_error());
}

void worker_moved(struct client_worker *worker, const struct control_event *event)
{
    if (!is_wanted(worker) || worker->pid != event->pid ||
        !worker_reset(worker, "the worker says that its connection has failed"))
        return;
    worker->connection = event->connection;
    if (worker->endpoint->transport->endpoint_connect(worker->endpoint,
                                                      &event->endpoint) != RFAAS_OK ||
        worker_connect(worker) != RFAAS_OK)
        worker_broken(worker, rfaas_last_error());
}
