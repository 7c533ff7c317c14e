/* Endpoints of the transport `verbs`: a reliable queue pair each. */
#include "transport/verbs.h"

#include "base/error.h"
#include "base/random.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    RING_BYTES = 4 * VERBS_COPY_MAX,
    /* Work requests beside those of the messages that the peer hasn't answered. */
    SPARE_SENDS = 8,
    /* A peer that doesn't answer is tried for some seconds: 7 times 4.096 us * 2^16.
     * More tries there are, but Soft-RoCE takes the last number, 7, for endless. */
    TIMEOUT = 16,
    RETRIES = 6,
    /* Receives run out only while a long output comes in parts, to a client that does
     * something else meanwhile. */
    NOT_READY_RETRIES = 7, /* without end */
    NOT_READY_TIMER = 1,   /* 0.01 ms */
    HOPS = 64,
    NUMBER_MAX = 1 << 24, /* of queue pairs and packets: 24 bits on the wire */
};

/* ---- opening --------------------------------------------------------------------- */

int verbs_receive_post(struct verbs_endpoint *ep, unsigned count)
{
    struct ibv_recv_wr requests[VERBS_POLL] = {{0}}, *bad;
    while (count > 0) {
        unsigned n = count < VERBS_POLL ? count : VERBS_POLL;
        for (unsigned i = 0; i < n; i++) {
            requests[i].wr_id = (uint64_t)ep->number << 32;
            requests[i].next = i + 1 < n ? &requests[i + 1] : NULL;
        }
        int error = ibv_post_recv(ep->pair, requests, &bad);
        if (error)
            return rfaas_fail(RFAAS_ERR_IO, "verbs: posting a receive: %s",
                              strerror(error));
        count -= n;
    }
    return RFAAS_OK;
}

/* What a queue pair takes inline is known by asking for less until it is had. */
static struct ibv_qp *pair_ask(struct verbs_device *d,
                               struct ibv_qp_init_attr *attributes)
{
    for (uint32_t size = d->inline_max;; size = size > 32 ? size / 2 : 0) {
        struct ibv_qp_init_attr asked = *attributes;
        asked.cap.max_inline_data = size;
        struct ibv_qp *pair = ibv_create_qp(d->domain, &asked);
        if (pair) {
            d->inline_max = size;
            attributes->cap.max_inline_data = asked.cap.max_inline_data;
        }
        if (pair || size == 0)
            return pair;
    }
}

static void number_take(struct verbs_endpoint *ep)
{
    ep->number = ++ep->device->next_number;
    HASH_ADD(hh, ep->device->endpoints, number, sizeof ep->number, ep);
}

static int pair_create(struct verbs_endpoint *ep)
{
    struct verbs_device *d = ep->device;
    int status = rfaas_random(&ep->sequence, sizeof ep->sequence);
    if (status != RFAAS_OK)
        return status;
    ep->sequence %= NUMBER_MAX;
    struct ibv_qp_init_attr attributes = {
        .send_cq = d->queue,
        .recv_cq = d->queue,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = ep->send_room,
                .max_recv_wr = 2 * ep->depth,
                .max_send_sge = VERBS_PARTS_MAX,
                .max_recv_sge = 1},
    };
    ep->pair = pair_ask(d, &attributes);
    ep->inline_max = attributes.cap.max_inline_data;
    if (!ep->pair)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: creating a queue pair: %s%s",
                          strerror(errno), verbs_memory_hint());
    struct ibv_qp_attr init = {
        .qp_state = IBV_QPS_INIT,
        .port_num = d->port.number,
        .qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
    };
    int error = ibv_modify_qp(ep->pair, &init,
                              IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
                                  IBV_QP_ACCESS_FLAGS);
    if (error)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: setting up a queue pair: %s",
                          strerror(error));
    return verbs_receive_post(ep, 2 * ep->depth);
}

