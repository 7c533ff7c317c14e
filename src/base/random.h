/* Random bytes that nobody can guess. */
#ifndef RFAAS_BASE_RANDOM_H
#define RFAAS_BASE_RANDOM_H

#include "base/error.h"
#include <errno.h>
#include <stddef.h>
#include <sys/random.h>

/* Fills `size` bytes; RFAAS_ERR_IO if the system has none. */
static inline int rfaas_random(void *bytes, size_t size)
{
    unsigned char *next = bytes;
    while (size > 0) {
        ssize_t n = getrandom(next, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return rfaas_fail(RFAAS_ERR_IO, "random numbers: %m");
        next += n;
        size -= (size_t)n;
    }
    return RFAAS_OK;
}

#endif
