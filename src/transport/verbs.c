/* The transport `verbs`: RDMA by libibverbs, on InfiniBand and RoCE devices.
 *
 * A message is one RDMA write with immediate, straight to its place in the peer's
 * memory; it takes a receive of the peer, of which there are always as many as messages
 * may be on the way. Short messages go inline or by the endpoint's ring, so their parts
 * are free at once; parts in registered memory are read by the device where they lie,
 * until the message was sent. A device has one completion queue for everything. Only
 * each few sends ask for a completion, and those of registered memory. */
#include "transport/verbs.h"

#include "base/error.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLLS_PER_YIELD = 64 };

/* ---- completions ----------------------------------------------------------------- */

/* Has the device let the queue pair fail, for a reason that it doesn't see: else it would
 * go on to take messages, which their sender thinks read. What it has taken is told before
 * the failure. */
static bool pair_fail(struct verbs_endpoint *ep)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    return ibv_modify_qp(ep->pair, &attributes, IBV_QP_STATE) == 0;
}

/* The queue pair has failed: nothing goes over it any more. Said once. */
static bool endpoint_failed(struct verbs_endpoint *ep, const struct ibv_wc *wc,
                            struct rfaas_completion *c)
{
    ep->broken = true;
    /* The rest is flushed: nothing is on the way. */
    ep->sends_done = ep->sends;
    ep->ring_done = ep->ring_end;
    ep->holds = false;
    bool peers_fault = wc->status == IBV_WC_REM_ACCESS_ERR ||
                       wc->status == IBV_WC_REM_INV_REQ_ERR ||
                       wc->status == IBV_WC_REM_OP_ERR;
    *c = (struct rfaas_completion){.endpoint = &ep->super};
    c->status = rfaas_fail(peers_fault ? RFAAS_ERR_PROTOCOL : RFAAS_ERR_IO,
                           "verbs: queue pair %u: %s", ep->pair->qp_num,
                           ibv_wc_status_str(wc->status));
    return true;
}

static void sends_completed(struct verbs_endpoint *ep, uint32_t number)
{
    ep->sends_done = number + 1;
    ep->ring_done = ep->ring_marks[number & ep->marks_mask];
}

static bool receive_completed(struct verbs_endpoint *ep, const struct ibv_wc *wc,
                              struct rfaas_completion *c)
{
    if (++ep->taken == ep->depth) {
        const struct ibv_wc full = {.status = IBV_WC_GENERAL_ERR};
        ep->taken = 0;
        /* The receives that are left tell of it, behind what has come. */
        if (verbs_receive_post(ep, ep->depth) != RFAAS_OK && !pair_fail(ep))
            return endpoint_failed(ep, &full, c);
    }
    *c = (struct rfaas_completion){
        .endpoint = &ep->super,
        .status = RFAAS_OK,
        .immediate = be32toh(wc->imm_data),
        .length = wc->byte_len,
    };
    return true;
}

/* Sees to one entry of the queue; true if it is a completion for the user. */
static bool entry_handle(struct verbs_device *d, const struct ibv_wc *wc,
                         struct rfaas_completion *c)
{
    uint32_t number = (uint32_t)(wc->wr_id >> 32);
    struct verbs_endpoint *ep = d->recent;
    if (!ep || ep->number != number)
        HASH_FIND(hh, d->endpoints, &number, sizeof number, ep);
    if (!ep || ep->broken)
        return false; /* the queue pair isn't there any more, or has failed */
    d->recent = ep;
    if (wc->status != IBV_WC_SUCCESS)
        return endpoint_failed(ep, wc, c);
    if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
        return receive_completed(ep, wc, c);
    if (wc->opcode & IBV_WC_RECV) { /* a message, but none of ours */
        const struct ibv_wc foul = {.status = IBV_WC_REM_INV_REQ_ERR};
        pair_fail(ep);
        return endpoint_failed(ep, &foul, c);
    }
    sends_completed(ep, (uint32_t)wc->wr_id);
    return false;
}

/* Takes up to `max` (at most VERBS_POLL) entries of the queue; returns how many. `taken`
 * counts those that were completions for the user. */
static int queue_poll(struct verbs_device *d, struct rfaas_completion *completions,
                      int max, int *taken)
{
    struct ibv_wc entries[VERBS_POLL];
    int n = ibv_poll_cq(d->queue, max, entries);
    *taken = 0;
    for (int i = 0; i < n; i++)
        *taken += entry_handle(d, &entries[i], &completions[*taken]);
    return n;
}

