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

/* Where the worker puts the output: the caller's buffer, or a piece to copy from. */
static bool output_place(rfaas_request *request, const struct client_worker *worker,
                         struct rfaas_invocation_header *header)
{
    struct arena *arena = &request->session->arena;
    header->out_capacity = request->out_capacity;
    if (request->out_capacity == 0)
        return true;
    void *place = request->out;
    header->out_key = arena_key(arena, place, request->out_capacity, worker->device);
    if (header->out_key == 0) {
        if (!request->out_piece)
            request->out_piece = arena_get(arena, request->out_capacity);
        place = request->out_piece;
        if (!place)
            return false;
        header->out_key =
            arena_key(arena, place, request->out_capacity, worker->device);
        if (header->out_key == 0)
            return false;
    }
    header->out_address = (uintptr_t)place;
    return true;
}

/* A copy of the input in memory that workers reach, made once. */
static void *input_piece(rfaas_request *request)
{
    if (request->in_piece)
        return request->in_piece;
    request->in_piece = arena_get(&request->session->arena, request->in_size);
    if (request->in_piece)
        memcpy(request->in_piece, request->in, request->in_size);
    return request->in_piece;
}

/* Where the input is taken from, and whether it goes along with the header; if not, it
 * stays in `place` and the worker gets to it by the key. */
struct input_way {
    const void *place; /* NULL: out of memory */
    bool along;
    uint32_t key;
};

static struct input_way input_way(rfaas_request *request,
                                  const struct client_worker *worker)
{
    rfaas_lease *lease = request->lease;
    struct arena *arena = &lease->session->arena;
    const struct rfaas_transport *transport =
        lease->session->devices[worker->device].transport;
    struct input_way way = {.place = request->in, .along = true};
    size_t size = request->in_size;
    if (size + sizeof(struct rfaas_invocation_header) <=
        (size_t)lease->config.inline_max)
        return way;
    /* Longer input is best left where the worker can read it, if it can without
     * fetching it. What lies elsewhere has to be copied in any case, and the slot is
     * the nearest place, if the transport copies to there as well as we do. */
    bool fits = size <= lease->slot_size - RFAAS_SLOT_OVERHEAD &&
                size <= worker->endpoint->message_max - RFAAS_SLOT_OVERHEAD;
    way.key = arena_key(arena, way.place, size, worker->device);
    if (way.key == 0 && fits && size <= transport->copy_max)
        return way;
    if (way.key == 0) {
        way.place = input_piece(request);
        if (way.place)
            way.key = arena_key(arena, way.place, size, worker->device);
    }
    way.along = fits && !transport->common_memory;
    return way;
}

/* Nothing that the worker writes can be trusted any more, or nothing reaches it: its
 * process is ended, and what it had goes the way of all that a lost worker had. Until
 * then it gets nothing more: that waits for who replaces it. */
static void worker_broken(struct client_worker *worker, const char *why)
{
    rfaas_error("worker %d (pid %d): %s: ended", worker->number, (int)worker->pid, why);
    if (worker->state != WORKER_RETIRED)
        worker->state = WORKER_STARTING;
    if (control_kill(worker->lease->session->control, worker->lease->ticket,
                     (unsigned)worker->number, worker->pid) != RFAAS_OK)
        rfaas_error("%s", rfaas_last_error());
}

/* Sends to a worker that has a free slot. */
static void request_send(rfaas_request *request, struct client_worker *worker)
{
    rfaas_lease *lease = request->lease;
    struct rfaas_invocation_header header = {.function = request->function->number};
    struct rfaas_input_reference reference;
    struct input_way input = input_way(request, worker);
    if (!output_place(request, worker, &header) ||
        (!input.place && request->in_size > 0) || (!input.along && input.key == 0)) {
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
                                                   .key = input.key};
        parts[1] = (struct iovec){.iov_base = &reference, .iov_len = sizeof reference};
    }
    unsigned number = worker->free[worker->free_count - 1];
    struct client_slot *slot = &worker->slots[number];
    uint64_t address =
        worker->slots_address + number * lease->slot_size + RFAAS_SLOT_LEAD;
    int status = worker->endpoint->transport->write(
        worker->endpoint, parts, parts[1].iov_len > 0 ? 2 : 1, address,
        worker->slots_key, rfaas_tag(number, ++slot->uses));
    if (status != RFAAS_OK && status != RFAAS_ERR_IO) {
        request_end(request, status, worker->number, rfaas_last_error());
        return;
    }
    worker->free_count--;
    slot->request = request;
    worker_activity_change(worker, 0, 1);
    atomic_store_explicit(&request->state, REQUEST_SENT, memory_order_relaxed);
    if (status == RFAAS_ERR_IO) /* perhaps it has arrived: the worker's end will tell */
        worker_broken(worker, rfaas_last_error());
}

static bool can_take(const struct client_worker *worker)
{
    return worker->state == WORKER_READY && worker->free_count > 0;
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
                 function->broken ? function->broken
                                  : "not loadable there, or returned a value "
                                    "outside 0..32767");
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

void invoke_completion(const struct rfaas_completion *completion)
{
    struct client_worker *worker = completion->endpoint->owner;
    if (completion->status != RFAAS_OK) {
        worker_broken(worker, rfaas_last_error());
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
    size_t length = request->received + completion->length;
    if (status == RFAAS_ANSWER_PART) {
        request->received = length;
        return;
    }
    slot->request = NULL;
    worker->free[worker->free_count++] = (unsigned char)number;
    worker_activity_change(worker, 1, -1);
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
