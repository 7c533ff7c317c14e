/* How workers get at the user's buffers: where they lie, if that is memory of the arena or
 * registered, or by a copy in a piece of the arena. */
#include "client/client.h"

#include <string.h>

/* ---- output ---------------------------------------------------------------------- */

/* The caller's output buffer as workers reach it; NULL: they don't. */
static const struct rfaas_memory *output_direct(rfaas_request *request,
                                                const struct client_worker *worker)
{
    rfaas_session *session = request->session;
    const struct rfaas_memory *memory = arena_memory(
        &session->arena, request->out, request->out_capacity, worker->device);
    if (memory)
        return memory;
    request->out_registration =
        registration_get(&session->registrations, worker->device, request->out,
                         request->out_capacity, RFAAS_ACCESS_WRITE, true);
    return request->out_registration ? request->out_registration->memory : NULL;
}

bool buffers_output(rfaas_request *request, const struct client_worker *worker,
                    struct rfaas_invocation_header *header)
{
    struct arena *arena = &request->session->arena;
    const struct rfaas_memory *memory = NULL;
    size_t capacity = request->out_capacity;
    void *place = request->out;
    header->out_capacity = capacity;
    if (capacity == 0)
        return true;
    if (!request->out_piece) /* a piece stays, so that its output is looked for there */
        memory = output_direct(request, worker);
    if (!memory) {
        if (!request->out_piece)
            request->out_piece = arena_get(arena, capacity);
        place = request->out_piece;
        if (place)
            memory = arena_memory(arena, place, capacity, worker->device);
    }
    if (!memory)
        return false;
    header->out_key = memory->key;
    header->out_address = (uintptr_t)place;
    return true;
}

/* ---- input ----------------------------------------------------------------------- */

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

/* Longer input is best left where the worker can read it, if it can without fetching it.
 * Where nothing else can be had, it is copied to such a place. */
static void input_leave(rfaas_request *request, const struct client_worker *worker,
                        struct input_way *way)
{
    rfaas_session *session = request->session;
    size_t size = request->in_size;
    if (!request->in_piece)
        request->in_registration =
            registration_get(&session->registrations, worker->device, way->place, size,
                             RFAAS_ACCESS_READ, !way->along);
    if (request->in_registration) {
        way->memory = request->in_registration->memory;
        return;
    }
    way->place = input_piece(request);
    if (way->place)
        way->memory = arena_memory(&session->arena, way->place, size, worker->device);
}

struct input_way buffers_input(rfaas_request *request,
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
    bool fits = size <= lease->slot_size - RFAAS_SLOT_OVERHEAD &&
                size <= worker->endpoint->message_max - RFAAS_SLOT_OVERHEAD;
    way.memory = arena_memory(arena, way.place, size, worker->device);
    /* What lies elsewhere has to be copied in any case, and the slot is the nearest
     * place, if the transport copies to there as well as we do. */
    if (!way.memory && fits && size <= transport->copy_max)
        return way;
    way.along = fits && !transport->common_memory;
    if (!way.memory)
        input_leave(request, worker, &way);
    return way;
}

/* ---- when it is over -------------------------------------------------------------- */

void buffers_unregister(rfaas_request *request, bool keep)
{
    struct registrations *cache = &request->session->registrations;
    if (request->in_registration)
        registration_put(cache, request->in_registration, keep);
    if (request->out_registration)
        registration_put(cache, request->out_registration, keep);
    request->in_registration = request->out_registration = NULL;
}

void buffers_return(rfaas_request *request, bool keep)
{
    struct arena *arena = &request->session->arena;
    if (request->in_piece)
        arena_put(arena, request->in_piece);
    if (request->out_piece)
        arena_put(arena, request->out_piece);
    request->in_piece = request->out_piece = NULL;
    buffers_unregister(request, keep);
}
