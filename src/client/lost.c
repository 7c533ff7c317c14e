/* What becomes of invocations whose worker is gone, or the connection to it: each runs once
 * at most. */
#include "client/client.h"

#include <stdio.h>
#include <utlist.h>

enum {
    /* Connections that may fail by one invocation. What doesn't get through to this
     * process or the next gets through to none. */
    CUT_OFF_MAX = 8,
};

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

/* It isn't sent again; `text`: why, if not. */
static bool is_given_up(const rfaas_request *request, bool queue, char *text,
                        size_t size)
{
    if (request->cut_off >= CUT_OFF_MAX)
        snprintf(text, size,
                 "function '%s' with %zu bytes of input doesn't get through to a "
                 "worker: %u connections have failed over it",
                 request->function->name, request->in_size, request->cut_off);
    else if (!queue)
        snprintf(text, size,
                 "function '%s': worker %d had to end before it came to this",
                 request->function->name, request->wanted);
    return request->cut_off >= CUT_OFF_MAX || !queue;
}

/* Back into its queue, by its order. */
static void request_requeue(rfaas_request *request)
{
    rfaas_request **queue = queue_of(request->lease, request);
    rfaas_request *later;
    char text[CONTROL_TEXT_MAX];
    if (is_given_up(request, queue != NULL, text, sizeof text)) {
        /* What was sent to a worker in vain names it; what only waited for it doesn't. */
        request_end(request, RFAAS_ERR_WORKER_LOST,
                    request->cut_off >= CUT_OFF_MAX ? request->wanted : -1, text);
        return;
    }
    atomic_store_explicit(&request->state, REQUEST_QUEUED, memory_order_relaxed);
    request->received = 0;
    buffers_unregister(request, true); /* the next worker's device may be another */
    DL_FOREACH(*queue, later)
        if (later->order > request->order)
            break;
    if (later)
        DL_PREPEND_ELEM(*queue, later, request);
    else
        DL_APPEND(*queue, request);
}

/* ---- the connection -------------------------------------------------------------- */

unsigned invoke_outstanding(struct client_worker *worker, uint32_t *tags)
{
    unsigned count = 0;
    for (unsigned i = 0; i < (unsigned)worker->lease->config.slots; i++)
        if (worker->slots[i].request) {
            worker->slots[i].request->received = 0;
            tags[count++] = rfaas_tag(i, worker->slots[i].uses);
        }
    return count;
}

/* Messages come in order, so the first that doesn't get through holds up the others:
 * these aren't to blame. Should it be the wrong one, it is answered by the next
 * connection, or follows the right one there. */
void invoke_cut_off(struct client_worker *worker)
{
    rfaas_request *first = NULL;
    for (unsigned i = 0; i < (unsigned)worker->lease->config.slots; i++) {
        rfaas_request *request = worker->slots[i].request;
        if (request && (!first || request->order < first->order))
            first = request;
    }
    if (first)
        first->cut_off++;
}

void invoke_given_back(struct client_worker *worker, unsigned number)
{
    if (worker->connected)
        worker_broken(worker, "gives back what it has taken");
    /* At the end of the lease it ends with its worker. */
    else if (atomic_load_explicit(&worker->lease->status, memory_order_relaxed) >= 0)
        request_requeue(invoke_slot_free(worker, number, false));
}

/* ---- the worker ------------------------------------------------------------------ */

static bool is_lease_end(int status)
{
    return status == RFAAS_ERR_LEASE_EXPIRED || status == RFAAS_ERR_LEASE_RELEASED ||
           status == RFAAS_ERR_LEASE_REVOKED;
}

/* What became of an invocation whose worker is gone: running, if nobody knows better. */
enum fate { FATE_RUNNING, FATE_ANSWERED, FATE_NOT_BEGUN };

static enum fate fate_of(uint32_t tag, const struct control_event *event)
{
    if (!event || !event->known || event->executing == tag + 1)
        return FATE_RUNNING;
    return event->begun[rfaas_tag_slot(tag)] == rfaas_tag_use(tag) + 1 ? FATE_ANSWERED
                                                                       : FATE_NOT_BEGUN;
}

/* Of what the worker had taken, one invocation was running; some may have ended, if
 * their answers didn't come through; the rest lay in slots that it never looked at, and
 * runs on the next, or on others. Where nobody knows which one was running, none is tried
 * again. */
void invoke_worker_gone(struct client_worker *worker, int status, const char *text,
                        const struct control_event *event)
{
    rfaas_lease *lease = worker->lease;
    char sentence[CONTROL_TEXT_MAX + 160];
    for (unsigned i = 0; i < (unsigned)lease->config.slots; i++) {
        if (!worker->slots[i].request)
            continue;
        enum fate fate = fate_of(rfaas_tag(i, worker->slots[i].uses), event);
        rfaas_request *request = invoke_slot_free(worker, i, fate != FATE_NOT_BEGUN);
        if (fate == FATE_NOT_BEGUN) {
            request_requeue(request);
            continue;
        }
        bool answered = fate == FATE_ANSWERED;
        snprintf(sentence, sizeof sentence, "function '%s': %s%s%s",
                 request->function->name, text, answered ? "; the answer is lost" : "",
                 worker->cut_off ? "; its connection had failed" : "");
        request_end(request, answered ? RFAAS_ERR_WORKER_LOST : status, worker->number,
                    sentence);
    }
    worker->cut_off = false;
    if (worker->state == WORKER_GONE) {
        /* The news of the lease's end may come a little later than this. */
        int why = is_lease_end(status) ? status : RFAAS_ERR_WORKER_LOST;
        rfaas_request *request;
        while ((request = worker->queue)) {
            DL_DELETE(worker->queue, request);
            request_end(request, why, worker->number, text);
        }
        if (!lease_any_alive(lease))
            lease_fail_queued(lease, why, text);
    }
    invoke_queued(lease);
}
