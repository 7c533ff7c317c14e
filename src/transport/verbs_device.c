/* Devices of the transport `verbs`: what all endpoints of a process share, and the
 * memories. */
#include "transport/verbs.h"

#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>

enum { QUEUE_MIN = 256 };

/* ---- memories -------------------------------------------------------------------- */

/* ENOMEM is mostly the limit of locked memory, which what others have registered counts
 * against, too. */
static struct ibv_mr *region_register(struct verbs_device *d, void *base, size_t size,
                                      enum rfaas_access access)
{
    int flags =
        access == RFAAS_ACCESS_READ
            ? IBV_ACCESS_REMOTE_READ
            : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
    for (;;) {
        struct ibv_mr *region = ibv_reg_mr(d->domain, base, size, flags);
        int error = errno;
        if (region || error != ENOMEM || !d->super.reclaim ||
            !d->super.reclaim(d->super.reclaim_arg)) {
            errno = error;
            return region;
        }
    }
}

int verbs_memory_register(struct rfaas_device *device, void *base, size_t size,
                          enum rfaas_access access, struct rfaas_memory **memory)
{
    struct verbs_device *d = (struct verbs_device *)device;
    struct verbs_memory *m = calloc(1, sizeof *m);
    if (!m)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: out of memory for a memory");
    m->region = region_register(d, base, size, access);
    if (!m->region) {
        int status =
            rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: registering %zu bytes: %s%s", size,
                       strerror(errno), verbs_memory_hint());
        free(m);
        return status;
    }
    m->super =
        (struct rfaas_memory){.base = base, .size = size, .key = m->region->rkey};
    DL_APPEND(d->memories, m);
    *memory = &m->super;
    return RFAAS_OK;
}

int verbs_memory_alloc(struct rfaas_device *device, size_t size,
                       struct rfaas_memory **memory)
{
    void *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: %zu bytes of memory: %m", size);
    int status = verbs_memory_register(device, base, size, RFAAS_ACCESS_WRITE, memory);
    if (status == RFAAS_OK)
        ((struct verbs_memory *)*memory)->mapped = true;
    else
        munmap(base, size);
    return status;
}

void verbs_memory_free(struct rfaas_device *device, struct rfaas_memory *memory)
{
    struct verbs_device *d = (struct verbs_device *)device;
    struct verbs_memory *m = (struct verbs_memory *)memory;
    DL_DELETE(d->memories, m);
    if (d->last == m)
        d->last = NULL;
    ibv_dereg_mr(m->region);
    if (m->mapped)
        munmap(m->super.base, m->super.size);
    free(m);
}

void verbs_memory_export(const struct rfaas_memory *memory, struct rfaas_blob *blob)
{
    struct memory_blob content = {
        .magic = VERBS_MAGIC,
        .key = memory->key,
        .address = (uintptr_t)memory->base,
        .size = memory->size,
    };
    memcpy(blob->bytes, &content, sizeof content);
    blob->size = sizeof content;
    blob->fd_count = 0;
}

bool verbs_memory_holds(const struct verbs_memory *m, const void *base, size_t size)
{
    uintptr_t offset = (uintptr_t)base - (uintptr_t)m->super.base;
    return offset <= m->super.size && size <= m->super.size - offset;
}

struct verbs_memory *verbs_memory_find(struct verbs_device *d, const void *base,
                                       size_t size)
{
    struct verbs_memory *m;
    if (d->last && verbs_memory_holds(d->last, base, size))
        return d->last;
    DL_FOREACH(d->memories, m)
        if (verbs_memory_holds(m, base, size))
            return d->last = m;
    return NULL;
}

/* ---- device ---------------------------------------------------------------------- */

static int queue_open(struct verbs_device *d)
{
    d->domain = ibv_alloc_pd(d->context);
    d->channel = d->domain ? ibv_create_comp_channel(d->context) : NULL;
    d->queue =
        d->channel ? ibv_create_cq(d->context, QUEUE_MIN, NULL, d->channel, 0) : NULL;
    if (!d->queue)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: opening %s: %s%s",
                          d->port.device, strerror(errno), verbs_memory_hint());
    d->queue_room = (unsigned)d->queue->cqe;
    int flags = fcntl(d->channel->fd, F_GETFL);
    if (flags < 0 || fcntl(d->channel->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return rfaas_fail(RFAAS_ERR_IO, "verbs: completion channel: %m");
    return RFAAS_OK;
}

/* A function may fork, and then its pages must stay the device's. Does nothing where the
 * kernel copies registered pages for the child at once (Linux 5.12). */
static void fork_prepare(void)
{
    ibv_fork_init();
}

int verbs_device_open(const struct rfaas_device_options *options,
                      struct rfaas_device **device)
{
    struct verbs_device *d = calloc(1, sizeof *d);
    if (!d)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "verbs: out of memory for a device");
    d->super.transport = &rfaas_transport_verbs;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fork_prepare);
    int status = verbs_port_open(options, &d->port, &d->context);
    if (status == RFAAS_OK)
        status = queue_open(d);
    if (status != RFAAS_OK) {
        verbs_device_close(&d->super);
        return status;
    }
    d->inline_max = VERBS_INLINE_MAX; /* until a queue pair is refused it */
    /* Where a fork has to leave registered pages out, the child would lack the user's. */
    d->super.registers = ibv_is_fork_initialized() == IBV_FORK_UNNEEDED;
    *device = &d->super;
    return RFAAS_OK;
}

void verbs_device_close(struct rfaas_device *device)
{
    struct verbs_device *d = (struct verbs_device *)device;
    struct verbs_endpoint *ep, *next;
    HASH_ITER(hh, d->endpoints, ep, next)
        verbs_endpoint_close(&ep->super);
    while (d->memories)
        verbs_memory_free(device, &d->memories->super);
    if (d->queue)
        ibv_destroy_cq(d->queue);
    if (d->channel)
        ibv_destroy_comp_channel(d->channel);
    if (d->domain)
        ibv_dealloc_pd(d->domain);
    if (d->context)
        ibv_close_device(d->context);
    free(d->waiting);
    free(d);
}

int verbs_queue_reserve(struct verbs_device *d, unsigned more)
{
    unsigned needed = d->queue_used + more, room = d->queue_room;
    while (room < needed)
        room *= 2;
    if (room > d->queue_room) {
        int error = ibv_resize_cq(d->queue, (int)room);
        if (error && room > needed) { /* the most that there is may lie between */
            room = needed;
            error = ibv_resize_cq(d->queue, (int)room);
        }
        if (error)
            return rfaas_fail(RFAAS_ERR_NO_MEMORY,
                              "verbs: a completion queue of %u entries: %s%s", room,
                              strerror(error), verbs_memory_hint());
        d->queue_room = (unsigned)d->queue->cqe;
    }
    d->queue_used = needed;
    return RFAAS_OK;
}
