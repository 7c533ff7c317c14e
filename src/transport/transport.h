/* How bytes reach a peer: the contract that every transport keeps.
 *
 *   device    one process's door to a transport; owns memories and endpoints, and the
 *             completion queue of all of them
 *   memory    a stretch of this process that peers write and read, known to them by
 *             address and key
 *   endpoint  one peer
 *
 * Each side opens an endpoint, sends the peer its blob over the control connection,
 * connects to the peer's blob, and imports the blobs of the peer's memories. Then one
 * `write` puts bytes into the peer's memory and a completion {immediate, length} into
 * its queue; when the peer sees the completion the bytes are there.
 *
 * A device and all that it owns belong to one thread at a time. Nothing is checked
 * twice: what comes from the peer's process is checked here, what comes from the
 * caller (sizes within its own memory, depth) is the caller's promise. */
#ifndef RFAAS_TRANSPORT_H
#define RFAAS_TRANSPORT_H

#include "base/export.h"
#include "rfaas.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    RFAAS_BLOB_SIZE_MAX = 128,
    RFAAS_BLOB_FDS_MAX = 2,
    RFAAS_DEPTH_MAX = 256,
};

/* What the peer needs to reach an endpoint or a memory. Descriptors belong to who
 * made the blob (the endpoint or memory keeps them open), or, on the receiving side,
 * to who received it: connect and import take duplicates. */
struct rfaas_blob {
    unsigned char bytes[RFAAS_BLOB_SIZE_MAX];
    size_t size;
    int fds[RFAAS_BLOB_FDS_MAX];
    int fd_count;
};

struct rfaas_transport;

/* The parts that all transports have; theirs begin with these. */
struct rfaas_device {
    const struct rfaas_transport *transport;
    /* memory_register takes any memory of the process, to nobody's harm. */
    bool registers;
    /* The owner's, or NULL: called when there is no room to register memory. Gives some
     * of it up (memory_free) and returns true, or has none to give. */
    bool (*reclaim)(void *arg);
    void *reclaim_arg;
};

/* What peers may do with a memory. */
enum rfaas_access {
    RFAAS_ACCESS_READ,
    RFAAS_ACCESS_WRITE, /* and read */
};

struct rfaas_memory {
    void *base;
    size_t size;
    uint32_t key; /* not used again while the device lives */
};

struct rfaas_endpoint {
    const struct rfaas_transport *transport;
    void *owner; /* for the user of the endpoint; the transport leaves it alone */
    size_t message_max; /* bytes of one message; `read` takes any number */
};

/* depth       messages that may be on the way to the peer or unread there, and the
 *             other way, 1..RFAAS_DEPTH_MAX
 * inline_max  messages up to this many bytes travel with the completion */
struct rfaas_endpoint_options {
    unsigned depth;
    size_t inline_max;
};

/* status     RFAAS_OK; RFAAS_ERR_PROTOCOL: the peer broke the contract, RFAAS_ERR_IO:
 *            it can't be reached any more. Then nothing more comes from it, only
 *            `endpoint` is valid, and rfaas_last_error tells more
 * immediate  what the peer gave
 * length     bytes that it wrote */
struct rfaas_completion {
    struct rfaas_endpoint *endpoint;
    int status;
    uint32_t immediate;
    size_t length;
};

/* Which of the machine's devices: for transports that have several. NULL or "", 0 and
 * -1 leave the choice to the transport. */
struct rfaas_device_options {
    const char *device;
    int port;
    int gid_index;
};

struct rfaas_transport {
    size_t size; /* of this table, so that it can grow */
    const char *name;
    /* Peers read memory where it lies, by `map`. */
    bool common_memory;
    /* Parts of messages that don't lie in a memory of the device are best copied to one,
     * or registered, when they are longer than this. */
    size_t copy_max;

    /* For people: what the machine has of it, and why some can't be used; lines. */
    void (*describe)(char *text, size_t size);

    int (*device_open)(const struct rfaas_device_options *options,
                       struct rfaas_device **device);
    void (*device_close)(
        struct rfaas_device *device); /* endpoints, memories go along */