int verbs_endpoint_open(struct rfaas_device *device,
                        const struct rfaas_endpoint_options *options,
                        struct rfaas_endpoint **endpoint)
{
    struct verbs_device *d = (struct verbs_device *)device;
    struct rfaas_memory *ring;
    if (options->depth < 1 || options->depth > RFAAS_DEPTH_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "verbs: depth %u is not in 1..%d",
                          options->depth, RFAAS_DEPTH_MAX);
    struct verbs_endpoint *ep = calloc(1, sizeof *ep);
    if (!ep)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: out of memory for an endpoint");
    ep->super.transport = &rfaas_transport_verbs;
    ep->super.message_max = d->port.message_max;
    ep->device = d;
    ep->depth = options->depth;
    ep->send_room = options->depth + SPARE_SENDS;
    number_take(ep);
    int status = verbs_queue_reserve(d, ep->send_room + 2 * ep->depth);
    if (status != RFAAS_OK) {
        ep->depth = ep->send_room = 0; /* nothing was reserved */
        goto fail;
    }
    while (ep->marks_mask + 1 < ep->send_room)
        ep->marks_mask = 2 * ep->marks_mask + 1;
    ep->ring_marks = calloc(ep->marks_mask + 1, sizeof *ep->ring_marks);
    status = ep->ring_marks ? verbs_memory_alloc(device, RING_BYTES, &ring)
                            : RFAAS_ERR_NO_MEMORY;
    if (status != RFAAS_OK)
        goto fail;
    ep->ring = (struct verbs_memory *)ring;
    status = pair_create(ep);
    if (status != RFAAS_OK)
        goto fail;
    *endpoint = &ep->super;
    return RFAAS_OK;
fail:
    verbs_endpoint_close(&ep->super);
    return status;
}

/* With it goes all that has come from the peer and wasn't polled. From here on the peer
 * can't write to this process. */
static void pair_destroy(struct verbs_endpoint *ep)
{
    struct verbs_device *d = ep->device;
    if (ep->pair)
        ibv_destroy_qp(ep->pair);
    ep->pair = NULL;
    struct rfaas_completion *waiting = d->waiting + d->waiting_first;
    size_t kept = 0;
    for (size_t i = 0; i < d->waiting_count; i++)
        if (waiting[i].endpoint != &ep->super)
            waiting[kept++] = waiting[i];
    d->waiting_count = kept;
    HASH_DEL(d->endpoints, ep);
    if (d->recent == ep)
        d->recent = NULL;
    /* What is in the queue of it would take the room of others. */
    verbs_queue_save(d);
}

int verbs_endpoint_reset(struct rfaas_endpoint *endpoint)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    pair_destroy(ep);
    ep->connected = ep->broken = ep->holds = false;
    ep->taken = 0;
    ep->sends = ep->sends_done = ep->told = ep->held = 0;
    ep->ring_end = ep->ring_done = ep->ring_told = 0;
    number_take(ep);
    return pair_create(ep);
}

void verbs_endpoint_close(struct rfaas_endpoint *endpoint)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    struct verbs_device *d = ep->device;
    struct verbs_target *target, *next;
    HASH_ITER(hh, ep->targets, target, next) {
        HASH_DEL(ep->targets, target);
        free(target);
    }
    pair_destroy(ep);
    if (ep->ring)
        verbs_memory_free(&d->super, &ep->ring->super);
    d->queue_used -= ep->send_room + 2 * ep->depth;
    free(ep->ring_marks);
    free(ep);
}

/* ---- connecting ------------------------------------------------------------------ */

void verbs_endpoint_export(const struct rfaas_endpoint *endpoint,
                           struct rfaas_blob *blob)
{
    const struct verbs_endpoint *ep = (const struct verbs_endpoint *)endpoint;
    const struct verbs_port *port = &ep->device->port;
    struct endpoint_blob content = {
        .magic = VERBS_MAGIC,
        .queue_pair = ep->pair->qp_num,
        .sequence = ep->sequence,
        .lid = port->lid,
        .mtu = port->mtu,
        .ethernet = port->ethernet,
    };
    memcpy(content.gid, port->gid.raw, sizeof content.gid);
    memcpy(blob->bytes, &content, sizeof content);
    blob->size = sizeof content;
    blob->fd_count = 0;
}

static bool is_sound(const struct endpoint_blob *peer, const struct verbs_port *port)
{
    static const unsigned char nothing[16];
    return peer->magic == VERBS_MAGIC && peer->queue_pair < NUMBER_MAX &&
           peer->sequence < NUMBER_MAX && peer->mtu >= IBV_MTU_256 &&
           peer->mtu <= IBV_MTU_4096 && peer->ethernet == port->ethernet &&
           (peer->ethernet ? memcmp(peer->gid, nothing, sizeof nothing) != 0
                           : peer->lid != 0);
}

