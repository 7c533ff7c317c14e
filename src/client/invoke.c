/* The way of an invocation: pick a worker with a free slot, write {header, input} into
 * it, see the completion, end the request. */
#include "client/client.h"

#include "base/error.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- sending --------------------------------------------------------------------- */

/* Relaxed, and no read-modify-write: written with the lock; see busy_since. */
static void activity_change(struct client_worker *worker, unsigned ended, int underway)
{
    struct worker_activity *a = worker->activity;
    atomic_store_explicit(&a->ended,
                          atomic_load_explicit(&a->ended, memory_order_relaxed) + ended,
                          memory_order_relaxed);
    atomic_store_explicit(&a->underway,
                          atomic_load_explicit(&a->underway, memory_order_relaxed) +
                              (uint32_t)underway,
                          memory_order_relaxed);
}

/* Sends to a worker that has a free slot. */
static void request_send(rfaas_request *request, struct client_worker *worker)
{
    rfaas_lease *lease = request->lease;
    struct rfaas_invocation_header header = {.function = request->function->number};
    struct rfaas_input_reference reference;
    /* The output first: its registration serves for input from there, too. */
    bool placed = buffers_output(request, worker, &header);
    struct input_way input = buffers_input(request, worker);
    if (!placed || (!input.place && request->in_size > 0) ||
        (!input.along && !input.memory)) {
        char text[CONTROL_TEXT_MAX];
        snprintf(text, sizeof text,
                 "invocation: out of memory that workers can reach: %s",
                 rfaas_last_error());
        request_end(request, RFAAS_ERR_NO_MEMORY, -1, text);
        return;
    }
    struct iovec parts[2] = {
        {.iov_base = &header, .iov_len = sizeof header},
        {.iov_base = (void *)(uintptr_t)input.place, .iov_len = request->in_size},
    };
    if (!input.along) {
        header.function |= RFAAS_INPUT_BY_REFERENCE;
        reference = (struct rfaas_input_reference){.address = (uintptr_t)input.place,
                                                   .size = request->in_size,
                                                   .key = input.memory->key};
        parts[1] = (struct iovec){.iov_base = &reference, .iov_len = sizeof reference};
    }
    unsigned number = worker->free[worker->free_count - 1];
    struct client_slot *slot = &worker->slots[number];
    uint64_t address =
        worker->slots_address + number * lease->slot_size + RFAAS_SLOT_LEAD;
    int status = worker->endpoint->transport->write(
        worker->endpoint, parts, parts[1].iov_len > 0 ? 2 : 1, input.memory, address,
        worker->slots_key, rfaas_tag(number, ++slot->uses));
    if (status != RFAAS_OK && status != RFAAS_ERR_IO) {
        request_end(request, status, worker->number, rfaas_last_error());
        return;
    }
    worker->free_count--;
    slot->request = request;
    activity_change(worker, 0, 1);
    atomic_store_explicit(&request->state, REQUEST_SENT, memory_order_relaxed);
    if (status == RFAAS_ERR_IO) /* perhaps it has arrived; a completion follows */
        worker->state = WORKER_STARTING;
}

static bool can_take(const struct client_worker *worker)
{
    return worker->state == WORKER_READY && !worker->retired && worker->free_count > 0;
}

/* The worker with the most free slots. */
static struct client_worker *least_loaded(rfaas_lease *lease)
{
    struct client_worker *best = NULL;
    for (int i = 0; i < lease->worker_count; i++) {
        struct client_worker *worker = lease->workers[i];
        if (can_take(worker) && (!best || worker->free_count > best->free_count))
            best = worker;
    }
    return best;
}

/* The next request for this worker: of the two queues' heads the older one. */
static rfaas_request *next_for(struct client_worker *worker)
{
    rfaas_request *own = worker->queue, *any = worker->lease->queue;
    if (own && any)
        return own->order < any->order ? own : any;
    return own ? own : any;
}

static void worker_fill(struct client_worker *worker)
{
    rfaas_request *request;
    while (can_take(worker) && (request = next_for(worker))) {
        if (request == worker->queue)
            DL_DELETE(worker->queue, request);
        else
            DL_DELETE(worker->lease->queue, request);
        request_send(request, worker);
    }
}

