/* What every transport promises of the bounds of memory. */
#include "transport_pair.h"

#include "rfaas.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 1 << 16 };

static struct pair pair;

/* ---- bounds ---------------------------------------------------------------------- */

static unsigned char long_message[ROOM + 4096];

/* A message longer than inline_max is refused where it is written, and nothing of it
 * gets anywhere. */
static void check_refused(uint64_t address, uint32_t key, size_t length)
{
    struct iovec part = {.iov_base = long_message, .iov_len = length};
    CHECK_EQUAL(transport->write(pair.a.endpoint, &part, 1, NULL, address, key, 1),
                RFAAS_ERR_ARGUMENT);
    CHECK(rfaas_last_error()[0] != '\0');
    CHECK(nothing_came(pair.b.device));
    CHECK(all_are(pair.b.memory->base, ROOM, 0));
}

static void test_long_bounds(void)
{
    pair_open(&pair, 4, 64, ROOM);
    memset(long_message, 0xee, sizeof long_message);
    uint64_t start = pair.a.address, end = start + ROOM;
    uint32_t key = pair.a.key;
    check_refused(start - 1, key, 100);
    check_refused(start - 100, key, 100);
    check_refused(start - 4096, key, 5000);
    check_refused(end - 99, key, 100);
    check_refused(end, key, 100);
    check_refused(end + 4096, key, 100);
    check_refused(start + 1, key, ROOM);
    check_refused(start, key, ROOM + 1);
    check_refused(0, key, 100);
    check_refused(UINT64_MAX, key, 100);
    check_refused(UINT64_MAX - 50, key, 100);
    check_refused(start + (UINT64_C(1) << 63), key, 100);
    check_refused(start, key + 1, 100);
    check_refused(start, 0, 100);
    check_refused(start, UINT32_MAX, 100);
    /* Its own, not the peer's. */
    check_refused((uintptr_t)pair.a.memory->base, key, 100);
    check_in_order(&pair.a, &pair.b);
    CHECK_EQUAL(write_to(&pair.a, long_message, ROOM, 0, 1), RFAAS_OK); /* all of it */
    pair_close(&pair);
}

/* One that travels with the completion is refused by either of the two. */
static void test_short_bounds(void)
{
    static const struct {
        int64_t offset;
        uint32_t key; /* added */
        size_t length;
    } wrong[] = {
        {-1, 0, 8},          {-8, 0, 8}, {ROOM - 7, 0, 8}, {ROOM, 0, 8},
        {ROOM + 4096, 0, 8}, {0, 1, 8},  {0, 77, 1},       {INT64_MIN, 0, 64},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rfaas_completion c;
        pair_open(&pair, 4, 64, ROOM);
        memset(long_message, 0xee, 64);
        struct iovec part = {.iov_base = long_message, .iov_len = wrong[i].length};
        int status = transport->write(pair.a.endpoint, &part, 1, NULL,
                                      pair.a.address + (uint64_t)wrong[i].offset,
                                      pair.a.key + wrong[i].key, 1);
        if (status == RFAAS_OK) {
            CHECK_FATAL(receive(pair.b.device, &c));
            CHECK_EQUAL(c.status, RFAAS_ERR_PROTOCOL);
            CHECK(c.endpoint == pair.b.endpoint);
        } else {
            CHECK_EQUAL(status, RFAAS_ERR_ARGUMENT);
            CHECK(nothing_came(pair.b.device));
        }
        CHECK(all_are(pair.b.memory->base, ROOM, 0));
        CHECK(all_are(pair.a.memory->base, ROOM, 0));
        pair_close(&pair);
    }
}

/* ---- peers that write where they may not ----------------------------------------- */

/* What comes of a short message to b at this place, when a believes that it is good. */
static void check_receiver_refuses(uint64_t address, uint32_t key, size_t length)
{
    unsigned char bytes[64];
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct rfaas_completion c;
    memset(bytes, 0xee, sizeof bytes);
    CHECK_EQUAL(transport->write(pair.a.endpoint, &part, 1, NULL, address, key, 1),
                RFAAS_OK);
    CHECK_FATAL(receive(pair.b.device, &c));
    /* A device refuses by itself, and then only tells that the peer is cut off. */
    CHECK(c.status == RFAAS_ERR_PROTOCOL ||
          (c.status == RFAAS_ERR_IO && !transport->common_memory));
    CHECK(c.endpoint == pair.b.endpoint);
    CHECK(all_are(pair.b.memory->base, ROOM, 0));
}

