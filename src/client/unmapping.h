/* When memory of this process goes: free() that gives pages back, munmap(), a heap that
 * shrinks, MADV_DONTNEED, a mapping over another. Whoever has registered such memory must
 * not use that any more, because its addresses may come to mean other pages. UCM, the part
 * of UCX that MPI libraries use for this, sees the calls. */
#ifndef RFAAS_CLIENT_UNMAPPING_H
#define RFAAS_CLIENT_UNMAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* `gone` is called before [start, end) goes, by the thread that unmaps it, in the midst of
 * malloc or free and with whatever locks are held there: it must neither allocate nor wait
 * nor take locks. */
struct unmapping {
    void (*gone)(void *arg, uintptr_t start, uintptr_t end);
    void *arg;
    _Atomic uintptr_t probe; /* a page whose end is to be seen */
};

/* Begins to call `gone`; `watch` has to stay where it is until unmapping_unwatch, after
 * which no call comes or is underway. RFAAS_ERR_UNSUPPORTED: not everything would be seen
 * here; the text says why. */
int unmapping_watch(struct unmapping *watch);
void unmapping_unwatch(struct unmapping *watch);

/* Whether the calls are still seen: other libraries change them, too. Two system calls. */
bool unmapping_is_seen(struct unmapping *watch);

#endif