void invoke_queued(rfaas_lease *lease)
{
    for (int i = 0; i < lease->worker_count; i++)
        worker_fill(lease->workers[i]);
}

/* ---- completing ------------------------------------------------------------------ */

static void failure_text(const rfaas_request *request, int status, int worker,
                         char *text, size_t size)
{
    const rfaas_function *function = request->function;
    switch (status) {
    case RFAAS_ERR_TRUNCATE:
        snprintf(text, size,
                 "function '%s' on worker %d: result larger than the %zu "
                 "bytes of the output buffer",
                 function->name, worker, request->out_capacity);
        break;
    case RFAAS_ERR_FUNCTION:
        snprintf(text, size, "function '%s' on worker %d: %s", function->name, worker,
                 request->answer == REQUEST_ANSWERED
                     ? "returned a value outside 0..32767"
                 : function->broken ? function->broken
                                    : "not loadable there");
        break;
    default:
        snprintf(text, size, "function '%s' on worker %d: %s", function->name, worker,
                 rfaas_status_string(status));
    }
}

static void request_complete(rfaas_request *request, int worker, int answer,
                             size_t length)
{
    struct rfaas_result result = {.worker = worker};
    char text[CONTROL_TEXT_MAX];
    if (answer >= 0 && length > request->out_capacity)
        answer = RFAAS_ERR_TRUNCATE;
    request->answer =
        answer == RFAAS_ANSWER_NOT_LOADED ? REQUEST_NOT_LOADED : REQUEST_ANSWERED;
    if (answer == RFAAS_ANSWER_NOT_LOADED)
        answer = RFAAS_ERR_FUNCTION;
    if (answer < 0) {
        result.status = answer;
        failure_text(request, answer, worker, text, sizeof text);
        request_finish(request, &result, text);
        return;
    }
    result.function_status = answer;
    result.out_size = length;
    if (request->out_piece && length > 0)
        memcpy(request->out, request->out_piece, length);
    request_finish(request, &result, NULL);
}

rfaas_request *invoke_slot_free(struct client_worker *worker, unsigned number,
                                bool ended)
{
    rfaas_request *request = worker->slots[number].request;
    worker->slots[number].request = NULL;
    worker->free[worker->free_count++] = (unsigned char)number;
    activity_change(worker, ended, -1);
    return request;
}

void invoke_completion(const struct rfaas_completion *completion)
{
    struct client_worker *worker = completion->endpoint->owner;
    if (completion->status != RFAAS_OK) {
        worker_cut_off(worker, rfaas_last_error());
        return;
    }
    if (rfaas_answer_status(completion->immediate) == RFAAS_ANSWER_CONNECTED) {
        if (!lease_worker_connected(worker))
            worker_broken(worker, "connected twice");
        return;
    }
    uint32_t tag = rfaas_answer_tag(completion->immediate);
    unsigned number = rfaas_tag_slot(tag);
    struct client_slot *slot =
        number < (unsigned)worker->lease->config.slots ? &worker->slots[number] : NULL;
    if (!slot || !slot->request || rfaas_tag(number, slot->uses) != tag) {
        worker_broken(worker, "an answer that nobody waits for");
        return;
    }
    rfaas_request *request = slot->request;
    int status = rfaas_answer_status(completion->immediate);
    if (status == RFAAS_ANSWER_NOT_BEGUN) {
        invoke_given_back(worker, number);
        return;
    }
    size_t length = request->received + completion->length;
    if (status == RFAAS_ANSWER_PART) {
        request->received = length;
        return;
    }
    invoke_slot_free(worker, number, true);
    worker->failures = 0;
    request_complete(request, worker->number, status, length);
    if (worker->queue || worker->lease->queue)
        worker_fill(worker);
}

/* ---- the calls ------------------------------------------------------------------- */

