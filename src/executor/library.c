#include "executor/library.h"

#include "base/error.h"
#include "base/log.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens the file at `path` if it has this hash; else -1. Read, not mapped: its owner
 * may cut it short at any moment. */
static int file_with_hash(const char *path, const unsigned char *sha256)
{
    unsigned char block[64 << 10], hash[RFAAS_SHA256_SIZE];
    struct stat st;
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1)
        while ((n = read(fd, block, sizeof block)) > 0)
            EVP_DigestUpdate(context, block, (size_t)n);
    bool same = n == 0 && EVP_DigestFinal_ex(context, hash, NULL) == 1 &&
                memcmp(hash, sha256, sizeof hash) == 0;
    EVP_MD_CTX_free(context);
    if (same)
        return fd;
    close(fd);
    return -1;
}

/* Whether another library was found at this path before. The loader of a process knows
 * libraries by their path: the second one has to come by another. */
static bool path_was_used(const struct rfaas_libraries *libraries,
                          const unsigned char *sha256, const char *path)
{
    for (const struct rfaas_library *l = libraries->table; l; l = l->hh.next)
        if (l->path && strcmp(l->path, path) == 0 &&
            memcmp(l->sha256, sha256, sizeof l->sha256) != 0)
            return true;
    return false;
}

static struct rfaas_library *library_add(struct rfaas_libraries *libraries,
                                         const unsigned char *sha256)
{
    struct rfaas_library *library = calloc(1, sizeof *library);
    if (!library)
        return NULL;
    memcpy(library->sha256, sha256, sizeof library->sha256);
    library->fd = -1;
    HASH_ADD(hh, libraries->table, sha256, sizeof library->sha256, library);
    return library;
}

static void library_set(struct rfaas_library *library, char *path, int fd)
{
    free(library->path);
    if (library->fd >= 0)
        close(library->fd);
    library->path = path;
    library->fd = fd;
}

struct rfaas_library *rfaas_library_find(struct rfaas_libraries *libraries,
                                         const unsigned char *sha256, const char *path)
{
    struct rfaas_library *library;
    HASH_FIND(hh, libraries->table, sha256, RFAAS_SHA256_SIZE, library);
    if (library && !library->path)
        return library;
    /* A path is looked at each time: the file may have been replaced since. It is
     * preferred to the shipped bytes because libraries beside it, and debuggers, find
     * their way by it. */
    int fd = -1;
    if (path[0] == '/' && !path_was_used(libraries, sha256, path))
        fd = file_with_hash(path, sha256);
    if (fd < 0)
        return NULL;
    char *copy = strdup(path);
    if (copy && !library)
        library = library_add(libraries, sha256);
    if (!copy || !library) {
        free(copy);
        close(fd);
        return NULL;
    }
    library_set(library, copy, fd);
    return library;
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0)
            return -1;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

int rfaas_library_keep(struct rfaas_libraries *libraries, const unsigned char *sha256,
                       const void *content, size_t size)
{
    unsigned char hash[RFAAS_SHA256_SIZE];
    SHA256(content, size, hash);
    if (memcmp(hash, sha256, sizeof hash) != 0)
        return rfaas_fail(
            RFAAS_ERR_REFUSED,
            "library: the %zu bytes sent don't have the SHA-256 announced", size);
    struct rfaas_library *library;
    HASH_FIND(hh, libraries->table, sha256, RFAAS_SHA256_SIZE, library);
    if (library && !library->path)
        return RFAAS_OK;
    int fd = memfd_create("rfaas-library", MFD_CLOEXEC);
    if (fd < 0 || write_all(fd, content, size) < 0) {
        rfaas_fail(RFAAS_ERR_NO_MEMORY, "library: keeping %zu bytes: %m", size);
        if (fd >= 0)
            close(fd);
        return RFAAS_ERR_NO_MEMORY;
    }
    if (!library)
        library = library_add(libraries, sha256);
    if (!library) {
        close(fd);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "library: out of memory");
    }
    library_set(library, NULL, fd);
    return RFAAS_OK;
}

void rfaas_libraries_free(struct rfaas_libraries *libraries)
{
    struct rfaas_library *library, *next;
    HASH_ITER(hh, libraries->table, library, next) {
        HASH_DEL(libraries->table, library);
        library_set(library, NULL, -1);
        free(library);
    }
}
