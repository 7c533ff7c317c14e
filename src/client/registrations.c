#include "client/registrations.h"

#include "base/error.h"
#include "base/log.h"
#include <sys/resource.h>
#include <unistd.h>

/* Registered memory can't be paged out, and each rank of a node may have so much. */
static const size_t BYTES_MAX = 256 << 20;

static struct registered_range *range_of(struct registrations *cache,
                                         const struct registration *entry)
{
    return &cache->ranges[entry - cache->entries];
}

/* Acquire: what the thread that unmapped did before comes first. In which order threads
 * unmap an address and get it again, the kernel's lock of the address space decides. */
static bool is_gone(struct registered_range *range)
{
    return atomic_load_explicit(&range->gone, memory_order_acquire);
}

/* ---- when memory goes ------------------------------------------------------------ */

/* Runs in any thread, perhaps in one that is changing an entry: what it marks in vain is
 * registered again. It can't miss one, since a buffer that an invocation is given isn't
 * unmapped at that time: the entry was complete before. */
void registrations_unmapped(void *arg, uintptr_t start, uintptr_t end)
{
    struct registrations *cache = arg;
    bool any = false;
    for (int i = 0; i < REGISTRATIONS_MAX; i++) {
        struct registered_range *range = &cache->ranges[i];
        if (atomic_load_explicit(&range->start, memory_order_relaxed) < end &&
            start < atomic_load_explicit(&range->end, memory_order_relaxed)) {
            atomic_store_explicit(&range->gone, true, memory_order_release);
            any = true;
        }
    }
    if (any) /* acquire, too: the marks of threads that were here before count as ours */
        atomic_exchange_explicit(&cache->any_gone, true, memory_order_acq_rel);
}

static void range_set(struct registered_range *range, uintptr_t start, uintptr_t end)
{
    atomic_store_explicit(&range->start, start, memory_order_relaxed);
    atomic_store_explicit(&range->end, end, memory_order_relaxed);
    atomic_store_explicit(&range->gone, false, memory_order_relaxed);
}

/* Workers are told first: the device may give the key to another memory at once. */
static void entry_deregister(struct registrations *cache, struct registration *entry)
{
    struct rfaas_memory *memory = entry->memory;
    if (!memory)
        return;
    entry->memory = NULL;
    cache->bytes -= memory->size;
    if (entry->offered)
        cache->calls->removed(memory->key, cache->number, cache->arg);
    cache->device->transport->memory_free(cache->device->device, memory);
}

static void entry_clear(struct registrations *cache, struct registration *entry)
{
    for (int access = 0; access < 2; access++)
        if (cache->last[access] == entry)
            cache->last[access] = NULL;
    entry_deregister(cache, entry);
    range_set(range_of(cache, entry), 0, 0);
    *entry = (struct registration){0};
}

void registrations_reap(struct registrations *cache)
{
    if (!atomic_load_explicit(&cache->any_gone, memory_order_relaxed))
        return;
    /* Before the look, so that what goes meanwhile is seen the next time. */
    atomic_exchange_explicit(&cache->any_gone, false, memory_order_acq_rel);
    for (int i = 0; i < cache->room; i++)
        if (is_gone(&cache->ranges[i]) && cache->entries[i].uses == 0)
            entry_clear(cache, &cache->entries[i]);
}

/* ---- making room ----------------------------------------------------------------- */

static struct registration *least_recently_used(struct registrations *cache,
                                                bool registered)
{
    struct registration *oldest = NULL;
    for (int i = 0; i < cache->room; i++) {
        struct registration *entry = &cache->entries[i];
        if (entry->uses == 0 && (entry->memory || !registered) &&
            (!oldest || entry->used_at < oldest->used_at))
            oldest = entry;
    }
    return oldest;
}

/* The limit of locked memory is reached, for the session's own memory or the cache's. */
static bool reclaim(void *arg)
{
    struct registrations *cache = arg;
    struct registration *oldest = least_recently_used(cache, true);
    if (oldest)
        entry_clear(cache, oldest);
    return oldest != NULL;
}

static bool bytes_reserve(struct registrations *cache, size_t size)
{
    while (cache->bytes + size > cache->bytes_max)
        if (!reclaim(cache))
            return false;
    return true;
}

static struct registration *place_find(struct registrations *cache)
{
    for (int i = 0; i < cache->room; i++)
        if (cache->entries[i].used_at == 0)
            return &cache->entries[i];
    if (cache->room < REGISTRATIONS_MAX)
        return &cache->entries[cache->room++];
    struct registration *oldest = least_recently_used(cache, false);
    if (oldest)
        entry_clear(cache, oldest);
    return oldest;
}

/* ---- finding --------------------------------------------------------------------- */

