/* The transport `shm`: peers on one node, by shared memory.
 *
 * Memories and rings are memfds, passed as descriptors: they have no name and go when
 * the last process that maps them does. They are sealed against shrinking, so that a
 * peer can't make our reads of them fault.
 *
 * Each endpoint has a ring in which its peer leaves messages. An entry is a whole
 * number of cache lines; a short message travels inside it and is put in its place by
 * the receiver when it polls, so that one cache line carries completion and data. A
 * long one is copied to its place by the sender first. An entry is full when its
 * sequence number is the one that the reader expects there: nothing has to be reset,
 * and the reader never writes to the line that it waits for. Both sides keep to
 * `depth` unread messages, so there is no need to look whether an entry is free. */
#include "transport/shm.h"

#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

enum { CACHE_LINE = 64, INLINE_LIMIT = 4096 };

struct entry {
    _Atomic uint32_t sequence;
    uint32_t immediate;
    uint64_t address;
    uint64_t length;
    uint32_t key;
    uint32_t inline_length; /* bytes of the message that are in `data` */
    unsigned char data[];
};

/* The sleeping flag has a line of its own: senders read it after each message. */
struct ring {
    _Atomic uint32_t armed;
    char padding[CACHE_LINE - sizeof(uint32_t)];
    char entries[];
};

/* ---- fences ----------------------------------------------------------------------

   A sender has to look whether its reader sleeps after each message, and the two must
   not be reordered, which takes a full fence: as long as the message's cache line
   takes. Readers sleep rarely, so they pay: membarrier makes every sender that runs
   execute a fence. Both sides have to be registered for it; else senders fence. */

static bool barrier_works;

static void barrier_register(void)
{
    barrier_works =
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

static bool barrier_available(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, barrier_register);
    return barrier_works;
}

static void reader_fence(void)
{
    if (barrier_works) /* and can't fail any more: the kernel has registered us */
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    else
        atomic_thread_fence(memory_order_seq_cst);
}

static void sender_fence(bool fenced)
{
    if (fenced)
        atomic_thread_fence(memory_order_seq_cst);
    else
        atomic_signal_fence(memory_order_seq_cst); /* the compiler keeps the order */
}

/* ---- device ---------------------------------------------------------------------- */

static int shm_device_open(const struct rfaas_device_options *options,
                           struct rfaas_device **device)
{
    (void)options; /* there is one node */
    struct shm_device *d = calloc(1, sizeof *d);
    if (!d)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: out of memory for a device");
    d->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->doorbell < 0) {
        free(d);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: eventfd: %m");
    }
    d->super.transport = &rfaas_transport_shm;
    d->next_key = 1;
    *device = &d->super;
    return RFAAS_OK;
}

static void shm_endpoint_close(struct rfaas_endpoint *endpoint);

static void shm_device_close(struct rfaas_device *device)
{
    struct shm_device *d = (struct shm_device *)device;
    while (d->endpoints)
        shm_endpoint_close(&d->endpoints->super);
    while (d->memories)
        shm_memory_free(device, &d->memories->super);
    close(d->doorbell);
    free(d);
}

/* ---- endpoint -------------------------------------------------------------------- */

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t n = 1;
    while (n < at_least)
        n *= 2;
    return n;
}