/* After it nothing of the peer is heard any more; the device's other peers are. */
static void check_silenced(void)
{
    struct pair other = {.b = pair.b};
    struct rfaas_endpoint *ends[2];
    struct rfaas_completion c;
    transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 2);
    CHECK(nothing_came(pair.b.device));
    CHECK_EQUAL(transport->arm(pair.b.device), RFAAS_IN_PROGRESS); /* and no spinning */
    transport->disarm(pair.b.device);
    CHECK_FATAL(transport->device_open(&any_device, &other.a.device) == RFAAS_OK);
    endpoints_connect(other.a.device, pair.b.device, 4, 64, ends);
    CHECK_EQUAL(transport->write(ends[0], NULL, 0, NULL, 0, 0, 3), RFAAS_OK);
    CHECK(receive(pair.b.device, &c) && c.status == RFAAS_OK && c.immediate == 3 &&
          c.endpoint == ends[1]);
    transport->device_close(other.a.device);
}

/* The peer's memory as a knows it when it lies `shift` bytes from where it is. */
static void import_shifted(struct rfaas_memory *memory, int64_t shift, uint32_t *key)
{
    struct rfaas_blob blob;
    uint64_t base = (uintptr_t)memory->base;
    transport->memory_export(memory, &blob);
    blob_replace(&blob, base, base + (uint64_t)shift);
    transport->memory_forget(pair.a.endpoint, pair.a.key);
    CHECK_FATAL(transport->memory_import(pair.a.endpoint, &blob, key) == RFAAS_OK);
}

static void test_writing_outside(void)
{
    static const struct {
        int64_t shift;  /* of what a believes */
        int64_t offset; /* of its message, from the true beginning */
        size_t length;
    } wrong[] = {
        {4096, ROOM, 8},   {4096, ROOM - 7, 8}, {4096, ROOM + 4000, 64},
        {-4096, -4096, 8}, {-4096, -1, 8},      {-4096, -8, 8},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint32_t key;
        pair_open(&pair, 4, 64, ROOM);
        import_shifted(pair.b.memory, wrong[i].shift, &key);
        check_receiver_refuses(pair.a.address + (uint64_t)wrong[i].offset, key,
                               wrong[i].length);
        check_silenced();
        pair_close(&pair);
    }
}

static void test_writing_to_freed(void)
{
    struct rfaas_memory *freed;
    struct rfaas_blob blob;
    uint32_t key;
    pair_open(&pair, 4, 64, ROOM);
    CHECK_FATAL(transport->memory_alloc(pair.b.device, ROOM, &freed) == RFAAS_OK);
    transport->memory_export(freed, &blob);
    CHECK_FATAL(transport->memory_import(pair.a.endpoint, &blob, &key) == RFAAS_OK);
    uint64_t address = (uintptr_t)freed->base;
    transport->memory_free(pair.b.device, freed);
    check_receiver_refuses(address, key, 8);
    check_silenced();
    pair_close(&pair);
}

/* ---- the peer's memory where it lies --------------------------------------------- */

