#include "client/arena.h"

#include <stdlib.h>
#include <string.h>

static const size_t REGION_MIN = 4 << 20;
static const size_t KEPT_MAX = 256 << 20; /* of large regions that are not in use */

/* The position of the first region above `address`. */
static size_t region_above(const struct arena *arena, const void *address)
{
    size_t low = 0, high = arena->region_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)arena->regions[middle]->base <= (uintptr_t)address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool region_holds(const struct arena_region *region, const void *address,
                         size_t size)
{
    size_t offset = (uintptr_t)address - (uintptr_t)region->base;
    return (uintptr_t)address >= (uintptr_t)region->base && offset <= region->size &&
           size <= region->size - offset;
}

static struct arena_region *region_of(struct arena *arena, const void *address,
                                      size_t size)
{
    if (arena->last && region_holds(arena->last, address, size))
        return arena->last;
    size_t above = region_above(arena, address);
    if (above == 0 || !region_holds(arena->regions[above - 1], address, size))
        return NULL;
    return arena->last = arena->regions[above - 1];
}

static bool regions_reserve(struct arena *arena)
{
    if (arena->region_count < arena->region_room)
        return true;
    size_t room = arena->region_room ? 2 * arena->region_room : 16;
    void *regions = realloc(arena->regions, room * sizeof *arena->regions);
    if (!regions)
        return false;
    arena->regions = regions;
    arena->region_room = room;
    return true;
}

/* Makes the region's memory at a device known. */
static int memory_announce(struct arena *arena, struct arena_region *region, int device)
{
    int status = arena->calls->added(region->memories[device], device, arena->arg);
    if (status == RFAAS_OK)
        return RFAAS_OK;
    arena->devices[device].transport->memory_free(arena->devices[device].device,
                                                  region->memories[device]);
    region->memories[device] = NULL;
    return status;
}

static int memory_create(struct arena *arena, struct arena_region *region, size_t size)
{
    const struct client_device *first = &arena->devices[0];
    int status =
        first->transport->memory_alloc(first->device, size, &region->memories[0]);
    if (status != RFAAS_OK)
        return status;
    region->base = region->memories[0]->base;
    region->size = region->memories[0]->size;
    return memory_announce(arena, region, 0);
}

static int memory_register(struct arena *arena, struct arena_region *region, int device)
{
    const struct client_device *other = &arena->devices[device];
    int status = other->transport->memory_register(other->device, region->base,
                                                   region->size, RFAAS_ACCESS_WRITE,
                                                   &region->memories[device]);
    return status == RFAAS_OK ? memory_announce(arena, region, device) : status;
}

/* The last first: the one that made the memory takes it away. */
static void memories_free(struct arena *arena, struct arena_region *region)
{
    for (int i = arena->device_count - 1; i >= 0; i--) {
        if (!region->memories[i])
            continue;
        arena->calls->removed(region->memories[i]->key, i, arena->arg);
        arena->devices[i].transport->memory_free(arena->devices[i].device,
                                                 region->memories[i]);
    }
}

static struct arena_region *region_add(struct arena *arena, size_t size,
                                       size_t piece_size)
{
    struct arena_region *region = calloc(1, sizeof *region);
    if (!region || !regions_reserve(arena))
        goto fail;
    region->piece_size = piece_size;
    region->taken = calloc(size / piece_size, 1);
    if (!region->taken || memory_create(arena, region, size) != RFAAS_OK)
        goto fail;
    size_t at = region_above(arena, region->base);
    memmove(arena->regions + at + 1, arena->regions + at,
            (arena->region_count - at) * sizeof *arena->regions);
    arena->regions[at] = region;
    arena->region_count++;
    return region;
fail:
    if (region)
        free(region->taken);
    free(region);
    return NULL;
}

static void region_remove(struct arena *arena, struct arena_region *region)
{
    size_t at = region_above(arena, region->base) - 1;
    memories_free(arena, region);
    memmove(arena->regions + at, arena->regions + at + 1,
            (arena->region_count - at - 1) * sizeof *arena->regions);
    arena->region_count--;
    if (arena->last == region)
        arena->last = NULL;
    free(region->taken);
    free(region);
}

/* ---- small pieces ---------------------------------------------------------------- */