/* A registration serves for its parts and for less than it allows. */
static bool serves(struct registrations *cache, struct registration *entry,
                   uintptr_t start, uintptr_t end, enum rfaas_access access)
{
    struct registered_range *range = range_of(cache, entry);
    uintptr_t first = atomic_load_explicit(&range->start, memory_order_relaxed);
    uintptr_t last = atomic_load_explicit(&range->end, memory_order_relaxed);
    if (start < first || end > last || is_gone(range))
        return false;
    return entry->memory ? access <= entry->access
                         : start == first && end == last && access == entry->access;
}

/* One that is registered if there is one. */
static struct registration *entry_find(struct registrations *cache, uintptr_t start,
                                       uintptr_t end, enum rfaas_access access)
{
    struct registration *found = cache->last[access];
    if (found && found->memory && serves(cache, found, start, end, access))
        return found;
    found = NULL;
    for (int i = 0; i < cache->room; i++) {
        struct registration *entry = &cache->entries[i];
        if ((!found || entry->memory) && serves(cache, entry, start, end, access))
            found = entry;
        if (found && found->memory)
            break;
    }
    return cache->last[access] = found;
}

static void entry_add(struct registrations *cache, uintptr_t start, uintptr_t end,
                      enum rfaas_access access)
{
    struct registration *entry = place_find(cache);
    if (!entry)
        return;
    entry->access = access;
    entry->used_at = ++cache->clock;
    range_set(range_of(cache, entry), start, end);
}

/* Other libraries may have changed munmap and its like again. Without news of them no
 * registration can be trusted. */
static void distrust(struct registrations *cache)
{
    rfaas_warn("memory that is unmapped isn't noticed any more: buffers are copied");
    registrations_unmapped(cache, 0, UINTPTR_MAX);
    cache->bytes_max = 0;
}

static void entry_register(struct registrations *cache, struct registration *entry)
{
    struct registered_range *range = range_of(cache, entry);
    uintptr_t start = atomic_load_explicit(&range->start, memory_order_relaxed);
    size_t size = atomic_load_explicit(&range->end, memory_order_relaxed) - start;
    if (!bytes_reserve(cache, size))
        return;
    if (!unmapping_is_seen(&cache->watch)) {
        distrust(cache);
        return;
    }
    int status = cache->device->transport->memory_register(
        cache->device->device, (void *)start, size, entry->access, &entry->memory);
    if (status == RFAAS_OK) {
        cache->bytes += size;
        return;
    }
    entry->refused = true;
    rfaas_debug("a buffer of %zu bytes will be copied: %s", size, rfaas_last_error());
}

static bool entry_offer(struct registrations *cache, struct registration *entry)
{
    if (!entry->offered)
        entry->offered =
            cache->calls->added(entry->memory, cache->number, cache->arg) == RFAAS_OK;
    return entry->offered;
}

struct registration *registration_get(struct registrations *cache, int device,
                                      const void *address, size_t size,
                                      enum rfaas_access access, bool offer)
{
    if (!cache->device || device != cache->number || size > cache->bytes_max ||
        size <= cache->device->transport->copy_max)
        return NULL;
    registrations_reap(cache);
    uintptr_t start = (uintptr_t)address, end = start + size;
    struct registration *entry = entry_find(cache, start, end, access);
    if (!entry) {
        entry_add(cache, start, end, access);
        return NULL;
    }
    entry->used_at = ++cache->clock;
    if (!entry->memory && !entry->refused)
        entry_register(cache, entry);
    if (!entry->memory || (offer && !entry_offer(cache, entry)))
        return NULL;
    entry->uses++;
    return entry;
}

void registration_put(struct registrations *cache, struct registration *entry,
                      bool keep)
{
    struct registered_range *range = range_of(cache, entry);
    if (!keep)
        atomic_store_explicit(&range->gone, true, memory_order_relaxed);
    if (--entry->uses == 0 && is_gone(range))
        entry_clear(cache, entry);
}

/* ---- opening --------------------------------------------------------------------- */

/* Half of the limit of locked memory is left to what can't do without. */
static size_t bytes_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur / 2 > BYTES_MAX)
        return BYTES_MAX;
    return limit.rlim_cur / 2;
}

int registrations_open(struct registrations *cache, struct client_device *device,
                       int number, const struct memory_calls *calls, void *arg)
{
    if (!device->device->registers)
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "%s: registers no buffers here",
                          device->transport->name);
    cache->watch = (struct unmapping){.gone = registrations_unmapped, .arg = cache};
    int status = unmapping_watch(&cache->watch);
    if (status != RFAAS_OK)
        return status;
    cache->device = device;
    cache->number = number;
    cache->calls = calls;
    cache->arg = arg;
    cache->bytes_max = bytes_limit();
    device->device->reclaim = reclaim;
    device->device->reclaim_arg = cache;
    return RFAAS_OK;
}

void registrations_close(struct registrations *cache)
{
    if (!cache->device)
        return;
    unmapping_unwatch(&cache->watch);
    cache->device->device->reclaim = NULL;
    cache->device = NULL;
}
