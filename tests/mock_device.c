#include "mock_device.h"

#include "base/error.h"
#include "test.h"
#include <stdlib.h>
#include <string.h>

struct mock mock;

static struct rfaas_device device;
static struct client_device session_device;

/* As a device does whose memory is limited. */
static int memory_register(struct rfaas_device *d, void *base, size_t size,
                           enum rfaas_access access, struct rfaas_memory **memory)
{
    (void)access;
    mock.tries++;
    while (mock.bytes + size > mock.limit)
        if (!d->reclaim || !d->reclaim(d->reclaim_arg))
            return rfaas_fail(RFAAS_ERR_NO_MEMORY, "mock: limit of locked memory");
    *memory = calloc(1, sizeof **memory);
    CHECK_FATAL(*memory != NULL);
    **memory = (struct rfaas_memory){base, size, ++mock.last_key};
    mock.bytes += size;
    mock.count++;
    return RFAAS_OK;
}

static void memory_free(struct rfaas_device *d, struct rfaas_memory *memory)
{
    CHECK(d == &device);
    mock.bytes -= memory->size;
    mock.count--;
    /* Whoever knew the key has been told before that it ends. */
    CHECK(mock.offered <= mock.count);
    free(memory);
}

static int added(const struct rfaas_memory *memory, int number, void *arg)
{
    CHECK(number == 1 && arg == &mock && memory->key != 0);
    if (mock.refuse_offers > 0) {
        mock.refuse_offers--;
        return RFAAS_ERR_NO_MEMORY;
    }
    mock.offered++;
    return RFAAS_OK;
}

static void removed(uint32_t key, int number, void *arg)
{
    CHECK(number == 1 && arg == &mock);
    mock.removed_key = key;
    mock.offered--;
}

bool mock_open(struct registrations *cache)
{
    static const struct rfaas_transport transport = {
        .size = sizeof transport,
        .name = "mock",
        .copy_max = MOCK_COPY_MAX,
        .memory_register = memory_register,
        .memory_free = memory_free,
    };
    static const struct memory_calls calls = {.added = added, .removed = removed};
    mock = (struct mock){.limit = SIZE_MAX / 2};
    device = (struct rfaas_device){.transport = &transport, .registers = true};
    session_device = (struct client_device){.transport = &transport, .device = &device};
    memset(cache, 0, sizeof *cache);
    return registrations_open(cache, &session_device, 1, &calls, &mock) == RFAAS_OK;
}

void mock_close(struct registrations *cache)
{
    registrations_unmapped(cache, 0, UINTPTR_MAX);
    registrations_reap(cache);
    CHECK_EQUAL(mock.count, 0);
    CHECK_EQUAL(mock.bytes, 0);
    CHECK_EQUAL(mock.offered, 0);
    CHECK_EQUAL(cache->bytes, 0);
    registrations_close(cache);
    CHECK(device.reclaim == NULL);
}

struct registration *mock_get(struct registrations *cache, const void *address,
                              size_t size, enum rfaas_access access)
{
    struct registration *entry =
        registration_get(cache, 1, address, size, access, access == RFAAS_ACCESS_WRITE);
    if (entry) {
        const char *base = entry->memory->base, *first = address;
        CHECK(base <= first && first + size <= base + entry->memory->size);
        CHECK(access <= entry->access && entry->memory->key != 0);
    }
    return entry;
}

bool mock_use(struct registrations *cache, const void *address, size_t size,
              enum rfaas_access access)
{
    struct registration *entry = mock_get(cache, address, size, access);
    if (entry)
        registration_put(cache, entry, true);
    return entry != NULL;
}
