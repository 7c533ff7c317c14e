/* Queue pairs that fail: who has the endpoint is told so once, what had come before is
 * still there, and the device's other endpoints go on. */
#include "transport_pair.h"
#include "verbs_only.h"

#if RFAAS_HAVE_VERBS

#include "base/clock.h"
#include <errno.h>
#include <string.h>

enum { ROOM = 4096, DEPTH = 8 };

static struct pair pair;

/* After the failure nothing is sent or heard, and a sleeper isn't woken by it. */
static void check_silent(const struct side *side)
{
    CHECK_EQUAL(transport->write(side->endpoint, NULL, 0, NULL, 0, 0, 1), RFAAS_ERR_IO);
    CHECK_EQUAL(transport->flush(side->endpoint, false), RFAAS_OK);
    CHECK(nothing_came(side->device));
    CHECK_EQUAL(transport->arm(side->device), RFAAS_IN_PROGRESS);
    transport->disarm(side->device);
}

static void check_told(const struct side *side, int status)
{
    struct rfaas_completion c;
    CHECK_FATAL(receive(side->device, &c));
    CHECK_EQUAL(c.status, status);
    CHECK(c.endpoint == side->endpoint);
    CHECK(rfaas_last_error()[0] != '\0');
}

/* Another endpoint of a's device, to b's, before and after. */
static void open_with_others(struct rfaas_endpoint *others[2])
{
    pair_open(&pair, DEPTH, 64, ROOM);
    endpoints_connect(pair.a.device, pair.b.device, DEPTH, 64, others);
}

static void check_others(struct rfaas_endpoint *others[2])
{
    struct rfaas_completion c;
    for (uint32_t i = 0; i < 2 * DEPTH; i++) {
        bool to_b = i % 2 == 0;
        CHECK_EQUAL(transport->write(others[to_b ? 0 : 1], NULL, 0, NULL, 0, 0, i),
                    RFAAS_OK);
        CHECK(receive(to_b ? pair.b.device : pair.a.device, &c));
        CHECK_EQUAL(c.status, RFAAS_OK);
        CHECK_EQUAL(c.immediate, i);
        CHECK(c.endpoint == others[to_b ? 1 : 0]);
    }
}

static void test_idle(void)
{
    struct rfaas_endpoint *others[2];
    open_with_others(others);
    check_in_order(&pair.a, &pair.b);
    CHECK_EQUAL(pair_break(pair.a.endpoint), 0);
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    check_others(others);
    pair_close(&pair);
}

static void test_asleep(void)
{
    struct rfaas_completion c;
    pair_open(&pair, DEPTH, 64, ROOM);
    CHECK_EQUAL(transport->arm(pair.a.device), RFAAS_IN_PROGRESS);
    CHECK_EQUAL(pair_break(pair.a.endpoint), 0);
    CHECK(receive_asleep(pair.a.device, &c));
    CHECK_EQUAL(c.status, RFAAS_ERR_IO);
    check_silent(&pair.a);
    pair_close(&pair);
}

/* What the peer has sent before is read first. */
static void test_unread(void)
{
    struct rfaas_completion c;
    unsigned char bytes[100];
    pair_open(&pair, DEPTH, 64, ROOM);
    for (uint32_t i = 0; i < DEPTH; i++) {
        pattern_fill(bytes, sizeof bytes, i);
        CHECK_EQUAL(write_to(&pair.b, bytes, sizeof bytes, 100 * i, i), RFAAS_OK);
    }
    CHECK_EQUAL(transport->flush(pair.b.endpoint, true), RFAAS_OK);
    CHECK_EQUAL(pair_break(pair.a.endpoint), 0);
    for (uint32_t i = 0; i < DEPTH; i++) {
        CHECK_FATAL(receive(pair.a.device, &c));
        CHECK_EQUAL(c.status, RFAAS_OK);
        CHECK_EQUAL(c.immediate, i);
        CHECK(pattern_holds((unsigned char *)pair.a.memory->base + 100 * i,
                            sizeof bytes, i));
    }
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    pair_close(&pair);
}