static int waiting_reserve(struct verbs_device *d)
{
    if (d->waiting_count == 0)
        d->waiting_first = 0;
    size_t end = d->waiting_first + d->waiting_count;
    if (end + VERBS_POLL <= d->waiting_room)
        return RFAAS_OK;
    size_t room = 2 * (end + VERBS_POLL);
    void *waiting = realloc(d->waiting, room * sizeof *d->waiting);
    if (!waiting)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: out of memory");
    d->waiting = waiting;
    d->waiting_room = room;
    return RFAAS_OK;
}

int verbs_queue_save(struct verbs_device *d)
{
    int total = 0, taken, n;
    do {
        if (waiting_reserve(d) != RFAAS_OK)
            return RFAAS_ERR_NO_MEMORY;
        n = queue_poll(d, d->waiting + d->waiting_first + d->waiting_count, VERBS_POLL,
                       &taken);
        d->waiting_count += (size_t)taken;
        total += taken;
    } while (n > 0);
    return total;
}

static int verbs_poll(struct rfaas_device *device, struct rfaas_completion *completions,
                      int max)
{
    struct verbs_device *d = (struct verbs_device *)device;
    int taken = 0;
    while (d->waiting_count > 0 && taken < max) {
        completions[taken++] = d->waiting[d->waiting_first++];
        d->waiting_count--;
    }
    /* Until the queue is empty: what comes after the completions of sends counts, too. */
    int asked, n, more;
    do {
        asked = max - taken < VERBS_POLL ? max - taken : VERBS_POLL;
        n = queue_poll(d, completions + taken, asked, &more);
        taken += more;
    } while (n == asked && taken < max);
    return taken;
}

/* Waits until at most `left` sends are on the way, one of which will tell. The device
 * ends each of them, with an error after some seconds if the peer doesn't answer. */
static int sends_await(struct verbs_endpoint *ep, uint32_t left)
{
    for (unsigned polls = 1; !ep->broken && ep->sends - ep->sends_done > left;
         polls++) {
        int status = verbs_queue_save(ep->device);
        if (status < 0)
            return status;
        if (polls % POLLS_PER_YIELD == 0)
            sched_yield();
    }
    return ep->broken ? rfaas_fail(RFAAS_ERR_IO, "verbs: the queue pair has failed")
                      : RFAAS_OK;
}

/* ---- sending --------------------------------------------------------------------- */

/* Contiguous room in the ring, or NULL: there is none, and none will be told of. */
static unsigned char *ring_take(struct verbs_endpoint *ep, size_t size)
{
    size_t room = ep->ring->super.size;
    uint64_t start = ep->ring_end;
    if (start % room + size > room)
        start += room - start % room;
    while (start + size - ep->ring_done > room)
        if (ep->told == ep->sends_done ||
            sends_await(ep, ep->sends - ep->sends_done - 1) != RFAAS_OK)
            return NULL;
    ep->ring_end = start + size;
    return (unsigned char *)ep->ring->super.base + start % room;
}

/* Should the device not tell of it, a completion of our own does, behind all that it has
 * told. */
static int not_posted(struct verbs_endpoint *ep, int error)
{
    const struct ibv_wc failure = {.status = IBV_WC_GENERAL_ERR};
    struct verbs_device *d = ep->device;
    pair_fail(ep);
    int status = verbs_queue_save(d);
    if (status < 0)
        return status;
    if (!ep->broken) /* the last of its polls took nothing, so there is room */
        endpoint_failed(ep, &failure,
                        &d->waiting[d->waiting_first + d->waiting_count++]);
    return rfaas_fail(RFAAS_ERR_IO, "verbs: posting a send: %s", strerror(error));
}

static int post(struct verbs_endpoint *ep, struct ibv_send_wr *request, bool held)
{
    struct ibv_send_wr *bad;
    int status = RFAAS_OK;
    if (ep->sends - ep->sends_done >= ep->send_room)
        status = sends_await(ep, ep->send_room - 1);
    if (status != RFAAS_OK)
        return status;
    /* A completion costs time; but there has to be one before queue or ring is full. */
    bool tells = held || ep->sends + 1 - ep->told >= ep->send_room / 4 ||
                 ep->ring_end - ep->ring_told >= ep->ring->super.size / 4;
    if (tells)
        request->send_flags |= IBV_SEND_SIGNALED;
    request->wr_id = (uint64_t)ep->number << 32 | ep->sends;
    int error = ibv_post_send(ep->pair, request, &bad);
    if (error)
        return not_posted(ep, error);
    ep->ring_marks[ep->sends & ep->marks_mask] = ep->ring_end;
    ep->sends++;
    if (tells) {
        ep->told = ep->sends;
        ep->ring_told = ep->ring_end;
    }
    if (held) {
        ep->holds = true;
        ep->held = ep->sends;
    }
    return RFAAS_OK;
}

