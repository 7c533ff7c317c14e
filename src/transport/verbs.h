/* What the files of the transport `verbs` share: verbs.c (messages), verbs_endpoint.c
 * (queue pairs and what their peers have), verbs_device.c (the device, its memories),
 * verbs_port.c (which device, port and address). */
#ifndef RFAAS_TRANSPORT_VERBS_H
#define RFAAS_TRANSPORT_VERBS_H

#include "transport/transport.h"
#include <infiniband/verbs.h>
#include <uthash.h>

enum {
    VERBS_MAGIC = 0x76726231,
    /* Pieces of a message that lie apart; more are gathered first. */
    VERBS_PARTS_MAX = 4,
    VERBS_INLINE_MAX = 1024,
    /* Messages longer than this from unregistered memory are worth a registration. */
    VERBS_COPY_MAX = 16 << 10,
    VERBS_POLL = 16, /* completions taken from the queue at a time */
};

/* The place of a port in its fabric. */
struct verbs_port {
    char device[64];
    uint8_t number;
    bool ethernet;
    int gid_index;
    union ibv_gid gid;
    uint16_t lid;
    uint8_t mtu; /* enum ibv_mtu */
    uint32_t message_max;
};

/* An endpoint to its peers; a memory to its peers. */
struct endpoint_blob {
    uint32_t magic, queue_pair, sequence;
    uint16_t lid;
    uint8_t mtu, ethernet;
    unsigned char gid[16];
};
struct memory_blob {
    uint32_t magic, key;
    uint64_t address, size;
};

struct verbs_memory {
    struct rfaas_memory super;
    struct ibv_mr *region;
    bool mapped; /* by us */
    struct verbs_memory *prev, *next;
};

/* A memory of the peer. */
struct verbs_target {
    uint32_t key;
    uint64_t address, size;
    UT_hash_handle hh; /* in the endpoint's table, by key */
};

/* Sends are counted, and at most send_room of them are on the way. */
struct verbs_endpoint {
    struct rfaas_endpoint super;
    struct verbs_device *device;
    /* Of the queue pair, in work requests: what comes late of one that was destroyed finds
     * no endpoint. */
    uint32_t number;
    struct ibv_qp *pair;
    uint32_t inline_max;
    uint32_t sequence; /* of our first packet */
    unsigned depth;
    unsigned taken; /* receives that completed and weren't posted again */
    uint32_t sends, sends_done, send_room;
    uint32_t told; /* sends up to the last one that will tell of its completion */
    bool holds;    /* of sends up to `held`, one is from registered memory */
    uint32_t held;
    /* Short pieces of messages are copied into a ring, and stay until they are sent. */
    struct verbs_memory *ring;
    uint64_t ring_end, ring_done; /* bytes ever used, and free again */
    uint64_t ring_told;           /* bytes that are free when `told` has completed */
    uint64_t *ring_marks;         /* ring_end after each send; a power of two of them */
    uint32_t marks_mask;
    bool connected, broken;
    struct verbs_target *targets;
    struct verbs_target *last;
    UT_hash_handle hh; /* in the device's table, by number */
};

struct verbs_device {
    struct rfaas_device super;
    struct ibv_context *context;
    struct ibv_pd *domain;
    struct ibv_comp_channel *channel;
    struct ibv_cq *queue;
    unsigned queue_room, queue_used;
    struct verbs_port port;
    uint32_t inline_max; /* bytes that a send can carry itself, as far as is known */
    struct verbs_memory *memories;
    struct verbs_memory *last;
    uint32_t next_number;
    struct verbs_endpoint *endpoints; /* by number */
    struct verbs_endpoint *recent;    /* of which the last completion was */
    /* Taken from the queue while something else was awaited. */
    struct rfaas_completion *waiting;
    size_t waiting_first, waiting_count, waiting_room;
};

/* ---- verbs_port.c ---- */

/* Opens the device that the options name, or the best. What there is and why it can't
 * be used is in the error's text. */
int verbs_port_open(const struct rfaas_device_options *options, struct verbs_port *port,
                    struct ibv_context **context);
/* For an operation that failed for lack of memory: what may be the reason. */
const char *verbs_memory_hint(void);
void verbs_describe(char *text, size_t size);

/* ---- verbs_device.c ---- */
int verbs_memory_alloc(struct rfaas_device *device, size_t size,
                       struct rfaas_memory **memory);
int verbs_memory_register(struct rfaas_device *device, void *base, size_t size,
                          enum rfaas_access access, struct rfaas_memory **memory);
void verbs_memory_free(struct rfaas_device *device, struct rfaas_memory *memory);
void verbs_memory_export(const struct rfaas_memory *memory, struct rfaas_blob *blob);
bool verbs_memory_holds(const struct verbs_memory *m, const void *base, size_t size);
/* The memory of ours that holds all of it, or NULL. */
struct verbs_memory *verbs_memory_find(struct verbs_device *device, const void *base,
                                       size_t size);
int verbs_device_open(const struct rfaas_device_options *options,
                      struct rfaas_device **device);
void verbs_device_close(struct rfaas_device *device);
/* Makes room in the completion queue, or gives it back. */
int verbs_queue_reserve(struct verbs_device *device, unsigned more);

/* ---- verbs_endpoint.c ---- */
int verbs_endpoint_open(struct rfaas_device *device,
                        const struct rfaas_endpoint_options *options,
                        struct rfaas_endpoint **endpoint);
void verbs_endpoint_export(const struct rfaas_endpoint *endpoint,
                           struct rfaas_blob *blob);
int verbs_endpoint_connect(struct rfaas_endpoint *endpoint,
                           const struct rfaas_blob *peer);
int verbs_endpoint_reset(struct rfaas_endpoint *endpoint);
void verbs_endpoint_close(struct rfaas_endpoint *endpoint);
int verbs_memory_import(struct rfaas_endpoint *endpoint, const struct rfaas_blob *peer,
                        uint32_t *key);
void verbs_memory_forget(struct rfaas_endpoint *endpoint, uint32_t key);
/* Whether the peer's memory `key` holds all of it. */
bool verbs_target_holds(struct verbs_endpoint *ep, uint64_t address, uint64_t size,
                        uint32_t key);
int verbs_receive_post(struct verbs_endpoint *ep, unsigned count);

/* ---- verbs.c ---- */

/* Takes all that is in the queue, and keeps what is for the user for the next poll; how
 * much that was, or a negative status. */
int verbs_queue_save(struct verbs_device *device);

#endif