/* The peer has failed, and is silent: that takes as long as the device tries it. */
static void test_peer(void)
{
    struct rfaas_endpoint *others[2];
    open_with_others(others);
    CHECK_EQUAL(pair_break(pair.b.endpoint), 0);
    check_told(&pair.b, RFAAS_ERR_IO);
    uint64_t start = rfaas_clock_ns();
    for (uint32_t i = 0; i < DEPTH; i++)
        CHECK_EQUAL(transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, i),
                    RFAAS_OK);
    CHECK_EQUAL(transport->flush(pair.a.endpoint, true), RFAAS_ERR_IO);
    CHECK((double)(rfaas_clock_ns() - start) / 1e9 < 5 * test_slowness());
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    check_others(others);
    pair_close(&pair);
}

/* A long message from memory of the caller, whose copy is freed when it has failed. */
static void test_long_message(void)
{
    static unsigned char bytes[1 << 20];
    pair_open(&pair, DEPTH, 64, sizeof bytes);
    CHECK_EQUAL(pair_break(pair.b.endpoint), 0);
    CHECK_EQUAL(write_to(&pair.a, bytes, sizeof bytes, 0, 1), RFAAS_ERR_IO);
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    pair_close(&pair);
}

static void test_reading(void)
{
    pair_open(&pair, DEPTH, 64, ROOM);
    CHECK_EQUAL(transport->read(pair.a.endpoint, pair.a.memory->base, ROOM,
                                pair.a.address, pair.a.key),
                RFAAS_OK);
    CHECK_EQUAL(pair_break(pair.b.endpoint), 0);
    CHECK_EQUAL(transport->read(pair.a.endpoint, pair.a.memory->base, ROOM,
                                pair.a.address, pair.a.key),
                RFAAS_ERR_IO);
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    pair_close(&pair);
}

/* A place that isn't the peer's to give, and a foreign key: the peer's device refuses,
 * and both are told. */
static void check_refused(int64_t address_off, uint32_t key_off)
{
    struct rfaas_blob blob;
    struct memory_blob content;
    uint32_t key;
    unsigned char bytes[8] = {1};
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct rfaas_completion c;
    pair_open(&pair, DEPTH, 64, ROOM);
    transport->memory_export(pair.b.memory, &blob);
    memcpy(&content, blob.bytes, sizeof content);
    content.address += (uint64_t)address_off;
    content.key += key_off;
    memcpy(blob.bytes, &content, sizeof content);
    transport->memory_forget(pair.a.endpoint, pair.a.key);
    CHECK_FATAL(transport->memory_import(pair.a.endpoint, &blob, &key) == RFAAS_OK);
    CHECK_EQUAL(
        transport->write(pair.a.endpoint, &part, 1, NULL, content.address, key, 1),
        RFAAS_OK);
    CHECK_EQUAL(transport->flush(pair.a.endpoint, true), RFAAS_ERR_IO);
    check_told(&pair.a, RFAAS_ERR_PROTOCOL);
    check_silent(&pair.a);
    CHECK(receive(pair.b.device, &c) && c.status != RFAAS_OK &&
          c.endpoint == pair.b.endpoint);
    check_silent(&pair.b);
    CHECK(all_are(pair.b.memory->base, ROOM, 0));
    pair_close(&pair);
}

static void test_foreign(void)
{
    check_refused(ROOM, 0);
    check_refused(-8, 0);
    check_refused(INT64_MAX / 2, 0);
    check_refused(0, 1);
    check_refused(0, 0x100);
    check_refused(0, 0x55550000);
}