static struct ibv_sge piece_of(const struct verbs_memory *memory, const void *base,
                               size_t size)
{
    return (struct ibv_sge){.addr = (uintptr_t)base,
                            .length = (uint32_t)size,
                            .lkey = memory ? memory->region->lkey : 0};
}

static void gather(unsigned char *to, const struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
}

/* Where the device finds the parts: those in `from` where they lie, the others copied to
 * the ring. How many pieces; 0: that can't be done. */
static int pieces_of(struct verbs_endpoint *ep, const struct iovec *parts, int count,
                     const struct verbs_memory *from, struct ibv_sge *pieces,
                     bool *held)
{
    *held = false;
    if (count > VERBS_PARTS_MAX)
        return 0;
    for (int i = 0; i < count; i++) {
        const struct verbs_memory *memory = from;
        const void *place = parts[i].iov_base;
        if (from && verbs_memory_holds(from, place, parts[i].iov_len)) {
            *held = true;
        } else {
            unsigned char *copy = parts[i].iov_len <= VERBS_COPY_MAX
                                      ? ring_take(ep, parts[i].iov_len)
                                      : NULL;
            if (!copy)
                return 0;
            gather(copy, &parts[i], 1);
            place = copy;
            memory = ep->ring;
        }
        pieces[i] = piece_of(memory, place, parts[i].iov_len);
    }
    return count;
}

/* Sends what fits nowhere else from a copy that is registered for it alone. */
static int send_copy(struct verbs_endpoint *ep, const struct iovec *parts, int count,
                     size_t length, struct ibv_send_wr *request)
{
    struct rfaas_memory *copy;
    int status = verbs_memory_alloc(&ep->device->super, length, &copy);
    if (status != RFAAS_OK)
        return status;
    gather(copy->base, parts, count);
    struct ibv_sge piece = piece_of((struct verbs_memory *)copy, copy->base, length);
    request->sg_list = &piece;
    request->num_sge = 1;
    status = post(ep, request, true);
    if (status == RFAAS_OK)
        status = sends_await(ep, 0);
    verbs_memory_free(&ep->device->super, copy);
    return status;
}

static int send_parts(struct verbs_endpoint *ep, const struct iovec *parts, int count,
                      const struct verbs_memory *from, size_t length,
                      struct ibv_send_wr *request)
{
    struct ibv_sge pieces[VERBS_PARTS_MAX];
    bool held = false;
    request->sg_list = pieces;
    if (length <= ep->inline_max && count <= VERBS_PARTS_MAX) {
        for (int i = 0; i < count; i++)
            pieces[i] = piece_of(NULL, parts[i].iov_base, parts[i].iov_len);
        request->num_sge = count;
        request->send_flags = IBV_SEND_INLINE;
        return post(ep, request, false);
    }
    request->num_sge = pieces_of(ep, parts, count, from, pieces, &held);
    if (request->num_sge > 0)
        return post(ep, request, held);
    if (ep->broken)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: the queue pair has failed");
    return send_copy(ep, parts, count, length, request);
}

static int check_target(struct verbs_endpoint *ep, uint64_t address, size_t length,
                        uint32_t key)
{
    if (!ep->connected)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "verbs: endpoint is not connected");
    if (ep->broken)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: the queue pair has failed");
    if (length > 0 && !verbs_target_holds(ep, address, length, key))
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "verbs: %zu bytes at %#llx, key %u, are not the peer's",
                          length, (unsigned long long)address, key);
    return RFAAS_OK;
}

static int verbs_write(struct rfaas_endpoint *endpoint, const struct iovec *parts,
                       int count, const struct rfaas_memory *from, uint64_t address,
                       uint32_t key, uint32_t immediate)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    int status = check_target(ep, address, length, key);
    if (status != RFAAS_OK)
        return status;
    /* Only what such a request has: compilers clear the whole of it by an instruction
     * that takes as long as all else here. */
    struct ibv_send_wr request;
    request.next = NULL;
    request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    request.imm_data = htobe32(immediate);
    request.send_flags = 0;
    request.wr.rdma.remote_addr = address;
    request.wr.rdma.rkey = key;
    return send_parts(ep, parts, length > 0 ? count : 0,
                      (const struct verbs_memory *)from, length, &request);
}

