/* Registrations of buffers that are the user's own, kept for the next invocation: a
 * bounded cache, for a transport whose device has to know memory. Everything here is the
 * session's and under its lock, but for registrations_unmapped.
 *
 * A buffer is registered when it is used for the second time. Who uses a buffer once, or
 * a new one each time, is served best by a copy: registering costs more than copying some
 * 100 KiB, and all workers have to hear of a buffer that they are to write to. */
#ifndef RFAAS_CLIENT_REGISTRATIONS_H
#define RFAAS_CLIENT_REGISTRATIONS_H

#include "client/device.h"
#include "client/unmapping.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Buffers that are known. All are looked at, without a lock, whenever memory is unmapped,
 * and when a buffer is looked for that isn't the last one: 2 KiB of addresses. */
enum { REGISTRATIONS_MAX = 128 };

struct registration {
    struct rfaas_memory *memory; /* NULL: used once, or refused */
    enum rfaas_access access;
    bool refused;     /* by the device */
    bool offered;     /* workers have been told */
    unsigned uses;    /* by invocations that are underway */
    uint64_t used_at; /* by the cache's clock */
};

/* Where such a buffer lies; start and end 0: none. `gone`: it has been unmapped since, or
 * is to be given up. */
struct registered_range {
    _Atomic uintptr_t start, end;
    _Atomic bool gone;
};

struct registrations {
    const struct client_device *device; /* NULL: nothing is registered */
    int number;                         /* of the device, in the session */
    const struct memory_calls *calls;
    void *arg;
    struct unmapping watch;
    struct registered_range ranges[REGISTRATIONS_MAX];
    struct registration entries[REGISTRATIONS_MAX];
    _Atomic bool any_gone;
    int room;                     /* places that were ever taken */
    struct registration *last[2]; /* found last, by access */
    size_t bytes, bytes_max;      /* registered */
    uint64_t clock;
};

/* Opens the cache for a device of the session, if that registers; what else `device` does
 * is not the cache's. RFAAS_ERR_UNSUPPORTED, and nothing is ever registered: memory that
 * is unmapped can't be noticed here. */
int registrations_open(struct registrations *cache, struct client_device *device,
                       int number, const struct memory_calls *calls, void *arg);
/* The memories themselves go with the device. Harmless if it isn't open. */
void registrations_close(struct registrations *cache);

/* The registration of a buffer, for one invocation by this device of the session, until
 * registration_put. `offer`: workers are to reach it by its key. NULL: it has to be
 * copied. The memory stays the user's, who mustn't unmap it meanwhile. */
struct registration *registration_get(struct registrations *cache, int device,
                                      const void *address, size_t size,
                                      enum rfaas_access access, bool offer);
/* keep: false if whoever had the key may still be at it: the key ends, as soon as no
 * other invocation needs it. */
void registration_put(struct registrations *cache, struct registration *entry,
                      bool keep);

/* Gives up what has been unmapped; cheap if nothing was. */
void registrations_reap(struct registrations *cache);

/* Of struct unmapping. */
void registrations_unmapped(void *cache, uintptr_t start, uintptr_t end);

#endif
