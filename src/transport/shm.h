/* What the files of the transport `shm` share: shm.c (devices, endpoints, messages) and
 * shm_memory.c (memfds, ours and the peers'). */
#ifndef RFAAS_TRANSPORT_SHM_H
#define RFAAS_TRANSPORT_SHM_H

#include "transport/transport.h"
#include <uthash.h>

enum { SHM_MAGIC = 0x73686d31 };

/* What a memfd is to its peers; the blobs of endpoints and memories. */
struct ring_blob {
    uint32_t magic, entries, stride;
    uint32_t fenced; /* its reader can't do without the senders' fences */
};
struct memory_blob {
    uint32_t magic, key;
    uint64_t address, size;
};

struct shm_memory {
    struct rfaas_memory super;
    int fd;
    UT_hash_handle hh; /* in the device's table, by key */
};

/* A memory of the peer. Two views: functions get theirs read-only, so that one that
 * writes to its input ends with a fault rather than in the caller's data. */
struct mapping {
    uint32_t key;
    uint64_t address;
    size_t size;
    unsigned char *readable, *writable;
    UT_hash_handle hh; /* in the endpoint's table, by key */
};

struct shm_endpoint {
    struct rfaas_endpoint super;
    struct shm_device *device;
    size_t inline_max;
    struct ring *inbox, *outbox;
    int inbox_fd, doorbell; /* ours; the peer's eventfd */
    size_t inbox_bytes, outbox_bytes;
    uint32_t inbox_stride, inbox_mask, outbox_stride, outbox_mask, outbox_inline;
    uint32_t received, sent;
    bool fenced; /* we fence before we look whether the peer sleeps */
    bool broken;
    struct mapping *mappings;
    struct mapping *last; /* the one used before is mostly the one used next */
    struct shm_endpoint *prev, *next;
};

struct shm_device {
    struct rfaas_device super;
    int doorbell;
    uint32_t next_key;
    bool armed;
    struct shm_memory *memories;
    struct shm_memory *last;
    struct shm_endpoint *endpoints;
};

/* Memfds: a new one, mapped; whether one of the peer's can be trusted with `size`
 * bytes; mapping that. */
int shm_shared_create(const char *name, size_t size, int *fd, void **base);
int shm_shared_check(int fd, uint64_t size);
int shm_shared_map(int fd, size_t size, int protection, void **base);

int shm_memory_alloc(struct rfaas_device *device, size_t size,
                     struct rfaas_memory **memory);
int shm_memory_register(struct rfaas_device *device, void *base, size_t size,
                        enum rfaas_access access, struct rfaas_memory **memory);
void shm_memory_free(struct rfaas_device *device, struct rfaas_memory *memory);
void shm_memory_export(const struct rfaas_memory *memory, struct rfaas_blob *blob);
int shm_memory_import(struct rfaas_endpoint *endpoint, const struct rfaas_blob *peer,
                      uint32_t *key);
void shm_memory_forget(struct rfaas_endpoint *endpoint, uint32_t key);
int shm_read(struct rfaas_endpoint *endpoint, void *to, size_t size, uint64_t address,
             uint32_t key);
const void *shm_map(struct rfaas_endpoint *endpoint, uint64_t address, size_t size,
                    uint32_t key);
void shm_mapping_free(struct shm_endpoint *ep, struct mapping *m);

static inline struct mapping *shm_mapping_find(struct shm_endpoint *ep, uint32_t key)
{
    struct mapping *m = ep->last;
    if (m && m->key == key)
        return m;
    HASH_FIND(hh, ep->mappings, &key, sizeof key, m);
    if (m)
        ep->last = m;
    return m;
}

/* Whether the peer's memory holds [address, address + size); `offset` is where. */
static inline bool shm_mapping_holds(const struct mapping *m, uint64_t address,
                                     uint64_t size, uint64_t *offset)
{
    *offset = address - m->address;
    return address >= m->address && *offset <= m->size && size <= m->size - *offset;
}

#endif
