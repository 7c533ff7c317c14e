/* Workers as who invokes has them: their slots, their numbers, and how they are reached. */
#include "client/client.h"

#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- being reached --------------------------------------------------------------- */

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

int worker_attach(struct client_worker *worker, const struct control_event *event)
{
    struct rfaas_blob blob;
    int status = endpoint_create(worker, event);
    if (status == RFAAS_OK) {
        worker->endpoint->owner = worker;
        worker->slots_address = event->slots_address;
        worker->pid = event->pid;
        worker->part = event->part;
        worker->endpoint->transport->endpoint_export(worker->endpoint, &blob);
        status = control_connect(worker->lease->session->control, worker->lease->ticket,
                                 (unsigned)worker->number, event->pid, &blob);
    }
    if (status != RFAAS_OK) {
        rfaas_error("worker %d: %s", worker->number, rfaas_last_error());
        worker_detach(worker);
    }
    return status;
}

/* ---- their numbers --------------------------------------------------------------- */

void worker_free(struct client_worker *worker)
{
    if (worker->state == WORKER_RETIRED)
        DL_DELETE(worker->lease->retired, worker);
    worker_detach(worker);
    free(worker->slots);
    free(worker->free);
    free(worker);
}

static struct client_worker *worker_new(rfaas_lease *lease, int number)
{
    size_t slots = (size_t)lease->config.slots;
    struct client_worker *worker = calloc(1, sizeof *worker); /* worker_free */
    if (!worker)
        return NULL;
    worker->lease = lease;
    worker->number = number;
    worker->activity = &lease->activity[number];
    worker->slots = calloc(slots, sizeof *worker->slots);
    worker->free = malloc(slots);
    if (!worker->slots || !worker->free) {
        worker_free(worker);
        return NULL;
    }
    for (size_t i = 0; i < slots; i++)
        worker->free[worker->free_count++] = (unsigned char)(slots - 1 - i);
    return worker;
}

void workers_free(rfaas_lease *lease)
{
    while (lease->worker_count > 0)
        worker_free(lease->workers[--lease->worker_count]);
    while (lease->retired)
        worker_free(lease->retired);
    free(lease->workers);
    lease->workers = NULL;
}

/* It goes on answering, if it has ever been reached. */
static void worker_retire(struct client_worker *worker)
{
    if (!worker->endpoint) {
        worker_free(worker);
        return;
    }
    worker->state = WORKER_RETIRED;
    DL_APPEND(worker->lease->retired, worker);
}

/* The lease's last worker leaves it, and whoever waits for that one waits in vain. */
static void last_leaves(rfaas_lease *lease)
{
    struct client_worker *worker = lease->workers[--lease->worker_count];
    rfaas_request *request;
    while ((request = worker->queue)) {
        char text[CONTROL_TEXT_MAX];
        DL_DELETE(worker->queue, request);
        snprintf(text, sizeof text,
                 "function '%s': worker %d isn't in the lease any more",
                 request->function->name, worker->number);
        request_end(request, RFAAS_ERR_WORKER_LOST, -1, text);
    }
    worker_retire(worker);
}

int workers_count(rfaas_lease *lease, int count)
{
    /* Relaxed: what it says may be over when it is read. */
    atomic_store_explicit(&lease->size, count, memory_order_relaxed);
    while (lease->worker_count > count)
        last_leaves(lease);
    struct client_worker **workers =
        realloc(lease->workers, (size_t)count * sizeof *lease->workers);
    if (!workers)
        return RFAAS_ERR_NO_MEMORY;
    lease->workers = workers;
    while (lease->worker_count < count) {
        workers[lease->worker_count] = worker_new(lease, lease->worker_count);
        if (!workers[lease->worker_count])
            return RFAAS_ERR_NO_MEMORY;
        lease->worker_count++;
    }
    return RFAAS_OK;
}

int worker_succeed(struct client_worker *worker, uint64_t part)
{
    rfaas_lease *lease = worker->lease;
    if (!worker->endpoint) { /* there is nothing yet that it could finish */
        worker->state = WORKER_STARTING;
        return RFAAS_OK;
    }
    struct client_worker *successor = worker_new(lease, worker->number);
    if (!successor)
        return RFAAS_ERR_NO_MEMORY;
    successor->settled = worker->settled;
    successor->queue = worker->queue;
    worker->queue = NULL;
    worker->part = part;
    lease->workers[worker->number] = successor;
    worker_retire(worker);
    return RFAAS_OK;
}

struct client_worker *worker_retired(rfaas_lease *lease, uint64_t part, int number)
{
    struct client_worker *worker;
    DL_FOREACH(lease->retired, worker)
        if (worker->part == part && worker->number == number)
            return worker;
    return NULL;
}
