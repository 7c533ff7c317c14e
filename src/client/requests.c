/* Requests: their memory, their end, and how users get at it. */
#include "client/client.h"

#include "base/error.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { CHUNK_REQUESTS = 64 };

struct request_chunk {
    struct request_chunk *next;
    rfaas_request requests[CHUNK_REQUESTS];
};

/* ---- memory -------------------------------------------------------------------- */

rfaas_request *request_new(rfaas_session *session)
{
    if (!session->free_requests) {
        struct request_chunk *chunk = calloc(1, sizeof *chunk);
        if (!chunk)
            return NULL;
        chunk->next = session->chunks;
        session->chunks = chunk;
        for (int i = 0; i < CHUNK_REQUESTS; i++) {
            chunk->requests[i].next = session->free_requests;
            session->free_requests = &chunk->requests[i];
        }
    }
    rfaas_request *request = session->free_requests;
    session->free_requests = request->next;
    return request;
}

/* With the lock. */
static void request_recycle(rfaas_session *session, rfaas_request *request)
{
    free(request->text);
    request->text = NULL;
    request->next = session->free_requests;
    session->free_requests = request;
}

void requests_free(rfaas_session *session)
{
    struct request_chunk *chunk = session->chunks, *next;
    for (; chunk; chunk = next) {
        next = chunk->next;
        for (int i = 0; i < CHUNK_REQUESTS; i++)
            free(chunk->requests[i].text);
        free(chunk);
    }
}

/* Ends the request. `text`: why it failed, or NULL. */
void request_finish(rfaas_request *request, const struct rfaas_result *result,
                    const char *text)
{
    rfaas_lease *lease = request->lease;
    rfaas_session *session = request->session;
    buffers_return(request, result->status == RFAAS_OK);
    request->result = *result;
    if (text)
        request->text = strdup(text); /* NULL: the status's own text has to do */
    lease->bytes_in += request->in_size;
    lease->bytes_out += result->out_size;
    if (result->status != RFAAS_OK)
        lease->failures++;
    function_release(request->function);
    lease->ended++;
    lease->underway--;
    if (request->done) {
        request->next = NULL;
        *session->finished_end = request;
        session->finished_end = &request->next;
    }
    /* Release: pairs with the acquire of rfaas_test. */
    atomic_store_explicit(&request->state, REQUEST_DONE, memory_order_release);
}

void request_end(rfaas_request *request, int status, int worker, const char *text)
{
    struct rfaas_result result = {.status = status, .worker = worker};
    request_finish(request, &result, text);
}

/* ---- for users ------------------------------------------------------------------ */

const struct rfaas_result *rfaas_request_result(const rfaas_request *request)
{
    return &request->result;
}

enum request_answer rfaas_request_answer(const rfaas_request *request)
{
    return request->answer;
}

const char *rfaas_request_text(const rfaas_request *request)
{
    return request->text ? request->text : rfaas_status_string(request->result.status);
}

void rfaas_request_free(rfaas_request **request)
{
    rfaas_session *session = (*request)->session;
    session_lock(session);
    request_recycle(session, *request);
    *request = NULL;
    session_unlock(session);
}

void rfaas_request_withdraw(rfaas_session *session, rfaas_request **place, void *arg)
{
    session_lock(session);
    rfaas_request *request = *place;
    bool queued =
        request && request->arg == arg &&
        atomic_load_explicit(&request->state, memory_order_relaxed) == REQUEST_QUEUED;
    if (queued) {
        rfaas_lease *lease = request->lease;
        if (request->wanted == RFAAS_ANY_WORKER)
            DL_DELETE(lease->queue, request);
        else
            DL_DELETE(lease->workers[request->wanted]->queue, request);
        request_end(request, RFAAS_ERR_CANCELLED, -1, NULL);
    }
    session_unlock(session);
}

/* Takes the result of a request that is done. */
static int request_take(rfaas_request **request, struct rfaas_result *result)
{
    struct rfaas_result r = (*request)->result;
    if (r.status != RFAAS_OK)
        rfaas_fail(r.status, "%s", rfaas_request_text(*request));
    rfaas_request_free(request);
    if (result)
        *result = r;
    return r.status;
}

static bool is_done(const rfaas_request *request)
{
    /* Acquire: see request_finish. */
    return atomic_load_explicit(&request->state, memory_order_acquire) == REQUEST_DONE;
}

int rfaas_test(rfaas_request **request, struct rfaas_result *result)
{
    if (!request || !*request)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_test: the request is NULL");
    if (!is_done(*request))
        rfaas_progress((*request)->session);
    return is_done(*request) ? request_take(request, result) : RFAAS_IN_PROGRESS;
}

int rfaas_wait(rfaas_request **request, struct rfaas_result *result)
{
    int status;
    for (unsigned turn = 0; (status = rfaas_test(request, result)) == RFAAS_IN_PROGRESS;
         turn++)
        session_pause((*request)->session, turn, true);
    return status;
}

int rfaas_waitany(int count, rfaas_request *requests[], int *index,
                  struct rfaas_result *result)
{
    if (count < 0 || !index || (!requests && count > 0))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_waitany: a NULL argument");
    for (unsigned turn = 0;; turn++) {
        rfaas_session *session = NULL;
        for (int i = 0; i < count; i++) {
            if (!requests[i])
                continue;
            if (is_done(requests[i])) {
                *index = i;
                return request_take(&requests[i], result);
            }
            session = requests[i]->session;
        }
        if (!session) {
            *index = -1;
            return RFAAS_OK;
        }
        if (rfaas_progress(session) == 0)
            session_pause(session, turn, true);
    }
}