static int invoke_check(rfaas_lease *lease, rfaas_function *function, const void *in,
                        size_t in_size, void *out, size_t out_capacity,
                        rfaas_request **request)
{
    if (!lease || !function || !request)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "invocation: %s is NULL",
                          !lease      ? "the lease"
                          : !function ? "the function"
                                      : "request");
    if ((!in && in_size > 0) || (!out && out_capacity > 0))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "invocation: the %s buffer is NULL",
                          !in && in_size > 0 ? "input" : "output");
    if (in_size > PTRDIFF_MAX || out_capacity > PTRDIFF_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "invocation: the %s buffer has more bytes than there are",
                          in_size > PTRDIFF_MAX ? "input" : "output");
    if (function->session != lease->session)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "invocation: function and lease are of different sessions");
    /* Acquire: see lease_end. */
    int status = atomic_load_explicit(&lease->status, memory_order_acquire);
    if (status < 0)
        return rfaas_fail(status, "invocation: %s", lease->text);
    if (status == RFAAS_IN_PROGRESS)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "invocation: the lease isn't granted yet");
    return RFAAS_OK;
}

/* With the lock: the lease may be resized. */
static int invoke_request(const rfaas_lease *lease, int worker, rfaas_request **request)
{
    if (worker != RFAAS_ANY_WORKER && (worker < 0 || worker >= lease->worker_count))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "invocation: worker %d is not in 0..%d",
                          worker, lease->worker_count - 1);
    *request = request_new(lease->session);
    return *request ? RFAAS_OK
                    : rfaas_fail(RFAAS_ERR_NO_MEMORY, "invocation: out of memory");
}

/* Sends the request or queues it; with the lock. */
static void request_start(rfaas_request *request)
{
    rfaas_lease *lease = request->lease;
    struct client_worker *worker;
    if (request->wanted == RFAAS_ANY_WORKER) {
        worker = lease->queue ? NULL : least_loaded(lease);
        if (worker)
            request_send(request, worker);
        else if (lease_any_alive(lease))
            DL_APPEND(lease->queue, request);
        else
            request_end(request, RFAAS_ERR_WORKER_LOST, -1, "all workers are lost");
        return;
    }
    worker = lease->workers[request->wanted];
    if (worker->state == WORKER_GONE)
        request_end(request, RFAAS_ERR_WORKER_LOST, worker->number,
                    "the worker is lost");
    else if (can_take(worker) && !worker->queue)
        request_send(request, worker);
    else
        DL_APPEND(worker->queue, request);
}

/* Field by field: compilers clear a structure of this size by an instruction that takes
 * longer than all the rest. Its pieces and text are NULL since it was recycled. */
static void request_fill(rfaas_request *request, rfaas_lease *lease, int worker,
                         rfaas_function *function, const void *in, size_t in_size,
                         void *out, size_t out_capacity)
{
    request->session = lease->session;
    request->lease = lease;
    request->function = function;
    request->in = in;
    request->in_size = in_size;
    request->out = out;
    request->out_capacity = out_capacity;
    request->received = 0;
    request->answer = REQUEST_UNANSWERED;
    request->cut_off = 0;
    request->wanted = worker;
    request->order = lease->order++;
    atomic_store_explicit(&request->state, REQUEST_QUEUED, memory_order_relaxed);
}

int rfaas_invoke_call(rfaas_lease *lease, int worker, rfaas_function *function,
                      const void *in, size_t in_size, void *out, size_t out_capacity,
                      rfaas_done_call *done, void *arg, rfaas_request **out_request)
{
    int status =
        invoke_check(lease, function, in, in_size, out, out_capacity, out_request);
    if (status != RFAAS_OK)
        return status;
    rfaas_session *session = lease->session;
    session_lock(session);
    rfaas_request *request;
    status = invoke_request(lease, worker, &request);
    if (status != RFAAS_OK) {
        session_unlock(session);
        return status;
    }
    request_fill(request, lease, worker, function, in, in_size, out, out_capacity);
    request->done = done;
    request->arg = arg;
    function->references++;
    lease->underway++;
    *out_request = request; /* before it can end: `done` may be called at once */
    request_start(request);
    session_unlock(session);
    return RFAAS_OK;
}

int rfaas_invoke(rfaas_lease *lease, int worker, rfaas_function *function,
                 const void *in, size_t in_size, void *out, size_t out_capacity,
                 rfaas_request **request)
{
    return rfaas_invoke_call(lease, worker, function, in, in_size, out, out_capacity,
                             NULL, NULL, request);
}
