/* The workers of a lease, as who invokes has them: their numbers, and those that retire. */
#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

void worker_free(struct client_worker *worker)
{
    if (worker->retired)
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
    worker->retired = true;
    worker->settled = true; /* nobody waits for it to get ready */
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
