/* A device that registers memory in books only, for tests of the cache of registrations,
 * and who is told of what is registered. */
#ifndef RFAAS_TEST_MOCK_DEVICE_H
#define RFAAS_TEST_MOCK_DEVICE_H

#include "client/registrations.h"

enum { MOCK_COPY_MAX = 1024 };

struct mock {
    size_t limit;      /* of bytes that may be registered */
    size_t bytes;      /* that are */
    int count;         /* memories that are registered */
    int tries;         /* of registering, successful or not */
    int offered;       /* memories that workers know */
    int refuse_offers; /* so many next ones */
    uint32_t last_key, removed_key;
};
extern struct mock mock;

/* The cache, open for device 1 of a session; false: unmapping isn't seen here. */
bool mock_open(struct registrations *cache);
/* Gives all up and checks that nothing is left. */
void mock_close(struct registrations *cache);

/* registration_get as for an invocation by device 1. */
struct registration *mock_get(struct registrations *cache, const void *address,
                              size_t size, enum rfaas_access access);
/* One use of a buffer from beginning to end; whether it was registered. */
bool mock_use(struct registrations *cache, const void *address, size_t size,
              enum rfaas_access access);

#endif
