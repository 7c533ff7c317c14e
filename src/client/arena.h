/* Memory that workers reach, in pieces: what rfaas_alloc gives to users, and what
 * invocations from and into other memory pass through.
 *
 * A region is one memory of each transport. Pieces up to 1 MiB come from regions of
 * pieces of one size, a power of two; larger ones have a region each, and some of
 * those are kept when freed, because making one costs system calls here and at every
 * worker. */
#ifndef RFAAS_CLIENT_ARENA_H
#define RFAAS_CLIENT_ARENA_H

#include "client/device.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ARENA_CLASS_MIN = 6,  /* 64 bytes: a cache line */
    ARENA_CLASS_MAX = 20, /* 1 MiB */
    ARENA_CLASSES = ARENA_CLASS_MAX - ARENA_CLASS_MIN + 1,
};

/* Free pieces of one size. Kept apart from the pieces: workers can write to those. */
struct arena_stack {
    void **pieces;
    size_t count, room;
};

/* Made by the first of the session's devices; another registers it when a worker that
 * it reaches is to get at it: NULL until then. */
struct arena_region {
    void *base;
    size_t size;
    struct rfaas_memory *memories[CLIENT_DEVICES_MAX];
    size_t piece_size;    /* all of it for a large one */
    unsigned char *taken; /* a flag per piece */
    size_t used;          /* pieces that were ever taken; those behind are untouched */
};

struct arena {
    const struct client_device *devices;
    int device_count;
    const struct memory_calls *calls;
    void *arg;
    struct arena_region **regions; /* by address */
    size_t region_count, region_room;
    struct arena_region *last;                 /* found last */
    struct arena_stack free[ARENA_CLASSES];    /* small pieces */
    struct arena_region *fresh[ARENA_CLASSES]; /* the region with untouched pieces */
    size_t kept;                               /* bytes in large regions not in use */
};

/* A piece of at least `size` (> 0) bytes, aligned to 64; NULL: out of memory. */
void *arena_get(struct arena *arena, size_t size);

/* Gives a piece back. False: it isn't one, or is free already. */
bool arena_put(struct arena *arena, void *piece);

/* The memory, at this device, of the region that holds all of [address, address + size);
 * NULL: none, or the device can't have it. */
const struct rfaas_memory *arena_memory(struct arena *arena, const void *address,
                                        size_t size, int device);

/* Frees the books; the memories go with the device. */
void arena_free(struct arena *arena);

#endif
