/* What becomes of invocations whose worker has gone. */
#include "client/client.h"

#include <stdio.h>
#include <utlist.h>

/* Where it waits; NULL: nobody will take it from there any more. */
static rfaas_request **queue_of(rfaas_lease *lease, const rfaas_request *request)
{
    if (request->wanted == RFAAS_ANY_WORKER)
        return &lease->queue;
    if (request->wanted >= lease->worker_count ||
        lease->workers[request->wanted]->state == WORKER_GONE)
        return NULL;
    return &lease->workers[request->wanted]->queue;
}

/* Back into its queue, by its order. */
static void request_requeue(rfaas_request *request)
{
    rfaas_request **queue = queue_of(request->lease, request);
    rfaas_request *later;
    if (!queue) {
        char text[CONTROL_TEXT_MAX];
        snprintf(text, sizeof text,
                 "function '%s': worker %d had to end before it came to this",
                 request->function->name, request->wanted);
        request_end(request, RFAAS_ERR_WORKER_LOST, -1, text);
        return;
    }
    atomic_store_explicit(&request->state, REQUEST_QUEUED, memory_order_relaxed);
    request->received = 0;
    DL_FOREACH(*queue, later)
        if (later->order > request->order)
            break;
    if (later)
        DL_PREPEND_ELEM(*queue, later, request);
    else
        DL_APPEND(*queue, request);
}

bool lease_any_alive(const rfaas_lease *lease)
{
    for (int i = 0; i < lease->worker_count; i++)
        if (lease->workers[i]->state != WORKER_GONE)
            return true;
    return false;
}

static bool is_lease_end(int status)
{
    return status == RFAAS_ERR_LEASE_EXPIRED || status == RFAAS_ERR_LEASE_RELEASED ||
           status == RFAAS_ERR_LEASE_REVOKED;
}

/* Of what the worker had taken, one invocation was running; the rest lay in slots that
 * it never looked at. `retry`: it is being replaced, and the rest runs there. Else
 * nobody knows which one was running, and none is tried again. */
void invoke_worker_gone(struct client_worker *worker, int status, const char *text,
                        uint32_t executing, bool retry)
{
    rfaas_lease *lease = worker->lease;
    char sentence[CONTROL_TEXT_MAX + 128];
    worker->free_count = 0;
    for (unsigned i = 0; i < (unsigned)lease->config.slots; i++) {
        struct client_slot *slot = &worker->slots[i];
        rfaas_request *request = slot->request;
        worker->free[worker->free_count++] = (unsigned char)i;
        slot->request = NULL;
        if (!request)
            continue;
        worker_activity_change(worker, 1, -1);
        if (retry && rfaas_tag(i, slot->uses) + 1 != executing) {
            request_requeue(request);
            continue;
        }
        snprintf(sentence, sizeof sentence, "function '%s': %s",
                 request->function->name, text);
        request_end(request, status, worker->number, sentence);
    }
    if (worker->state == WORKER_GONE) {
        /* The news of the lease's end may come a little later than this. */
        int why = is_lease_end(status) ? status : RFAAS_ERR_WORKER_LOST;
        rfaas_request *request;
        while ((request = worker->queue)) {
            DL_DELETE(worker->queue, request);
            request_end(request, why, worker->number, text);
        }
    }
    if (!lease_any_alive(lease))
        lease_fail_queued(lease, is_lease_end(status) ? status : RFAAS_ERR_WORKER_LOST,
                          text);
    invoke_queued(lease);
}
