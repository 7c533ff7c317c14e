/* What every transport promises of messages: content, order, many endpoints. */
#include "transport_pair.h"

#include "rfaas.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 16 };

static struct pair pair;

/* ---- messages -------------------------------------------------------------------- */

/* Sends one message of this length; it arrives whole and touches nothing else. */
static void check_length(size_t length, uint32_t seed)
{
    static unsigned char bytes[ROOM];
    unsigned char *there = pair.b.memory->base;
    const size_t offset = 320;
    struct rfaas_completion c;
    memset(there, 0, ROOM);
    pattern_fill(bytes, length, seed);
    CHECK_EQUAL(write_to(&pair.a, bytes, length, offset, seed), RFAAS_OK);
    memset(bytes, 0xee, length); /* may be reused at once */
    CHECK_FATAL(receive(pair.b.device, &c));
    CHECK_EQUAL(c.status, RFAAS_OK);
    CHECK_EQUAL(c.length, length);
    CHECK_EQUAL(c.immediate, seed);
    CHECK(c.endpoint == pair.b.endpoint);
    CHECK(all_are(there, offset, 0));
    CHECK(pattern_holds(there + offset, length, seed));
    CHECK(all_are(there + offset + length, ROOM - offset - length, 0));
}

static void test_lengths(void)
{
    static const size_t inline_max[] = {0, 1, 64, 192, 200, 4096, 1 << 20};
    for (size_t i = 0; i < sizeof inline_max / sizeof *inline_max; i++) {
        size_t limit = inline_max[i] < 8192 ? inline_max[i] : 4096;
        pair_open(&pair, 4, inline_max[i], ROOM);
        for (size_t length = 0; length < 70; length++)
            check_length(length, (uint32_t)(1000 + length));
        for (size_t length = limit; length < limit + 70; length++)
            check_length(length, (uint32_t)length);
        for (size_t less = 1; less < 70 && less <= limit; less++)
            check_length(limit - less, (uint32_t)less);
        check_length(8191, 1);
        check_length(ROOM - 320, 2);
        pair_close(&pair);
    }
}

static void test_immediates(void)
{
    static const uint32_t immediates[] = {0, 1, 0x7fffffff, 0x80000000u, 0xffffffffu};
    struct rfaas_completion c;
    pair_open(&pair, 4, 64, ROOM);
    for (size_t i = 0; i < sizeof immediates / sizeof *immediates; i++) {
        /* Without any part: neither address nor key matter. */
        CHECK_EQUAL(
            transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, immediates[i]),
            RFAAS_OK);
        CHECK_FATAL(receive(pair.b.device, &c));
        CHECK_EQUAL(c.status, RFAAS_OK);
        CHECK_EQUAL(c.immediate, immediates[i]);
        CHECK_EQUAL(c.length, 0);
        CHECK(c.endpoint == pair.b.endpoint);
    }
    CHECK(all_are(pair.b.memory->base, ROOM, 0));
    pair_close(&pair);
}

/* Sends `total` bytes in `count` parts whose lengths are drawn, zero included. */
static void check_gathered(size_t total, int count)
{
    static unsigned char bytes[ROOM];
    struct iovec parts[16];
    struct rfaas_completion c;
    size_t done = 0;
    pattern_fill(bytes, total, (uint32_t)total);
    for (int i = 0; i < count; i++) {
        size_t left = total - done;
        size_t length = i == count - 1 ? left : (size_t)rand() % (left / 2 + 1);
        parts[i] = (struct iovec){.iov_base = bytes + done, .iov_len = length};
        done += length;
    }
    memset(pair.b.memory->base, 0, ROOM);
    CHECK_EQUAL(transport->write(pair.a.endpoint, parts, count, NULL,
                                 pair.a.address + 64, pair.a.key, 5),
                RFAAS_OK);
    CHECK_FATAL(receive(pair.b.device, &c));
    CHECK_EQUAL(c.length, total);
    unsigned char *there = pair.b.memory->base;
    CHECK(all_are(there, 64, 0));
    CHECK(pattern_holds(there + 64, total, (uint32_t)total));
    CHECK(all_are(there + 64 + total, ROOM - 64 - total, 0));
}