static void ends_connect(void)
{
    struct rfaas_blob a, b;
    transport->endpoint_export(pair.a.endpoint, &a);
    transport->endpoint_export(pair.b.endpoint, &b);
    CHECK_EQUAL(transport->endpoint_connect(pair.a.endpoint, &b), RFAAS_OK);
    CHECK_EQUAL(transport->endpoint_connect(pair.b.endpoint, &a), RFAAS_OK);
}

/* Of the queue pair before nothing comes: not what was on its way, not what was there and
 * unread, not its failure. The peers' memories are known as before. */
static void test_reset(void)
{
    struct rfaas_endpoint *others[2];
    unsigned char bytes[ROOM] = {7};
    open_with_others(others);
    for (uint32_t i = 0; i < 50; i++) {
        for (uint32_t n = 0; n < DEPTH; n++) {
            CHECK_EQUAL(write_to(&pair.a, bytes, n % 2 ? ROOM : 8, 0, 1000), RFAAS_OK);
            CHECK_EQUAL(write_to(&pair.b, bytes, n % 2 ? ROOM : 8, 0, 1000), RFAAS_OK);
        }
        if (i % 2 == 0)
            CHECK_EQUAL(pair_break(pair.a.endpoint), 0);
        if (i % 3 == 0) /* to have some of it taken from the queue and not read */
            transport->flush(pair.b.endpoint, false);
        CHECK_EQUAL(transport->endpoint_reset(pair.a.endpoint), RFAAS_OK);
        CHECK_EQUAL(write_to(&pair.a, bytes, 8, 0, 1), RFAAS_ERR_ARGUMENT);
        CHECK_EQUAL(transport->endpoint_reset(pair.b.endpoint), RFAAS_OK);
        ends_connect();
        CHECK(nothing_came(pair.a.device));
        CHECK(nothing_came(pair.b.device));
        check_in_order(&pair.a, &pair.b);
        check_in_order(&pair.b, &pair.a);
    }
    check_others(others);
    pair_close(&pair);
}

/* A send that can't be posted, as in this state, fails like any other. */
static void test_not_posted(void)
{
    struct rfaas_completion c;
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_RESET};
    pair_open(&pair, DEPTH, 64, ROOM);
    CHECK_EQUAL(transport->write(pair.b.endpoint, NULL, 0, NULL, 0, 0, 5), RFAAS_OK);
    CHECK_EQUAL(transport->flush(pair.b.endpoint, true), RFAAS_OK);
    CHECK_EQUAL(ibv_modify_qp(((struct verbs_endpoint *)pair.a.endpoint)->pair,
                              &attributes, IBV_QP_STATE),
                0);
    CHECK_EQUAL(transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 1),
                RFAAS_ERR_IO);
    CHECK(receive(pair.a.device, &c));
    CHECK_EQUAL(c.status, RFAAS_OK);
    CHECK_EQUAL(c.immediate, 5);
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    pair_close(&pair);
}

static int refuse_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
                       struct ibv_send_wr **bad)
{
    (void)qp;
    *bad = wr;
    return ENOMEM;
}

static int refuse_receive(struct ibv_qp *qp, struct ibv_recv_wr *wr,
                          struct ibv_recv_wr **bad)
{
    (void)qp;
    *bad = wr;
    return ENOMEM;
}

static struct ibv_context_ops *operations_of(const struct side *side)
{
    return &((struct verbs_endpoint *)side->endpoint)->pair->context->ops;
}

/* Who doesn't hear any more what is sent to him must not seem to. */
static void check_unheard(const struct side *from)
{
    CHECK_EQUAL(transport->write(from->endpoint, NULL, 0, NULL, 0, 0, 77), RFAAS_OK);
    CHECK_EQUAL(transport->flush(from->endpoint, true), RFAAS_ERR_IO);
    check_told(from, RFAAS_ERR_IO);
    check_silent(from);
}