static int class_of(size_t size)
{
    if (size <= (size_t)1 << ARENA_CLASS_MIN)
        return 0;
    return (int)(8 * sizeof(unsigned long)) - __builtin_clzl(size - 1) -
           ARENA_CLASS_MIN;
}

static size_t piece_number(const struct arena_region *region, const void *piece)
{
    return ((uintptr_t)piece - (uintptr_t)region->base) / region->piece_size;
}

/* Room for all the pieces of the class, so that giving one back can't fail. */
static bool stack_reserve(struct arena_stack *stack, size_t more)
{
    void **pieces = realloc(stack->pieces, (stack->room + more) * sizeof *pieces);
    if (!pieces)
        return false;
    stack->pieces = pieces;
    stack->room += more;
    return true;
}

static void *small_fresh(struct arena *arena, int class)
{
    struct arena_region *region = arena->fresh[class];
    size_t piece_size = (size_t)1 << (class + ARENA_CLASS_MIN);
    if (!region || region->used == region->size / piece_size) {
        size_t size = 16 * piece_size > REGION_MIN ? 16 * piece_size : REGION_MIN;
        if (!stack_reserve(&arena->free[class], size / piece_size))
            return NULL;
        region = region_add(arena, size, piece_size);
        if (!region) {
            arena->free[class].room -= size / piece_size;
            return NULL;
        }
        arena->fresh[class] = region;
    }
    size_t number = region->used++;
    region->taken[number] = 1;
    return (char *)region->base + number * piece_size;
}

static void *small_get(struct arena *arena, int class)
{
    struct arena_stack *stack = &arena->free[class];
    if (stack->count == 0)
        return small_fresh(arena, class);
    void *piece = stack->pieces[--stack->count];
    struct arena_region *region = region_of(arena, piece, 1);
    region->taken[piece_number(region, piece)] = 1;
    return piece;
}

/* ---- large pieces ---------------------------------------------------------------- */

static bool is_large(const struct arena_region *region)
{
    return region->piece_size == region->size;
}

static void *large_get(struct arena *arena, size_t size)
{
    struct arena_region *best = NULL;
    for (size_t i = 0; i < arena->region_count; i++) {
        struct arena_region *region = arena->regions[i];
        if (is_large(region) && !region->taken[0] && region->size >= size &&
            region->size / 2 <= size && (!best || region->size < best->size))
            best = region;
    }
    if (best) {
        arena->kept -= best->size;
    } else {
        if (size > SIZE_MAX / 2)
            return NULL;
        size = (size + 0xfff) & ~(size_t)0xfff;
        best = region_add(arena, size, size);
    }
    if (!best)
        return NULL;
    best->taken[0] = 1;
    return best->base;
}

static void large_put(struct arena *arena, struct arena_region *region)
{
    if (arena->kept + region->size > KEPT_MAX)
        region_remove(arena, region);
    else
        arena->kept += region->size;
}

/* ---- all ------------------------------------------------------------------------- */

void *arena_get(struct arena *arena, size_t size)
{
    if (size > (size_t)1 << ARENA_CLASS_MAX)
        return large_get(arena, size);
    return small_get(arena, class_of(size));
}

bool arena_put(struct arena *arena, void *piece)
{
    struct arena_region *region = region_of(arena, piece, 1);
    if (!region)
        return false;
    size_t number = piece_number(region, piece);
    if ((char *)region->base + number * region->piece_size != (char *)piece ||
        !region->taken[number])
        return false;
    region->taken[number] = 0;
    if (is_large(region)) {
        large_put(arena, region);
        return true;
    }
    struct arena_stack *stack = &arena->free[class_of(region->piece_size)];
    stack->pieces[stack->count++] = piece;
    return true;
}

const struct rfaas_memory *arena_memory(struct arena *arena, const void *address,
                                        size_t size, int device)
{
    struct arena_region *region = region_of(arena, address, size);
    if (!region || (!region->memories[device] &&
                    memory_register(arena, region, device) != RFAAS_OK))
        return NULL;
    return region->memories[device];
}

void arena_free(struct arena *arena)
{
    for (size_t i = 0; i < arena->region_count; i++) {
        free(arena->regions[i]->taken);
        free(arena->regions[i]);
    }
    free(arena->regions);
    for (int class = 0; class < ARENA_CLASSES; class ++)
        free(arena->free[class].pieces);
}