static void test_map(void)
{
    pair_open(&pair, 4, 64, ROOM);
    uint64_t start = pair.a.address;
    uint32_t key = pair.a.key;
    pattern_fill(pair.b.memory->base, ROOM, 3);
    const unsigned char *all = transport->map(pair.a.endpoint, start, ROOM, key);
    CHECK_FATAL((all != NULL) == transport->common_memory);
    if (!all) {
        pair_close(&pair);
        return;
    }
    CHECK(pattern_holds(all, ROOM, 3));
    CHECK(transport->map(pair.a.endpoint, start + 100, 7, key) == all + 100);
    CHECK(transport->map(pair.a.endpoint, start + ROOM, 0, key) != NULL);
    static const struct {
        int64_t offset;
        size_t size;
        uint32_t key;
    } wrong[] = {
        {-1, 1, 0},           {-1, 2, 0},       {ROOM, 1, 0},
        {1, ROOM, 0},         {0, ROOM + 1, 0}, {8, SIZE_MAX, 0},
        {8, SIZE_MAX - 7, 0}, {0, 1, 1},        {-4096, 0, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(transport->map(pair.a.endpoint, start + (uint64_t)wrong[i].offset,
                             wrong[i].size, key + wrong[i].key) == NULL);
    ((unsigned char *)pair.b.memory->base)[9] = 0;
    CHECK_EQUAL(all[9], 0); /* no copy */
    pair_close(&pair);
}

static bool write_to_map(struct pair *p)
{
    const void *all = transport->map(p->a.endpoint, p->a.address, ROOM, p->a.key);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would print */
    *(volatile unsigned char *)(uintptr_t)all = 1;
    return true;
}

static void test_map_is_read_only(void)
{
    int status;
    if (!transport->common_memory)
        return; /* there is no map */
    pair_open(&pair, 4, 64, ROOM);
    struct peer peer = peer_start(write_to_map, &pair);
    CHECK_EQUAL(waitpid(peer.pid, &status, 0), peer.pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(all_are(pair.b.memory->base, ROOM, 0));
    pair_close(&pair);
}

static void test_forget(void)
{
    struct rfaas_memory *second;
    struct rfaas_blob blob;
    uint32_t key;
    unsigned char bytes[100] = {1};
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    pair_open(&pair, 4, 64, ROOM);
    CHECK_FATAL(transport->memory_alloc(pair.b.device, ROOM, &second) == RFAAS_OK);
    transport->memory_export(second, &blob);
    CHECK_EQUAL(transport->memory_import(pair.a.endpoint, &blob, &key), RFAAS_OK);
    CHECK(key != pair.a.key);
    for (int i = 0; i < 2; i++) {
        uint64_t address = (uintptr_t)second->base;
        CHECK_EQUAL(transport->write(pair.a.endpoint, &part, 1, NULL, address, key, 1),
                    RFAAS_OK);
        CHECK((transport->map(pair.a.endpoint, address, 1, key) != NULL) ==
              transport->common_memory);
        transport->memory_forget(pair.a.endpoint, key);
        transport->memory_forget(pair.a.endpoint, key); /* no harm */
        CHECK_EQUAL(transport->write(pair.a.endpoint, &part, 1, NULL, address, key, 1),
                    RFAAS_ERR_ARGUMENT);
        CHECK(transport->map(pair.a.endpoint, address, 1, key) == NULL);
        struct rfaas_completion c;
        CHECK(receive(pair.b.device, &c) && nothing_came(pair.b.device));
        check_in_order(&pair.a, &pair.b); /* the other memory is still known */
        uint32_t again;
        CHECK_EQUAL(transport->memory_import(pair.a.endpoint, &blob, &again), RFAAS_OK);
        CHECK_EQUAL(again, key);
    }
    pair_close(&pair);
}

static void test_memory(void)
{
    struct rfaas_device *device;
    struct rfaas_memory *memory;
    uint32_t last = 0;
    static const size_t sizes[] = {1, 64, 4096, 4097, 10 << 20};
    CHECK_FATAL(transport->device_open(&any_device, &device) == RFAAS_OK);
    for (int i = 0; i < 100; i++) {
        size_t size = sizes[i % 5];
        CHECK_FATAL(transport->memory_alloc(device, size, &memory) == RFAAS_OK);
        CHECK_EQUAL(memory->size, size);
        CHECK_EQUAL((uintptr_t)memory->base % (uintptr_t)getpagesize(), 0);
        CHECK(all_are(memory->base, size, 0));
        CHECK(memory->key != last); /* not even one that was freed */
        last = memory->key;
        memset(memory->base, 1, size);
        transport->memory_free(device, memory);
    }
    transport->device_close(device);
}

static const struct test tests[] = {
    {"a long message outside of the peer's memory is refused", test_long_bounds},
    {"a short message outside of the peer's memory is refused", test_short_bounds},
    {"a peer that writes outside of what it was given is refused",
     test_writing_outside},
    {"a peer that writes to memory that was freed is refused", test_writing_to_freed},
    {"the peer's memory can be read where it lies, and only that", test_map},
    {"the peer's memory can't be written where it lies", test_map_is_read_only},
    {"a forgotten memory is out of reach, others aren't", test_forget},
    {"memory is zero, aligned, and has a key of its own for ever", test_memory},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return transports_main(tests, argc, argv);
}