static void test_gathered(void)
{
    pair_open(&pair, 4, 256, ROOM);
    for (int count = 1; count <= 16; count++) {
        check_gathered(16, count);
        check_gathered(255, count);
        check_gathered(256, count);
        check_gathered(257, count);
        check_gathered(30000, count);
    }
    pair_close(&pair);
}

/* ---- order and rings ------------------------------------------------------------- */

enum { STEP = 128 }; /* of a message's place; every fifth is longer than inline_max */

static size_t length_of(uint32_t number)
{
    return number % 5 == 0 ? STEP : 8 + number % 50;
}

static bool send_number(const struct side *from, uint32_t number, unsigned depth)
{
    unsigned char bytes[STEP];
    pattern_fill(bytes, length_of(number), number);
    return write_to(from, bytes, length_of(number), (number % depth) * (size_t)STEP,
                    number) == RFAAS_OK;
}

static bool take_number(const struct side *to, uint32_t number, unsigned depth)
{
    struct rfaas_completion c;
    const unsigned char *there = to->memory->base;
    return receive(to->device, &c) && c.status == RFAAS_OK && c.immediate == number &&
           c.length == length_of(number) && c.endpoint == to->endpoint &&
           pattern_holds(there + (number % depth) * (size_t)STEP, c.length, number);
}

/* As many messages on the way as there may be, for a long time. */
static void check_order(unsigned depth, uint32_t count)
{
    uint32_t sent = 0, taken = 0;
    pair_open(&pair, depth, 64, depth * (size_t)STEP);
    while (taken < count) {
        while (sent - taken < depth && sent < count)
            CHECK_FATAL(send_number(&pair.a, sent++, depth));
        for (uint32_t n = 1 + (uint32_t)rand() % depth; n > 0 && taken < sent; n--)
            CHECK_FATAL(take_number(&pair.b, taken++, depth));
    }
    CHECK(nothing_came(pair.b.device));
    pair_close(&pair);
}

static void test_order(void)
{
    check_order(RFAAS_DEPTH_MAX, 100000);
    check_order(1, 1000);
    check_order(3, 1000); /* no power of two */
    check_order(100, 10000);
}

enum { STREAM = 100000, STREAM_DEPTH = 32 };

/* The peer sends everything back. */
static bool send_back(struct pair *p)
{
    for (uint32_t i = 0; i < STREAM; i++)
        if (!take_number(&p->b, i, STREAM_DEPTH) ||
            !send_number(&p->b, i, STREAM_DEPTH))
            return false;
    return true;
}

static void test_processes(void)
{
    uint32_t sent = 0, taken = 0;
    pair_open(&pair, STREAM_DEPTH, 64, STREAM_DEPTH * STEP);
    struct peer peer = peer_start(send_back, &pair);
    bool right = true;
    while (right && taken < STREAM) {
        while (right && sent - taken < STREAM_DEPTH && sent < STREAM)
            right = send_number(&pair.a, sent++, STREAM_DEPTH);
        right = right && take_number(&pair.a, taken++, STREAM_DEPTH);
    }
    CHECK(right);
    if (!right)
        peer_kill(&peer);
    CHECK(peer_end(&peer));
    CHECK(nothing_came(pair.a.device));
    pair_close(&pair);
}

/* ---- many endpoints -------------------------------------------------------------- */

enum { MANY = 16 };

