/* Two devices in this process. */
#include "transport_pair.h"

#include "base/clock.h"
#include "rfaas.h"
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t PATIENCE = 20000000000; /* ns: the machine may be busy */

const struct rfaas_transport *transport;

/* ---- opening --------------------------------------------------------------------- */

static void connect_to(struct rfaas_endpoint *from, const struct rfaas_endpoint *to)
{
    struct rfaas_blob blob;
    transport->endpoint_export(to, &blob);
    CHECK_FATAL(transport->endpoint_connect(from, &blob) == RFAAS_OK);
}

void endpoints_connect(struct rfaas_device *a, struct rfaas_device *b, unsigned depth,
                       size_t inline_max, struct rfaas_endpoint *endpoints[2])
{
    struct rfaas_endpoint_options options = {.depth = depth, .inline_max = inline_max};
    CHECK_FATAL(transport->endpoint_open(a, &options, &endpoints[0]) == RFAAS_OK);
    CHECK_FATAL(transport->endpoint_open(b, &options, &endpoints[1]) == RFAAS_OK);
    connect_to(endpoints[0], endpoints[1]);
    connect_to(endpoints[1], endpoints[0]);
}

static void memory_share(struct side *owner, struct side *user, size_t size)
{
    struct rfaas_blob blob;
    CHECK_FATAL(transport->memory_alloc(owner->device, size, &owner->memory) ==
                RFAAS_OK);
    transport->memory_export(owner->memory, &blob);
    CHECK_FATAL(transport->memory_import(user->endpoint, &blob, &user->key) ==
                RFAAS_OK);
    user->address = (uintptr_t)owner->memory->base;
}

void pair_open(struct pair *pair, unsigned depth, size_t inline_max, size_t size)
{
    struct rfaas_endpoint *endpoints[2];
    memset(pair, 0, sizeof *pair);
    CHECK_FATAL(transport->device_open(&any_device, &pair->a.device) == RFAAS_OK);
    CHECK_FATAL(transport->device_open(&any_device, &pair->b.device) == RFAAS_OK);
    endpoints_connect(pair->a.device, pair->b.device, depth, inline_max, endpoints);
    pair->a.endpoint = endpoints[0];
    pair->b.endpoint = endpoints[1];
    memory_share(&pair->a, &pair->b, size);
    memory_share(&pair->b, &pair->a, size);
}

void pair_close(struct pair *pair)
{
    transport->device_close(pair->a.device);
    transport->device_close(pair->b.device);
}

/* ---- messages -------------------------------------------------------------------- */

int write_to(const struct side *from, const void *bytes, size_t size, uint64_t offset,
             uint32_t immediate)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    return transport->write(from->endpoint, &part, 1, NULL, from->address + offset,
                            from->key, immediate);
}

bool receive(struct rfaas_device *device, struct rfaas_completion *completion)
{
    uint64_t end = rfaas_clock_ns() + PATIENCE;
    for (unsigned polls = 1; transport->poll(device, completion, 1) != 1; polls++) {
        if (polls % 64 != 0)
            continue;
        sched_yield(); /* the sender may need this core */
        if (rfaas_clock_ns() > end)
            return false;
    }
    return true;
}

bool receive_asleep(struct rfaas_device *device, struct rfaas_completion *completion)
{
    struct pollfd ready = {.fd = transport->descriptor(device), .events = POLLIN};
    while (transport->poll(device, completion, 1) != 1) {
        if (transport->arm(device) == RFAAS_OK)
            continue;
        int woken = poll(&ready, 1, (int)(PATIENCE / 1000000));
        transport->disarm(device);
        if (woken != 1)
            return false;
    }
    return true;
}

bool nothing_came(struct rfaas_device *device)
{
    struct rfaas_completion completion;
    return transport->poll(device, &completion, 1) == 0;
}