    /* Zeroed memory, aligned to a page, that peers can import. */
    int (*memory_alloc)(struct rfaas_device *device, size_t size,
                        struct rfaas_memory **memory);
    /* The same of memory that the caller has, and keeps until memory_free;
     * RFAAS_ERR_UNSUPPORTED where only memory_alloc makes such memory. */
    int (*memory_register)(struct rfaas_device *device, void *base, size_t size,
                           enum rfaas_access access, struct rfaas_memory **memory);
    void (*memory_free)(struct rfaas_device *device, struct rfaas_memory *memory);
    void (*memory_export)(const struct rfaas_memory *memory, struct rfaas_blob *blob);

    int (*endpoint_open)(struct rfaas_device *device,
                         const struct rfaas_endpoint_options *options,
                         struct rfaas_endpoint **endpoint);
    void (*endpoint_export)(const struct rfaas_endpoint *endpoint,
                            struct rfaas_blob *blob);
    int (*endpoint_connect)(struct rfaas_endpoint *endpoint,
                            const struct rfaas_blob *peer);
    /* Cuts it off from its peer, of which nothing more comes, and makes it as it was
     * when opened: with another address, to be connected to another of the peer's. What
     * was imported stays. After an error it can only be closed; RFAAS_ERR_UNSUPPORTED
     * where the way between two that live can't fail. */
    int (*endpoint_reset)(struct rfaas_endpoint *endpoint);
    void (*endpoint_close)(struct rfaas_endpoint *endpoint);

    /* A memory of the peer becomes a target for write, read, map under its key. */
    int (*memory_import)(struct rfaas_endpoint *endpoint, const struct rfaas_blob *peer,
                         uint32_t *key);
    void (*memory_forget)(struct rfaas_endpoint *endpoint, uint32_t key);

    /* Writes the parts, one behind the other, to `address` in the peer's memory `key`,
     * then completes there. Parts that lie in `from`, a memory of the device or NULL,
     * have to stay as they are until the peer has answered or `flush` has returned;
     * others may be reused at once. RFAAS_ERR_ARGUMENT: no such place at the peer
     * (nothing was written); RFAAS_ERR_IO: the way to it is broken, which a completion
     * tells, too. */
    int (*write)(struct rfaas_endpoint *endpoint, const struct iovec *parts, int count,
                 const struct rfaas_memory *from, uint64_t address, uint32_t key,
                 uint32_t immediate);

    /* Fetches bytes from the peer's memory `key` to a place in a memory of this device;
     * they are there when it returns. Errors as of write. */
    int (*read)(struct rfaas_endpoint *endpoint, void *to, size_t size,
                uint64_t address, uint32_t key);

    /* Waits until the parts of all writes so far may be reused, or, `delivered`, until
     * the peer has them even if this process ends: some seconds at most. */
    int (*flush)(struct rfaas_endpoint *endpoint, bool delivered);

    /* The peer's bytes where they lie, read-only; NULL if there is no such place or
     * the transport has no common memory. Valid until the memory is forgotten. */
    const void *(*map)(struct rfaas_endpoint *endpoint, uint64_t address, size_t size,
                       uint32_t key);

    /* Takes at most `max` completions; returns how many. Never blocks. */
    int (*poll)(struct rfaas_device *device, struct rfaas_completion *completions,
                int max);

    /* Before sleeping: RFAAS_IN_PROGRESS: nothing is there, and the device's
     * descriptor becomes readable when something is; RFAAS_OK: poll first. `disarm`
     * ends that after the sleep; what the descriptor says then means nothing. */
    int (*arm)(struct rfaas_device *device);
    void (*disarm)(struct rfaas_device *device);
    int (*descriptor)(const struct rfaas_device *device);
};

/* All that this build has, in the order of preference on one node; `count` of them. */
RFAAS_PRIVATE_API const struct rfaas_transport *const *rfaas_transports(size_t *count);
/* NULL if there is none of that name. */
const struct rfaas_transport *rfaas_transport_find(const char *name);

extern const struct rfaas_transport rfaas_transport_shm;
#if RFAAS_HAVE_VERBS
extern const struct rfaas_transport rfaas_transport_verbs;
#endif

#endif