static void test_many_endpoints(void)
{
    struct rfaas_device *hub;
    struct pair pairs[MANY];
    struct rfaas_completion c[MANY + 1];
    CHECK_FATAL(transport->device_open(&any_device, &hub) == RFAAS_OK);
    for (int i = 0; i < MANY; i++) {
        struct rfaas_endpoint *ends[2];
        struct pair *p = &pairs[i];
        CHECK_FATAL(transport->device_open(&any_device, &p->a.device) == RFAAS_OK);
        endpoints_connect(p->a.device, hub, 4, 64, ends);
        ends[1]->owner = p;
        p->a.endpoint = ends[0];
        p->b.endpoint = ends[1];
    }
    /* Three from each; they are taken in by sixteens at most. */
    for (uint32_t i = 0; i < 3 * MANY; i++)
        CHECK_EQUAL(
            transport->write(pairs[i % MANY].a.endpoint, NULL, 0, NULL, 0, 0, i / MANY),
            RFAAS_OK);
    uint32_t next[MANY] = {0};
    for (int total = 0, n; total < 3 * MANY; total += n) {
        n = transport->poll(hub, c, MANY);
        CHECK_FATAL(n > 0 && n <= MANY);
        for (int i = 0; i < n; i++) {
            struct pair *p = c[i].endpoint->owner;
            CHECK(p >= pairs && p < pairs + MANY && c[i].endpoint == p->b.endpoint);
            CHECK_EQUAL(c[i].immediate, next[p - pairs]++);
        }
    }
    CHECK(nothing_came(hub));
    for (int i = 0; i < MANY; i++) {
        CHECK_EQUAL(next[i], 3);
        transport->device_close(pairs[i].a.device);
    }
    transport->device_close(hub);
}

/* ---- memory ---------------------------------------------------------------------- */

static void test_fetch(void)
{
    static const size_t sizes[] = {1, 8, 4096, 40000};
    unsigned char *own = NULL;
    pair_open(&pair, 4, 64, ROOM);
    own = pair.a.memory->base;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pattern_fill((unsigned char *)pair.b.memory->base + 100, sizes[i], (uint32_t)i);
        memset(own, 0, ROOM);
        CHECK_EQUAL(transport->read(pair.a.endpoint, own + 7, sizes[i],
                                    pair.a.address + 100, pair.a.key),
                    RFAAS_OK);
        CHECK(all_are(own, 7, 0));
        CHECK(pattern_holds(own + 7, sizes[i], (uint32_t)i));
        CHECK(all_are(own + 7 + sizes[i], ROOM - 7 - sizes[i], 0));
    }
    CHECK_EQUAL(
        transport->read(pair.a.endpoint, own, 8, pair.a.address + ROOM - 7, pair.a.key),
        RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(
        transport->read(pair.a.endpoint, own, 8, pair.a.address, pair.a.key + 1),
        RFAAS_ERR_ARGUMENT);
    check_in_order(&pair.a, &pair.b);
    CHECK(nothing_came(pair.a.device));
    pair_close(&pair);
}

/* What lies in a memory of the device goes from there, behind a header that doesn't. */
static void test_from_memory(void)
{
    static const size_t sizes[] = {1, 100, 5000, 40000};
    pair_open(&pair, 4, 64, ROOM);
    for (uint32_t i = 0; i < 40; i++) {
        unsigned char header[24], *own = pair.a.memory->base, *there;
        size_t size = sizes[i % 4];
        struct rfaas_completion c;
        struct iovec parts[2] = {{header, sizeof header}, {own + i, size}};
        pattern_fill(header, sizeof header, i);
        pattern_fill(own + i, size, i + 1);
        CHECK_EQUAL(transport->write(pair.a.endpoint, parts, 2, pair.a.memory,
                                     pair.a.address, pair.a.key, i),
                    RFAAS_OK);
        memset(header, 0, sizeof header);
        if (i % 2) { /* the other half is free when the peer has it */
            CHECK_EQUAL(transport->flush(pair.a.endpoint, i % 4 == 1), RFAAS_OK);
            memset(own, 0, ROOM);
        }
        CHECK_FATAL(receive(pair.b.device, &c));
        CHECK_EQUAL(c.length, sizeof header + size);
        there = pair.b.memory->base;
        CHECK(pattern_holds(there, sizeof header, i));
        CHECK(pattern_holds(there + sizeof header, size, i + 1));
    }
    pair_close(&pair);
}