void check_in_order(const struct side *from, const struct side *to)
{
    unsigned char bytes[40];
    struct rfaas_completion c;
    pattern_fill(bytes, sizeof bytes, 7);
    memset(to->memory->base, 0, sizeof bytes);
    CHECK_EQUAL(write_to(from, bytes, sizeof bytes, 0, 4711), RFAAS_OK);
    CHECK_FATAL(receive(to->device, &c));
    CHECK_EQUAL(c.status, RFAAS_OK);
    CHECK_EQUAL(c.immediate, 4711);
    CHECK_EQUAL(c.length, sizeof bytes);
    CHECK(c.endpoint == to->endpoint);
    CHECK(pattern_holds(to->memory->base, sizeof bytes, 7));
    CHECK(nothing_came(to->device));
}

/* ---- bytes ----------------------------------------------------------------------- */

/* Memory that processes share is nothing to ThreadSanitizer: no look at each byte. */
#define PLAIN_LOOP __attribute__((no_sanitize("thread")))

static inline unsigned char pattern_at(size_t i, uint32_t seed)
{
    return (unsigned char)((i * 2654435761u + seed * 40503u) >> 8 | 1);
}

PLAIN_LOOP void pattern_fill(unsigned char *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern_at(i, seed);
}

PLAIN_LOOP bool pattern_holds(const unsigned char *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern_at(i, seed))
            return false;
    return true;
}

bool all_are(const unsigned char *bytes, size_t size, unsigned char value)
{
    return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

void blob_replace(struct rfaas_blob *blob, uint64_t old, uint64_t new)
{
    for (size_t i = 0; i + sizeof old <= blob->size; i++) {
        if (memcmp(blob->bytes + i, &old, sizeof old) == 0) {
            memcpy(blob->bytes + i, &new, sizeof new);
            return;
        }
    }
    CU_FAIL_FATAL("the blob doesn't tell that number");
}

/* ---- this process ---------------------------------------------------------------- */

int descriptors_open(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK_FATAL(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

int shared_mappings(void)
{
    int count = 0;
    char line[512], permissions[8];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK_FATAL(maps != NULL);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%*s %7s", permissions) == 1 && permissions[3] == 's')
            count++;
    fclose(maps);
    return count;
}

/* ---- the peer -------------------------------------------------------------------- */

static struct work {
    bool (*body)(struct pair *pair);
    struct pair *pair;
    bool right;
} work;

static void *work_in_thread(void *arg)
{
    struct work *w = arg;
    w->right = w->body(w->pair);
    return NULL;
}

struct peer peer_start(bool (*body)(struct pair *pair), struct pair *pair)
{
    struct peer peer = {0};
    if (!transport->common_memory) { /* a forked process can't use RDMA devices */
        work = (struct work){.body = body, .pair = pair};
        CHECK_FATAL(pthread_create(&peer.thread, NULL, work_in_thread, &work) == 0);
        return peer;
    }
    fflush(NULL);
    peer.pid = fork();
    CHECK_FATAL(peer.pid >= 0);
    if (peer.pid > 0)
        return peer;
    alarm(60);
    _exit(body(pair) ? 0 : 1);
}

bool peer_end(const struct peer *peer)
{
    int status;
    if (peer->pid == 0)
        return pthread_join(peer->thread, NULL) == 0 && work.right;
    return waitpid(peer->pid, &status, 0) == peer->pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

void peer_kill(const struct peer *peer)
{
    if (peer->pid > 0)
        kill(peer->pid, SIGKILL);
}

/* ---- all transports -------------------------------------------------------------- */

int transports_main(const struct test tests[], int argc, char **argv)
{
    size_t count;
    const struct rfaas_transport *const *transports = rfaas_transports(&count);
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        struct rfaas_device *device;
        transport = transports[i];
        if (transport->device_open(&any_device, &device) != RFAAS_OK) {
            printf("not on this machine: %s\n", rfaas_last_error());
            continue;
        }
        transport->device_close(device);
        failed |= test_main(transport->name, tests, argc, argv);
    }
    return failed;
}
