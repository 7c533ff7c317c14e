/* Memory of the transport `shm`. */
#include "transport/shm.h"

#include "base/error.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- shared files ---------------------------------------------------------------- */

int shm_shared_create(const char *name, size_t size, int *fd, void **base)
{
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: memfd_create: %m");
    if (ftruncate(*fd, (off_t)size) < 0 ||
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto fail;
    *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
    if (*base != MAP_FAILED)
        return RFAAS_OK;
fail:
    rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: %zu bytes of shared memory: %m", size);
    close(*fd);
    return RFAAS_ERR_NO_MEMORY;
}

/* A descriptor from the peer must be a sealed memfd of at least the claimed size. */
int shm_shared_check(int fd, uint64_t size)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: peer's memory is not sealed");
    if (size == 0 || (uint64_t)st.st_size < size)
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "shm: peer claims %llu bytes of memory and has %lld",
                          (unsigned long long)size, (long long)st.st_size);
    return RFAAS_OK;
}

int shm_shared_map(int fd, size_t size, int protection, void **base)
{
    *base = mmap(NULL, size, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (*base == MAP_FAILED)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: mapping %zu bytes of a peer: %m",
                          size);
    return RFAAS_OK;
}

/* ---- memory ---------------------------------------------------------------------- */

int shm_memory_alloc(struct rfaas_device *device, size_t size,
                     struct rfaas_memory **memory)
{
    struct shm_device *d = (struct shm_device *)device;
    struct shm_memory *m = calloc(1, sizeof *m);
    if (!m)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: out of memory for a memory");
    int status = shm_shared_create("rfaas-memory", size, &m->fd, &m->super.base);
    if (status != RFAAS_OK) {
        free(m);
        return status;
    }
    m->super.size = size;
    m->super.key = d->next_key++;
    HASH_ADD(hh, d->memories, super.key, sizeof m->super.key, m);
    *memory = &m->super;
    return RFAAS_OK;
}

int shm_memory_register(struct rfaas_device *device, void *base, size_t size,
                        enum rfaas_access access, struct rfaas_memory **memory)
{
    (void)device, (void)base, (void)access, (void)memory;
    return rfaas_fail(RFAAS_ERR_UNSUPPORTED,
                      "shm: %zu bytes that others can't map can't be shared", size);
}

void shm_memory_free(struct rfaas_device *device, struct rfaas_memory *memory)
{
    struct shm_device *d = (struct shm_device *)device;
    struct shm_memory *m = (struct shm_memory *)memory;
    HASH_DEL(d->memories, m);
    if (d->last == m)
        d->last = NULL;
    munmap(m->super.base, m->super.size);
    close(m->fd);
    free(m);
}

void shm_memory_export(const struct rfaas_memory *memory, struct rfaas_blob *blob)
{
    const struct shm_memory *m = (const struct shm_memory *)memory;
    struct memory_blob content = {
        .magic = SHM_MAGIC,
        .key = memory->key,
        .address = (uintptr_t)memory->base,
        .size = memory->size,
    };
    memcpy(blob->bytes, &content, sizeof content);
    blob->size = sizeof content;
    blob->fds[0] = m->fd;
    blob->fd_count = 1;
}

void shm_mapping_free(struct shm_endpoint *ep, struct mapping *m)
{
    HASH_DEL(ep->mappings, m);
    if (ep->last == m)
        ep->last = NULL;
    munmap(m->readable, m->size);
    munmap(m->writable, m->size);
    free(m);
}

int shm_memory_import(struct rfaas_endpoint *endpoint, const struct rfaas_blob *peer,
                      uint32_t *key)
{
    struct shm_endpoint *ep = (struct shm_endpoint *)endpoint;
    struct memory_blob content;
    if (peer->size != sizeof content || peer->fd_count != 1)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: malformed description of memory");
    memcpy(&content, peer->bytes, sizeof content);
    if (content.magic != SHM_MAGIC || content.address + content.size < content.address)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: malformed description of memory");
    int status = shm_shared_check(peer->fds[0], content.size);
    if (status != RFAAS_OK)
        return status;
    struct mapping *m;
    HASH_FIND(hh, ep->mappings, &content.key, sizeof content.key, m);
    if (m)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "shm: peer's key %u is in use",
                          content.key);

    m = calloc(1, sizeof *m);
    if (!m)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "shm: out of memory for a mapping");
    *m = (struct mapping){
        .key = content.key, .address = content.address, .size = content.size};
    void *view;
    status = shm_shared_map(peer->fds[0], m->size, PROT_READ, &view);
    if (status != RFAAS_OK)
        goto fail_alloc;
    m->readable = view;
    status = shm_shared_map(peer->fds[0], m->size, PROT_READ | PROT_WRITE, &view);
    if (status != RFAAS_OK)
        goto fail_readable;
    m->writable = view;
    HASH_ADD(hh, ep->mappings, key, sizeof m->key, m);
    *key = m->key;
    return RFAAS_OK;
fail_readable:
    munmap(m->readable, m->size);
fail_alloc:
    free(m);
    return status;
}

void shm_memory_forget(struct rfaas_endpoint *endpoint, uint32_t key)
{
    struct shm_endpoint *ep = (struct shm_endpoint *)endpoint;
    struct mapping *m = shm_mapping_find(ep, key);
    if (m)
        shm_mapping_free(ep, m);
}

const void *shm_map(struct rfaas_endpoint *endpoint, uint64_t address, size_t size,
                    uint32_t key)
{
    struct mapping *m = shm_mapping_find((struct shm_endpoint *)endpoint, key);
    uint64_t offset;
    if (!m || !shm_mapping_holds(m, address, size, &offset))
        return NULL;
    return m->readable + offset;
}

int shm_read(struct rfaas_endpoint *endpoint, void *to, size_t size, uint64_t address,
             uint32_t key)
{
    const void *from = shm_map(endpoint, address, size, key);
    if (!from && size > 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "shm: %zu bytes at %#llx, key %u, are not the peer's", size,
                          (unsigned long long)address, key);
    if (size > 0)
        memcpy(to, from, size);
    return RFAAS_OK;
}