static int shm_endpoint_open(struct rfaas_device *device,
                             const struct rfaas_endpoint_options *options,
                             struct rfaas_endpoint **endpoint)
{
    struct shm_device *d = (struct shm_device *)device;
    if (options->depth < 1 || options->depth > RFAAS_DEPTH_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "shm: depth %u is not in 1..%d",
                          options->depth, RFAAS_DEPTH_MAX);
    struct shm_endpoint *ep = calloc(1, sizeof *ep);
    if (!ep)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: out of memory for an endpoint");
    ep->inline_max =
        options->inline_max < INLINE_LIMIT ? options->inline_max : INLINE_LIMIT;
    size_t stride = sizeof(struct entry) + ep->inline_max;
    ep->inbox_stride = (uint32_t)((stride + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    uint32_t entries = power_of_two(options->depth);
    ep->inbox_mask = entries - 1;
    ep->inbox_bytes = sizeof(struct ring) + (size_t)entries * ep->inbox_stride;
    void *ring;
    int status = shm_shared_create("rfaas-ring", ep->inbox_bytes, &ep->inbox_fd, &ring);
    if (status != RFAAS_OK) {
        free(ep);
        return status;
    }
    ep->inbox = ring;
    ep->doorbell = -1;
    ep->device = d;
    ep->super.transport = &rfaas_transport_shm;
    ep->super.message_max = SIZE_MAX;
    DL_APPEND(d->endpoints, ep);
    *endpoint = &ep->super;
    return RFAAS_OK;
}

static void shm_endpoint_export(const struct rfaas_endpoint *endpoint,
                                struct rfaas_blob *blob)
{
    const struct shm_endpoint *ep = (const struct shm_endpoint *)endpoint;
    struct ring_blob content = {
        .magic = SHM_MAGIC,
        .entries = ep->inbox_mask + 1,
        .stride = ep->inbox_stride,
        .fenced = !barrier_available(),
    };
    memcpy(blob->bytes, &content, sizeof content);
    blob->size = sizeof content;
    blob->fds[0] = ep->inbox_fd;
    blob->fds[1] = ep->device->doorbell;
    blob->fd_count = 2;
}

static int shm_endpoint_connect(struct rfaas_endpoint *endpoint,
                                const struct rfaas_blob *peer)
{
    struct shm_endpoint *ep = (struct shm_endpoint *)endpoint;
    struct ring_blob content;
    if (ep->outbox)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "shm: endpoint is connected already");
    if (peer->size != sizeof content || peer->fd_count != 2)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: malformed address of an endpoint");
    memcpy(&content, peer->bytes, sizeof content);
    if (content.magic != SHM_MAGIC || content.entries < 1 ||
        content.entries > RFAAS_DEPTH_MAX ||
        (content.entries & (content.entries - 1)) != 0 || content.stride < CACHE_LINE ||
        content.stride > sizeof(struct entry) + INLINE_LIMIT + CACHE_LINE ||
        content.stride % CACHE_LINE != 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: malformed address of an endpoint");
    size_t bytes = sizeof(struct ring) + (size_t)content.entries * content.stride;
    int status = shm_shared_check(peer->fds[0], bytes);
    if (status != RFAAS_OK)
        return status;
    int doorbell = fcntl(peer->fds[1], F_DUPFD_CLOEXEC, 0);
    if (doorbell < 0)
        return rfaas_fail(RFAAS_ERR_IO, "shm: duplicating the peer's doorbell: %m");
    void *ring;
    status = shm_shared_map(peer->fds[0], bytes, PROT_READ | PROT_WRITE, &ring);
    if (status != RFAAS_OK) {
        close(doorbell);
        return status;
    }
    ep->outbox = ring;
    ep->outbox_bytes = bytes;
    ep->outbox_stride = content.stride;
    ep->outbox_mask = content.entries - 1;
    ep->outbox_inline = content.stride - (uint32_t)sizeof(struct entry);
    if (ep->outbox_inline > ep->inline_max)
        ep->outbox_inline = (uint32_t)ep->inline_max;
    ep->doorbell = doorbell;
    ep->fenced = content.fenced || !barrier_available();
    return RFAAS_OK;
}

/* Memory doesn't fail. */
static int shm_endpoint_reset(struct rfaas_endpoint *endpoint)
{
    (void)endpoint;
    return RFAAS_ERR_UNSUPPORTED;
}

static void shm_endpoint_close(struct rfaas_endpoint *endpoint)
{
    struct shm_endpoint *ep = (struct shm_endpoint *)endpoint;
    struct mapping *m, *next;
    HASH_ITER(hh, ep->mappings, m, next)
        shm_mapping_free(ep, m);
    if (ep->outbox)
        munmap(ep->outbox, ep->outbox_bytes);
    if (ep->doorbell >= 0)
        close(ep->doorbell);
    munmap(ep->inbox, ep->inbox_bytes);
    close(ep->inbox_fd);
    DL_DELETE(ep->device->endpoints, ep);
    free(ep);
}

/* ---- messages -------------------------------------------------------------------- */

static void gather(unsigned char *to, const struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
}

/* Wakes a peer that sleeps. The fence orders the message before the look at the flag;
 * `arm` orders the flag before its last look at the ring: one of the two sees the
 * other, so no message finds its reader asleep and leaves it so. */
static void ring_doorbell(struct shm_endpoint *ep)
{
    sender_fence(ep->fenced);
    if (atomic_load_explicit(&ep->outbox->armed, memory_order_relaxed) == 0)
        return;
    uint64_t one = 1;
    /* It can only fail when the counter is full, and then the peer is awake. */
    ssize_t written = write(ep->doorbell, &one, sizeof one);
    (void)written;
}

static int shm_write(struct rfaas_endpoint *endpoint, const struct iovec *parts,
                     int count, const struct rfaas_memory *from, uint64_t address,
                     uint32_t key, uint32_t immediate)
{
    struct shm_endpoint *ep = (struct shm_endpoint *)endpoint;
    size_t length = 0;
    (void)from; /* all parts are copied */
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    struct entry *e =
        (struct entry *)(ep->outbox->entries +
                         (size_t)(ep->sent & ep->outbox_mask) * ep->outbox_stride);
    if (length <= ep->outbox_inline) {
        gather(e->data, parts, count);
        e->inline_length = (uint32_t)length;
    } else {
        struct mapping *m = shm_mapping_find(ep, key);
        uint64_t offset;
        if (!m || !shm_mapping_holds(m, address, length, &offset))
            return rfaas_fail(RFAAS_ERR_ARGUMENT,
                              "shm: %zu bytes at %#llx, key %u, are not the peer's",
                              length, (unsigned long long)address, key);
        gather(m->writable + offset, parts, count);
        e->inline_length = 0;
    }
    e->immediate = immediate;
    e->address = address;
    e->length = length;
    e->key = key;
    ep->sent++;
    /* Release: who sees the number sees all that was written before it. */
    atomic_store_explicit(&e->sequence, ep->sent, memory_order_release);
    ring_doorbell(ep);
    return RFAAS_OK;
}

/* Where a message from the peer goes in our memory; NULL if that isn't ours. */
static unsigned char *own_place(struct shm_device *d, const struct entry *e,
                                uint64_t length)
{
    struct shm_memory *m = d->last;
    if (!m || m->super.key != e->key) {
        uint32_t key = e->key;
        HASH_FIND(hh, d->memories, &key, sizeof key, m);
        if (!m)
            return NULL;
        d->last = m;
    }
    uint64_t offset = e->address - (uintptr_t)m->super.base;
    if (offset > m->super.size || length > m->super.size - offset)
        return NULL;
    return (unsigned char *)m->super.base + offset;
}

static struct entry *next_entry(const struct shm_endpoint *ep)
{
    return (struct entry *)(ep->inbox->entries +
                            (size_t)(ep->received & ep->inbox_mask) * ep->inbox_stride);
}

static bool has_message(const struct shm_endpoint *ep)
{
    /* The second line of a message comes at the same time as the first, then. */
    if (ep->inbox_stride > CACHE_LINE)
        __builtin_prefetch((const char *)next_entry(ep) + CACHE_LINE);
    /* Acquire: pairs with the release in shm_write. */
    return !ep->broken &&
           atomic_load_explicit(&next_entry(ep)->sequence, memory_order_acquire) ==
               ep->received + 1;
}

/* Takes the message at hand. The peer can change the entry while we look at it, so
 * each field is read once. */
static int take_message(struct shm_endpoint *ep, struct rfaas_completion *c)
{
    const struct entry *e = next_entry(ep);
    uint32_t inline_length = *(const volatile uint32_t *)&e->inline_length;
    c->endpoint = &ep->super;
    c->immediate = e->immediate;
    c->length = *(const volatile uint64_t *)&e->length;
    ep->received++;
    if (inline_length == 0) {
        c->status = RFAAS_OK;
        return RFAAS_OK;
    }
    unsigned char *place = own_place(ep->device, e, inline_length);
    if (!place || inline_length != c->length ||
        inline_length > ep->inbox_stride - sizeof *e) {
        ep->broken = true;
        c->status = rfaas_fail(RFAAS_ERR_PROTOCOL,
                               "shm: peer wrote outside of what it was given");
        return c->status;
    }
    memcpy(place, e->data, inline_length);
    c->status = RFAAS_OK;
    return RFAAS_OK;
}

static int shm_poll(struct rfaas_device *device, struct rfaas_completion *completions,
                    int max)
{
    struct shm_device *d = (struct shm_device *)device;
    struct shm_endpoint *ep;
    int taken = 0;
    DL_FOREACH(d->endpoints, ep) {
        while (taken < max && has_message(ep))
            take_message(ep, &completions[taken++]);
        if (taken == max)
            break;
    }
    return taken;
}

static int shm_flush(struct rfaas_endpoint *endpoint, bool delivered)
{
    (void)endpoint, (void)delivered; /* writes copy, and are there at once */
    return RFAAS_OK;
}

static void set_armed(struct shm_device *d, uint32_t value)
{
    struct shm_endpoint *ep;
    DL_FOREACH(d->endpoints, ep)
        atomic_store_explicit(&ep->inbox->armed, value, memory_order_relaxed);
    d->armed = value != 0;
}

static void shm_disarm(struct rfaas_device *device)
{
    struct shm_device *d = (struct shm_device *)device;
    if (!d->armed)
        return;
    set_armed(d, 0);
    uint64_t rings;
    ssize_t n = read(d->doorbell, &rings, sizeof rings); /* EAGAIN: nobody rang */
    (void)n;
}

static int shm_arm(struct rfaas_device *device)
{
    struct shm_device *d = (struct shm_device *)device;
    set_armed(d, 1);
    reader_fence(); /* see ring_doorbell */
    struct shm_endpoint *ep;
    DL_FOREACH(d->endpoints, ep) {
        if (has_message(ep)) {
            shm_disarm(device);
            return RFAAS_OK;
        }
    }
    return RFAAS_IN_PROGRESS;
}

static int shm_descriptor(const struct rfaas_device *device)
{
    return ((const struct shm_device *)device)->doorbell;
}

static void shm_describe(char *text, size_t size)
{
    snprintf(text, size, "shm: memory that processes of this node share%s\n",
             barrier_available() ? "" : "; no membarrier: messages cost a fence");
}

const struct rfaas_transport rfaas_transport_shm = {
    .size = sizeof(struct rfaas_transport),
    .name = "shm",
    .common_memory = true,
    .copy_max = SIZE_MAX,
    .describe = shm_describe,
    .device_open = shm_device_open,
    .device_close = shm_device_close,
    .memory_alloc = shm_memory_alloc,
    .memory_register = shm_memory_register,
    .memory_free = shm_memory_free,
    .memory_export = shm_memory_export,
    .endpoint_open = shm_endpoint_open,
    .endpoint_export = shm_endpoint_export,
    .endpoint_connect = shm_endpoint_connect,
    .endpoint_reset = shm_endpoint_reset,
    .endpoint_close = shm_endpoint_close,
    .memory_import = shm_memory_import,
    .memory_forget = shm_memory_forget,
    .write = shm_write,
    .read = shm_read,
    .flush = shm_flush,
    .map = shm_map,
    .poll = shm_poll,
    .arm = shm_arm,
    .disarm = shm_disarm,
    .descriptor = shm_descriptor,
};