/* Nothing is read before all of them were written, whatever memory they are from. */
static void test_full_depth(void)
{
    enum { DEPTH = 8, LONGEST = 64 << 10 };
    static const size_t sizes[] = {100, 8000, 16 << 10, 20000, 60000, LONGEST};
    static unsigned char bytes[4][LONGEST / 4];
    pair_open(&pair, DEPTH, 64, DEPTH * LONGEST);
    for (uint32_t round = 0; round < 60; round++) {
        size_t size = sizes[round % 6], total = size - size % 4;
        for (uint32_t i = 0; i < DEPTH; i++) {
            struct iovec parts[4];
            for (uint32_t k = 0; k < 4; k++) {
                pattern_fill(bytes[k], total / 4, 4 * i + k);
                parts[k] = (struct iovec){bytes[k], total / 4};
            }
            CHECK_EQUAL(transport->write(pair.a.endpoint, parts, 4, NULL,
                                         pair.a.address + i * LONGEST, pair.a.key, i),
                        RFAAS_OK);
        }
        for (uint32_t i = 0; i < DEPTH; i++) {
            unsigned char *there = pair.b.memory->base;
            struct rfaas_completion c;
            CHECK_FATAL(receive(pair.b.device, &c));
            CHECK_EQUAL(c.immediate, i);
            CHECK_EQUAL(c.length, total);
            for (uint32_t k = 0; k < 4; k++)
                CHECK(pattern_holds(there + i * LONGEST + k * total / 4, total / 4,
                                    4 * i + k));
        }
    }
    pair_close(&pair);
}

static void test_register(void)
{
    static unsigned char mine[ROOM];
    struct rfaas_memory *memory;
    struct rfaas_blob blob;
    struct rfaas_completion c;
    uint32_t key;
    pair_open(&pair, 4, 64, ROOM);
    int status = transport->memory_register(pair.b.device, mine, ROOM,
                                            RFAAS_ACCESS_WRITE, &memory);
    if (transport->common_memory) {
        CHECK_EQUAL(status, RFAAS_ERR_UNSUPPORTED);
        pair_close(&pair);
        return;
    }
    CHECK_FATAL(status == RFAAS_OK);
    transport->memory_export(memory, &blob);
    CHECK_EQUAL(transport->memory_import(pair.a.endpoint, &blob, &key), RFAAS_OK);
    struct iovec part = {pair.a.memory->base, 9000};
    pattern_fill(pair.a.memory->base, 9000, 5);
    CHECK_EQUAL(transport->write(pair.a.endpoint, &part, 1, pair.a.memory,
                                 (uintptr_t)mine + 3, key, 1),
                RFAAS_OK);
    CHECK_FATAL(receive(pair.b.device, &c));
    CHECK(pattern_holds(mine + 3, 9000, 5));
    transport->memory_free(pair.b.device, memory);
    mine[0] = 1; /* it is the caller's still */
    pair_close(&pair);
}

static const struct test tests[] = {
    {"bytes are fetched from the peer's memory, and only from there", test_fetch},
    {"long parts in a memory of the device go from where they are", test_from_memory},
    {"long messages at full depth go before one is read", test_full_depth},
    {"memory of the caller's is a target when it is registered", test_register},
    {"a message of any length arrives whole and touches nothing else", test_lengths},
    {"a message without parts brings its immediate as it is", test_immediates},
    {"gathered parts arrive one behind the other", test_gathered},
    {"100,000 messages at full depth arrive in order", test_order},
    {"messages go to another process and back in order", test_processes},
    {"16 endpoints of one device are told apart", test_many_endpoints},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return transports_main(tests, argc, argv);
}