static void test_no_send(void)
{
    pair_open(&pair, DEPTH, 64, ROOM);
    struct ibv_context_ops *operations = operations_of(&pair.a), before = *operations;
    operations->post_send = refuse_send;
    CHECK_EQUAL(transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 1),
                RFAAS_ERR_IO);
    operations->post_send = before.post_send;
    check_told(&pair.a, RFAAS_ERR_IO);
    check_unheard(&pair.b);
    check_silent(&pair.a);
    pair_close(&pair);
}

/* The message whose receive can't be posted again has come nevertheless, as have those
 * behind it. */
static void test_no_receive(void)
{
    struct rfaas_completion c;
    pair_open(&pair, DEPTH, 64, ROOM);
    struct ibv_context_ops *operations = operations_of(&pair.a), before = *operations;
    operations->post_recv = refuse_receive;
    for (uint32_t i = 0; i < DEPTH + 2; i++)
        CHECK_EQUAL(transport->write(pair.b.endpoint, NULL, 0, NULL, 0, 0, i),
                    RFAAS_OK);
    CHECK_EQUAL(transport->flush(pair.b.endpoint, true), RFAAS_OK);
    for (uint32_t i = 0; i < DEPTH + 2; i++) {
        CHECK_FATAL(receive(pair.a.device, &c));
        CHECK_EQUAL(c.status, RFAAS_OK);
        CHECK_EQUAL(c.immediate, i);
    }
    operations->post_recv = before.post_recv;
    check_told(&pair.a, RFAAS_ERR_IO);
    check_silent(&pair.a);
    check_unheard(&pair.b);
    pair_close(&pair);
}

/* What is registered for reading can be read, and not be written to. */
static void test_read_only(void)
{
    static unsigned char mine[ROOM];
    struct rfaas_memory *memory;
    struct rfaas_blob blob;
    uint32_t key;
    unsigned char *fetched, bytes[8] = {1};
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    pair_open(&pair, DEPTH, 64, ROOM);
    memset(mine, 0x33, ROOM);
    CHECK_FATAL(transport->memory_register(pair.b.device, mine, ROOM, RFAAS_ACCESS_READ,
                                           &memory) == RFAAS_OK);
    transport->memory_export(memory, &blob);
    CHECK_FATAL(transport->memory_import(pair.a.endpoint, &blob, &key) == RFAAS_OK);
    fetched = pair.a.memory->base;
    CHECK_EQUAL(transport->read(pair.a.endpoint, fetched, ROOM, (uintptr_t)mine, key),
                RFAAS_OK);
    CHECK(all_are(fetched, ROOM, 0x33));
    CHECK_EQUAL(
        transport->write(pair.a.endpoint, &part, 1, NULL, (uintptr_t)mine, key, 1),
        RFAAS_OK);
    CHECK_EQUAL(transport->flush(pair.a.endpoint, true), RFAAS_ERR_IO);
    check_told(&pair.a, RFAAS_ERR_PROTOCOL);
    CHECK(all_are(mine, ROOM, 0x33));
    pair_close(&pair);
}

static const struct test tests[] = {
    {"a queue pair that fails is told once, others go on", test_idle},
    {"it wakes who sleeps", test_asleep},
    {"what came before is read first", test_unread},
    {"a peer whose queue pair has failed is noticed by sending", test_peer},
    {"so it is by a long message", test_long_message},
    {"and by reading", test_reading},
    {"foreign addresses and keys are refused by the peer's device", test_foreign},
    {"a send that can't be posted is a failure", test_not_posted},
    {"after that the peer's messages fail, too", test_no_send},
    {"so they do when there is no receive for them", test_no_receive},
    {"after a reset nothing comes of before", test_reset},
    {"memory for reading can't be written to", test_read_only},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    transport = &rfaas_transport_verbs;
    return verbs_are_there() ? test_main("verbs", tests, argc, argv) : 77;
}

#else

int main(void)
{
    printf("SKIPPED: built without verbs\n");
    return 77;
}

#endif
