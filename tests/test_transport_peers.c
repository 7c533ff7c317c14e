/* What every transport promises when the peer lies about itself, or goes. */
#include "transport_pair.h"

#include "rfaas.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 1 << 14 };

static struct pair pair;

/* ---- blobs that lie -------------------------------------------------------------- */

/* A descriptor of memory without a name. */
static int memfd(size_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_FATAL(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    CHECK_FATAL(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

typedef int taking_call(const struct rfaas_blob *blob);

static int take_memory(const struct rfaas_blob *blob)
{
    uint32_t key = 4711;
    int status = transport->memory_import(pair.a.endpoint, blob, &key);
    if (status != RFAAS_OK)
        CHECK_EQUAL(key, 4711); /* outputs are written on success only */
    return status;
}

static int take_endpoint(const struct rfaas_blob *blob)
{
    struct rfaas_endpoint_options options = {.depth = 4, .inline_max = 64};
    struct rfaas_endpoint *endpoint;
    CHECK_FATAL(transport->endpoint_open(pair.a.device, &options, &endpoint) ==
                RFAAS_OK);
    int status = transport->endpoint_connect(endpoint, blob);
    transport->endpoint_close(endpoint);
    return status;
}

static void check_blob_refused(taking_call *take, const struct rfaas_blob *blob)
{
    int before = descriptors_open(), mappings = shared_mappings();
    CHECK_EQUAL(take(blob), RFAAS_ERR_PROTOCOL);
    CHECK(rfaas_last_error()[0] != '\0');
    CHECK_EQUAL(descriptors_open(), before);
    CHECK_EQUAL(shared_mappings(), mappings);
}

/* Wrong in any part of it: too short, too long, noise, other descriptors. */
static void check_garbage(taking_call *take, const struct rfaas_blob *right)
{
    struct rfaas_blob blob = *right;
    static const size_t sizes[] = {0, 1, 3, 4, RFAAS_BLOB_SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        blob.size = sizes[i];
        check_blob_refused(take, &blob);
    }
    blob.size = right->size - 1;
    check_blob_refused(take, &blob);
    blob.size = right->size + 1;
    check_blob_refused(take, &blob);
    blob = *right;
    memset(blob.bytes, 0xff, sizeof blob.bytes);
    check_blob_refused(take, &blob);
    memset(blob.bytes, 0, sizeof blob.bytes);
    check_blob_refused(take, &blob);
    /* One descriptor more or less, or another. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    blob = *right;
    blob.fd_count = right->fd_count == 1 ? 2 : 1;
    blob.fds[0] = blob.fds[1] = right->fd_count > 0 ? right->fds[0] : null;
    check_blob_refused(take, &blob);
    if (right->fd_count > 0) {
        blob.fd_count = 0;
        check_blob_refused(take, &blob);
        blob = *right;
        blob.fds[0] = -1;
        check_blob_refused(take, &blob);
        blob.fds[0] = null;
        check_blob_refused(take, &blob);
    }
    close(null);
}

/* Every bit of it flipped in turn: refused or taken, but never a crash. The first say
 * what it is. */
static void flip_bits(taking_call *take, const struct rfaas_blob *right)
{
    for (size_t bit = 0; bit < right->size * 8; bit++) {
        struct rfaas_blob blob = *right;
        blob.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        int status = take(&blob);
        CHECK(status == RFAAS_ERR_PROTOCOL || bit >= 32);
    }
}

/* With other memory than the blob is of. */
static void check_memory_descriptors(const struct rfaas_blob *right)
{
    static const int seals[] = {0, F_SEAL_GROW, F_SEAL_WRITE};
    struct rfaas_blob blob = *right;
    for (size_t i = 0; i < sizeof seals / sizeof *seals; i++) {
        blob.fds[0] = memfd(ROOM, seals[i]); /* can be shrunk under its reader */
        check_blob_refused(take_memory, &blob);
        close(blob.fds[0]);
    }
    blob.fds[0] = memfd(ROOM - 1, F_SEAL_SHRINK);
    check_blob_refused(take_memory, &blob);
    close(blob.fds[0]);
    blob = *right;
    blob_replace(&blob, ROOM, ROOM + 1);
    check_blob_refused(take_memory, &blob);
}

static void test_memory_blobs(void)
{
    struct rfaas_blob right, blob;
    struct rfaas_memory *other;
    uint32_t key;
    pair_open(&pair, 4, 64, ROOM);
    CHECK_FATAL(transport->memory_alloc(pair.b.device, ROOM, &other) == RFAAS_OK);
    transport->memory_export(other, &right);
    check_garbage(take_memory, &right);
    if (transport->common_memory)
        check_memory_descriptors(&right);
    static const uint64_t sizes[] = {0, UINT64_MAX, UINT64_MAX - 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        blob = right;
        blob_replace(&blob, ROOM, sizes[i]);
        check_blob_refused(take_memory, &blob);
    }
    blob = right;
    blob_replace(&blob, (uintptr_t)other->base, UINT64_MAX - ROOM + 2); /* wraps */
    check_blob_refused(take_memory, &blob);
    transport->memory_export(pair.b.memory, &blob); /* its key is in use */
    check_blob_refused(take_memory, &blob);
    CHECK_EQUAL(transport->memory_import(pair.a.endpoint, &right, &key), RFAAS_OK);
    transport->memory_forget(pair.a.endpoint, key);
    check_in_order(&pair.a, &pair.b);
    flip_bits(take_memory, &right);
    check_in_order(&pair.a, &pair.b);
    pair_close(&pair);
}

static void test_endpoint_blobs(void)
{
    struct rfaas_blob right, blob;
    struct rfaas_endpoint_options options = {.depth = 4, .inline_max = 64};
    struct rfaas_endpoint *other;
    pair_open(&pair, 4, 64, ROOM);
    CHECK_FATAL(transport->endpoint_open(pair.b.device, &options, &other) == RFAAS_OK);
    transport->endpoint_export(other, &right);
    check_garbage(take_endpoint, &right);
    static const int seals[] = {0, F_SEAL_SHRINK};
    for (size_t i = 0; transport->common_memory && i < 2; i++) {
        blob = right;
        blob.fds[0] = memfd(i == 0 ? 1 << 20 : 64, seals[i]); /* shrinks; too small */
        check_blob_refused(take_endpoint, &blob);
        close(blob.fds[0]);
    }
    flip_bits(take_endpoint, &right);
    CHECK_EQUAL(take_endpoint(&right), RFAAS_OK);
    CHECK_EQUAL(transport->endpoint_connect(pair.a.endpoint, &right),
                RFAAS_ERR_ARGUMENT); /* it is connected already */
    check_in_order(&pair.a, &pair.b);
    pair_close(&pair);
}

static void test_options(void)
{
    static const unsigned wrong[] = {0, RFAAS_DEPTH_MAX + 1, UINT32_MAX};
    int before = descriptors_open();
    struct rfaas_device *device;
    struct rfaas_endpoint *endpoint = NULL;
    CHECK_FATAL(transport->device_open(&any_device, &device) == RFAAS_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rfaas_endpoint_options options = {.depth = wrong[i], .inline_max = 64};
        CHECK_EQUAL(transport->endpoint_open(device, &options, &endpoint),
                    RFAAS_ERR_ARGUMENT);
        CHECK(endpoint == NULL);
    }
    transport->device_close(device);
    CHECK_EQUAL(descriptors_open(), before);
    CHECK(rfaas_transport_find("nonsense") == NULL);
    CHECK(rfaas_transport_find(transport->name) == transport);
}

/* ---- beginnings and ends --------------------------------------------------------- */

static void test_close_on_exec(void)
{
    bool before[256] = {false};
    int found = 0;
    for (int fd = 0; fd < 256; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    pair_open(&pair, 8, 192, ROOM);
    for (int fd = 0; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || before[fd])
            continue;
        CHECK(flags & FD_CLOEXEC);
        found++;
    }
    CHECK(found > 0);
    pair_close(&pair);
}

static void test_reopen(void)
{
    pair_open(&pair, 8, 192, ROOM);
    int before = descriptors_open(), mappings = shared_mappings();
    for (int i = 0; i < 300 / test_slowness(); i++) {
        struct rfaas_endpoint *ends[2];
        struct rfaas_blob blob;
        uint32_t key;
        endpoints_connect(pair.a.device, pair.b.device, 1 + (unsigned)i % 9, 64, ends);
        transport->memory_export(pair.b.memory, &blob);
        CHECK_EQUAL(transport->memory_import(ends[0], &blob, &key), RFAAS_OK);
        CHECK_EQUAL(transport->write(ends[0], NULL, 0, NULL, 0, 0, 1), RFAAS_OK);
        transport->endpoint_close(ends[i % 2]);
        transport->endpoint_close(ends[1 - i % 2]);
        CHECK(nothing_came(pair.b.device)); /* what was unread goes along */
    }
    CHECK_EQUAL(descriptors_open(), before);
    CHECK_EQUAL(shared_mappings(), mappings);
    check_in_order(&pair.a, &pair.b);
    pair_close(&pair);
}

static void test_device_close(void)
{
    int before = descriptors_open(), mappings = shared_mappings();
    for (int i = 0; i < 50 / test_slowness(); i++) {
        pair_open(&pair, 8, 192, ROOM);
        check_in_order(&pair.a, &pair.b);
        pair_close(&pair); /* endpoints and memories go along */
    }
    CHECK_EQUAL(descriptors_open(), before);
    CHECK_EQUAL(shared_mappings(), mappings);
}

/* Both directions: a writes to a peer that has gone, b's end was to be read. */
static void test_peer_gone(void)
{
    struct rfaas_completion c;
    unsigned char bytes[256] = {1};
    pair_open(&pair, 8, 64, ROOM);
    CHECK_EQUAL(write_to(&pair.b, bytes, 8, 0, 1), RFAAS_OK);
    transport->device_close(pair.b.device);
    CHECK_EQUAL(write_to(&pair.a, bytes, 8, 0, 1), RFAAS_OK);
    CHECK_EQUAL(write_to(&pair.a, bytes, 256, 0, 1), RFAAS_OK);
    CHECK((transport->map(pair.a.endpoint, pair.a.address, ROOM, pair.a.key) != NULL) ==
          transport->common_memory);
    CHECK(receive(pair.a.device, &c) && c.status == RFAAS_OK); /* it was written */
    CHECK(nothing_came(pair.a.device));
    transport->device_close(pair.a.device);
}

static bool write_for_ever(struct pair *p)
{
    static unsigned char bytes[ROOM];
    struct rfaas_completion c;
    for (uint32_t i = 0;; i++) {
        pattern_fill(bytes, i % 2 ? 60 : 300, i);
        write_to(&p->b, bytes, i % 2 ? 60 : 300, 0, i);
        if (!receive(p->b.device, &c))
            return false;
    }
}

/* Killed anywhere: each message is there as a whole or not at all. */
static void test_peer_killed(void)
{
    if (!transport->common_memory) {
        printf("(there are no processes to kill: see the tests of sessions) ");
        return;
    }
    for (uint32_t round = 0; round < 20; round++) {
        struct rfaas_completion c;
        uint32_t taken = 0;
        pair_open(&pair, 1, 64, ROOM);
        struct peer peer = peer_start(write_for_ever, &pair);
        while (taken < 100 + round) {
            CHECK_FATAL(receive(pair.a.device, &c));
            CHECK_EQUAL(c.immediate, taken);
            CHECK(pattern_holds(pair.a.memory->base, c.length, taken++));
            transport->write(pair.a.endpoint, NULL, 0, NULL, 0, 0, 0);
        }
        peer_kill(&peer);
        CHECK(!peer_end(&peer));
        if (transport->poll(pair.a.device, &c, 1) == 1)
            CHECK(c.immediate == taken &&
                  pattern_holds(pair.a.memory->base, c.length, taken));
        CHECK(nothing_came(pair.a.device));
        pair_close(&pair);
    }
}

static const struct test tests[] = {
    {"what is no description of memory is refused", test_memory_blobs},
    {"what is no address of an endpoint is refused", test_endpoint_blobs},
    {"a depth that can't be had is refused", test_options},
    {"no descriptor passes to programs that are started", test_close_on_exec},
    {"closed endpoints leave nothing", test_reopen},
    {"a closed device leaves nothing", test_device_close},
    {"a peer that has gone does no harm", test_peer_gone},
    {"a peer that is killed leaves no half message", test_peer_killed},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return transports_main(tests, argc, argv);
}
