/* Cores of this machine, by hwloc: sets of physical processing units, as lists like
 * "0,2-3". Thread-safe; each call loads nothing: the topology is opened once. */
#ifndef RFAAS_BASE_CORES_H
#define RFAAS_BASE_CORES_H

#include "base/export.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RFAAS_CORES_MAX = 4096, RFAAS_CORES_TEXT = 1024 };

struct rfaas_cores {
    uint64_t bits[RFAAS_CORES_MAX / 64];
};

/* All that this process may use: cgroup limits count, its current binding doesn't. */
RFAAS_PRIVATE_API int rfaas_cores_allowed(struct rfaas_cores *cores);

/* What the process `pid` (0: this one) is bound to. */
RFAAS_PRIVATE_API int rfaas_cores_bound(pid_t pid, struct rfaas_cores *cores);

/* Binds this process (all threads that start later included) to the set. */
RFAAS_PRIVATE_API int rfaas_cores_bind(const struct rfaas_cores *cores);

RFAAS_PRIVATE_API int rfaas_cores_count(const struct rfaas_cores *cores);
RFAAS_PRIVATE_API void rfaas_cores_add(struct rfaas_cores *to,
                                       const struct rfaas_cores *what);
RFAAS_PRIVATE_API void rfaas_cores_remove(struct rfaas_cores *from,
                                          const struct rfaas_cores *what);

/* The n-th (0..count-1) processing unit as a set of one. */
RFAAS_PRIVATE_API int rfaas_cores_nth(const struct rfaas_cores *cores, int n,
                                      struct rfaas_cores *one);

/* Text form, RFAAS_CORES_TEXT bytes are enough for any machine met so far; too long
 * a list is RFAAS_ERR_ARGUMENT. */
RFAAS_PRIVATE_API int rfaas_cores_format(const struct rfaas_cores *cores, char *text,
                                         size_t size);
RFAAS_PRIVATE_API int rfaas_cores_parse(const char *text, struct rfaas_cores *cores);

#endif