static int to_receive(struct verbs_endpoint *ep, const struct endpoint_blob *peer)
{
    const struct verbs_port *port = &ep->device->port;
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = (enum ibv_mtu)(peer->mtu < port->mtu ? peer->mtu : port->mtu),
        .dest_qp_num = peer->queue_pair,
        .rq_psn = peer->sequence,
        .max_dest_rd_atomic = 1,
        .min_rnr_timer = NOT_READY_TIMER,
        .ah_attr = {.dlid = peer->lid, .port_num = port->number},
    };
    if (peer->ethernet) {
        attributes.ah_attr.is_global = 1;
        attributes.ah_attr.grh.sgid_index = (uint8_t)port->gid_index;
        attributes.ah_attr.grh.hop_limit = HOPS;
        memcpy(attributes.ah_attr.grh.dgid.raw, peer->gid, sizeof peer->gid);
    }
    return ibv_modify_qp(ep->pair, &attributes,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                             IBV_QP_MIN_RNR_TIMER);
}

static int to_send(struct verbs_endpoint *ep)
{
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTS,
        .sq_psn = ep->sequence,
        .timeout = TIMEOUT,
        .retry_cnt = RETRIES,
        .rnr_retry = NOT_READY_RETRIES,
        .max_rd_atomic = 1,
    };
    return ibv_modify_qp(ep->pair, &attributes,
                         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                             IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                             IBV_QP_MAX_QP_RD_ATOMIC);
}

int verbs_endpoint_connect(struct rfaas_endpoint *endpoint,
                           const struct rfaas_blob *peer)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    struct endpoint_blob content;
    if (ep->connected)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "verbs: endpoint is connected already");
    if (peer->size != sizeof content || peer->fd_count != 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "verbs: malformed address of an endpoint");
    memcpy(&content, peer->bytes, sizeof content);
    if (!is_sound(&content, &ep->device->port))
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "verbs: malformed address of an endpoint");
    int error = to_receive(ep, &content);
    if (!error)
        error = to_send(ep);
    if (error)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: connecting to queue pair %u: %s",
                          content.queue_pair, strerror(error));
    ep->connected = true;
    return RFAAS_OK;
}

/* ---- what the peer has ----------------------------------------------------------- */

static struct verbs_target *target_find(struct verbs_endpoint *ep, uint32_t key)
{
    struct verbs_target *target = ep->last;
    if (target && target->key == key)
        return target;
    HASH_FIND(hh, ep->targets, &key, sizeof key, target);
    if (target)
        ep->last = target;
    return target;
}

bool verbs_target_holds(struct verbs_endpoint *ep, uint64_t address, uint64_t size,
                        uint32_t key)
{
    const struct verbs_target *target = target_find(ep, key);
    if (!target || address < target->address)
        return false;
    uint64_t offset = address - target->address;
    return offset <= target->size && size <= target->size - offset;
}

int verbs_memory_import(struct rfaas_endpoint *endpoint, const struct rfaas_blob *peer,
                        uint32_t *key)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    struct memory_blob content;
    if (peer->size != sizeof content || peer->fd_count != 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "verbs: malformed description of memory");
    memcpy(&content, peer->bytes, sizeof content);
    if (content.magic != VERBS_MAGIC || content.size == 0 ||
        content.address + content.size < content.address)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "verbs: malformed description of memory");
    if (target_find(ep, content.key))
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "verbs: peer's key %u is in use",
                          content.key);
    struct verbs_target *target = calloc(1, sizeof *target);
    if (!target)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: out of memory for a memory");
    *target = (struct verbs_target){
        .key = content.key, .address = content.address, .size = content.size};
    HASH_ADD(hh, ep->targets, key, sizeof target->key, target);
    *key = target->key;
    return RFAAS_OK;
}

void verbs_memory_forget(struct rfaas_endpoint *endpoint, uint32_t key)
{
    struct verbs_endpoint *ep = (struct verbs_endpoint *)endpoint;
    struct verbs_target *target = target_find(ep, key);
    if (!target)
        return;
    HASH_DEL(ep->targets, target);
    if (ep->last == target)
        ep->last = NULL;
    free(target);
}