/* At most as much as one message takes. */
static int read_piece(struct verbs_endpoint *ep, const struct verbs_memory *memory,
                      void *to, size_t size, uint64_t address, uint32_t key)
{
    struct ibv_sge piece = piece_of(memory, to, size);
    struct ibv_send_wr request = {
        .opcode = IBV_WR_RDMA_READ,
        .sg_list = &piece,
        .num_sge = 1,
        .wr.rdma = {.remote_addr = address, .rkey = key},
    };
    int status = post(ep, &request, true);
    return status == RFAAS_OK ? sends_await(ep, 0) : status;
}

static int verbs_read(struct rfaas_endpoint *endpoint, void *to, size_t size,
                      uint64_t address, uint32_t key)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    const struct verbs_memory *memory = verbs_memory_find(ep->device, to, size);
    int status = check_target(ep, address, size, key);
    if (status == RFAAS_OK && !memory)
        status =
            rfaas_fail(RFAAS_ERR_ARGUMENT, "verbs: reading to unregistered memory");
    for (size_t done = 0; done < size && status == RFAAS_OK;) {
        size_t left = size - done, most = ep->super.message_max;
        size_t length = left < most ? left : most;
        status = read_piece(ep, memory, (char *)to + done, length, address + done, key);
        done += length;
    }
    return status;
}

/* An empty write behind the others, which tells when it has arrived. */
static int send_marker(struct verbs_endpoint *ep)
{
    struct ibv_send_wr request = {.opcode = IBV_WR_RDMA_WRITE};
    int status = post(ep, &request, true);
    return status == RFAAS_OK ? sends_await(ep, 0) : status;
}

static int verbs_flush(struct rfaas_endpoint *endpoint, bool delivered)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    if (delivered && ep->broken)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: the queue pair has failed");
    if (delivered)
        return ep->sends == ep->sends_done ? RFAAS_OK : send_marker(ep);
    if (!ep->holds)
        return RFAAS_OK;
    int status = sends_await(ep, ep->sends - ep->held);
    ep->holds = status != RFAAS_OK;
    return status;
}

/* There is no common memory. */
static const void *verbs_map(struct rfaas_endpoint *endpoint, uint64_t address,
                             size_t size, uint32_t key)
{
    (void)endpoint, (void)address, (void)size, (void)key;
    return NULL;
}

/* ---- sleeping -------------------------------------------------------------------- */

/* The events are left for the next arm: to take them costs a system call, on the way of
 * an invocation that has just woken its worker. */
static void verbs_disarm(struct rfaas_device *device)
{
    (void)device;
}

/* All there are: one that was asked for may have come after the sleep that it was to
 * end. */
static void events_take(struct verbs_device *d)
{
    struct ibv_cq *queue;
    void *context;
    unsigned taken = 0;
    while (ibv_get_cq_event(d->channel, &queue, &context) == 0)
        taken++;
    if (taken > 0)
        ibv_ack_cq_events(d->queue, taken);
}

static int verbs_arm(struct rfaas_device *device)
{
    struct verbs_device *d = (struct verbs_device *)device;
    if (d->waiting_count > 0)
        return RFAAS_OK;
    events_take(d);
    /* What comes after the notice was asked for gives an event; what came before is
     * in the queue now. */
    return ibv_req_notify_cq(d->queue, 0) == 0 && verbs_queue_save(d) == 0
               ? RFAAS_IN_PROGRESS
               : RFAAS_OK;
}

static int verbs_descriptor(const struct rfaas_device *device)
{
    return ((const struct verbs_device *)device)->channel->fd;
}

const struct rfaas_transport rfaas_transport_verbs = {
    .size = sizeof(struct rfaas_transport),
    .name = "verbs",
    .common_memory = false,
    .copy_max = VERBS_COPY_MAX,
    .describe = verbs_describe,
    .device_open = verbs_device_open,
    .device_close = verbs_device_close,
    .memory_alloc = verbs_memory_alloc,
    .memory_register = verbs_memory_register,
    .memory_free = verbs_memory_free,
    .memory_export = verbs_memory_export,
    .endpoint_open = verbs_endpoint_open,
    .endpoint_export = verbs_endpoint_export,
    .endpoint_connect = verbs_endpoint_connect,
    .endpoint_reset = verbs_endpoint_reset,
    .endpoint_close = verbs_endpoint_close,
    .memory_import = verbs_memory_import,
    .memory_forget = verbs_memory_forget,
    .write = verbs_write,
    .read = verbs_read,
    .flush = verbs_flush,
    .map = verbs_map,
    .poll = verbs_poll,
    .arm = verbs_arm,
    .disarm = verbs_disarm,
    .descriptor = verbs_descriptor,
};
