/* For tests of transports: two devices in this process, each with an endpoint to the
 * other and a memory that the other has imported. */
#ifndef RFAAS_TEST_TRANSPORT_PAIR_H
#define RFAAS_TEST_TRANSPORT_PAIR_H

#include "test.h"
#include "transport/transport.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* The one under test. */
extern const struct rfaas_transport *transport;
static const struct rfaas_device_options any_device = {.gid_index = -1};

struct side {
    struct rfaas_device *device;
    struct rfaas_endpoint *endpoint;
    struct rfaas_memory *memory; /* its own */
    uint64_t address;            /* of the peer's memory, and its key here */
    uint32_t key;
};

struct pair {
    struct side a, b;
};

/* Memories are of `size` bytes each. */
void pair_open(struct pair *pair, unsigned depth, size_t inline_max, size_t size);
void pair_close(struct pair *pair);

/* An endpoint of each device, connected to each other. */
void endpoints_connect(struct rfaas_device *a, struct rfaas_device *b, unsigned depth,
                       size_t inline_max, struct rfaas_endpoint *endpoints[2]);

/* Writes to the peer's memory at `offset`; the status. */
int write_to(const struct side *from, const void *bytes, size_t size, uint64_t offset,
             uint32_t immediate);

/* The next completion of the device, awaited for 20 seconds at most. */
bool receive(struct rfaas_device *device, struct rfaas_completion *completion);
/* The same, sleeping until it comes. */
bool receive_asleep(struct rfaas_device *device, struct rfaas_completion *completion);
/* That there is none. */
bool nothing_came(struct rfaas_device *device);

/* A message from one to the other arrives: both are in order. */
void check_in_order(const struct side *from, const struct side *to);

/* Bytes that tell where they were meant to be. */
void pattern_fill(unsigned char *bytes, size_t size, uint32_t seed);
bool pattern_holds(const unsigned char *bytes, size_t size, uint32_t seed);
bool all_are(const unsigned char *bytes, size_t size, unsigned char value);

/* Replaces a number where the blob says it: whatever the transport, its description of
 * a memory tells address and size as they are. */
void blob_replace(struct rfaas_blob *blob, uint64_t old, uint64_t new);

/* What this process has open or mapped of transports. */
int descriptors_open(void);
int shared_mappings(void);

/* Runs `body` beside the test, in a process of its own, which has the pair as it is now;
 * a transport that can't be taken along into one has a thread. The end: it returned true
 * within 60 seconds. */
struct peer {
    pid_t pid; /* 0: a thread */
    pthread_t thread;
};
struct peer peer_start(bool (*body)(struct pair *pair), struct pair *pair);
bool peer_end(const struct peer *peer);
/* Kills the process. */
void peer_kill(const struct peer *peer);

/* Runs the tests on all transports that this machine has, and says which it hasn't. */
int transports_main(const struct test tests[], int argc, char **argv);

#endif
