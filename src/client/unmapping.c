#include "client/unmapping.h"

#include "base/error.h"

#if RFAAS_HAVE_UCM

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucm/api/ucm.h>
#include <unistd.h>

/* libucs, which libucm needs, sets handlers of signals as soon as it is loaded. Processes
 * that don't register memory are spared this: it is loaded at the first watch. */
static const char UCX_LIBRARY[] = "libucs.so.0";

static struct {
    ucs_status_t (*set_event_handler)(int events, int priority,
                                      ucm_event_callback_t callback, void *arg);
    void (*unset_event_handler)(int events, ucm_event_callback_t callback, void *arg);
    char why_not[200]; /* "": it is there */
    uintptr_t page_size;
} ucm;

static void ucm_load(void)
{
    ucm.page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    /* Sanitizers' malloc gives memory back by system calls of its own. */
    if (dlsym(RTLD_DEFAULT, "__sanitizer_get_heap_size")) {
        snprintf(ucm.why_not, sizeof ucm.why_not, "a sanitizer's malloc can't be seen");
        return;
    }
    void *before = dlopen(UCX_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    /* Never unloaded: the functions that it sees are changed to call it. */
    void *library = dlopen(UCX_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        snprintf(ucm.why_not, sizeof ucm.why_not, "UCM: %s", dlerror());
        return;
    }
    void (*signals_restore)(void);
    *(void **)&signals_restore = dlsym(library, "ucs_debug_disable_signals");
    *(void **)&ucm.set_event_handler = dlsym(library, "ucm_set_event_handler");
    *(void **)&ucm.unset_event_handler = dlsym(library, "ucm_unset_event_handler");
    if (!before && signals_restore)
        signals_restore();
    if (!signals_restore || !ucm.set_event_handler || !ucm.unset_event_handler)
        snprintf(ucm.why_not, sizeof ucm.why_not, "UCM: %s isn't of a known version",
                 UCX_LIBRARY);
}

static void on_event(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
    (void)type;
    struct unmapping *watch = arg;
    uintptr_t start = (uintptr_t)event->vm_unmapped.address;
    /* Pages go as a whole. */
    uintptr_t end =
        (start + event->vm_unmapped.size + ucm.page_size - 1) & ~(ucm.page_size - 1);
    /* Relaxed: only the thread that unmaps this page asks. */
    if (start == atomic_load_explicit(&watch->probe, memory_order_relaxed))
        atomic_store_explicit(&watch->probe, 0, memory_order_relaxed);
    watch->gone(watch->arg, start, end);
}

bool unmapping_is_seen(struct unmapping *watch)
{
    void *page =
        mmap(NULL, ucm.page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    atomic_store_explicit(&watch->probe, (uintptr_t)page, memory_order_relaxed);
    munmap(page, ucm.page_size);
    return atomic_load_explicit(&watch->probe, memory_order_relaxed) == 0;
}

int unmapping_watch(struct unmapping *watch)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ucm_load);
    if (ucm.why_not[0] != '\0')
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "%s", ucm.why_not);
    if (ucm.set_event_handler(UCM_EVENT_VM_UNMAPPED, 0, on_event, watch) != UCS_OK)
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "UCM can't see memory being unmapped");
    if (unmapping_is_seen(watch))
        return RFAAS_OK;
    unmapping_unwatch(watch);
    return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "UCM doesn't see memory being unmapped");
}

void unmapping_unwatch(struct unmapping *watch)
{
    ucm.unset_event_handler(UCM_EVENT_VM_UNMAPPED, on_event, watch);
}

#else

int unmapping_watch(struct unmapping *watch)
{
    (void)watch;
    return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "built without UCM");
}

void unmapping_unwatch(struct unmapping *watch)
{
    (void)watch;
}

bool unmapping_is_seen(struct unmapping *watch)
{
    (void)watch;
    return false;
}

#endif
