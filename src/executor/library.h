/* Libraries of functions on this node, known by the SHA-256 of their bytes: found at
 * the client's path, or shipped by a client and kept in a file without a name. */
#ifndef RFAAS_EXECUTOR_LIBRARY_H
#define RFAAS_EXECUTOR_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <uthash.h>

enum { RFAAS_SHA256_SIZE = 32 };

struct rfaas_library {
    unsigned char sha256[RFAAS_SHA256_SIZE];
    char *path; /* where it was found; NULL: it was shipped */
    int fd;     /* its bytes: what is at the path may change */
    UT_hash_handle hh;
};

struct rfaas_libraries {
    struct rfaas_library *table;
};

/* The library with this hash, if it is here: shipped before, or now at `path`. NULL:
 * its bytes are needed. */
struct rfaas_library *rfaas_library_find(struct rfaas_libraries *libraries,
                                         const unsigned char *sha256, const char *path);

/* Keeps shipped bytes. RFAAS_ERR_REFUSED if they don't have the hash. */
int rfaas_library_keep(struct rfaas_libraries *libraries, const unsigned char *sha256,
                       const void *content, size_t size);

void rfaas_libraries_free(struct rfaas_libraries *libraries);

#endif
