/* Cores of this machine. */
#include "base/cores.h"
#include "base/error.h"
#include <hwloc.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- hwloc -------------------------------------------------------------------- */

/* Loaded once and kept as long as the process lives; NULL if that failed. */
static hwloc_topology_t topology;
static pthread_once_t topology_once = PTHREAD_ONCE_INIT;

static void load_topology(void)
{
    hwloc_topology_t loaded;
    if (hwloc_topology_init(&loaded) != 0)
        return;
    /* Only processing units are of interest: without caches and devices it loads
     * several times faster. Looking must not move this process about. */
    hwloc_topology_set_all_types_filter(loaded, HWLOC_TYPE_FILTER_KEEP_NONE);
#if HWLOC_API_VERSION >= 0x00020500
    hwloc_topology_set_flags(loaded, HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING);
#endif
    if (hwloc_topology_load(loaded) != 0) {
        hwloc_topology_destroy(loaded);
        return;
    }
    topology = loaded;
}

static int open_topology(void)
{
    pthread_once(&topology_once, load_topology);
    if (!topology)
        return rfaas_fail(RFAAS_ERR_IO, "cores: hwloc can't read this machine");
    return RFAAS_OK;
}

static void core_set(struct rfaas_cores *cores, unsigned core)
{
    cores->bits[core / 64] |= UINT64_C(1) << core % 64;
}

static bool core_is_set(const struct rfaas_cores *cores, unsigned core)
{
    return cores->bits[core / 64] >> core % 64 & 1;
}

static void from_bitmap(hwloc_const_bitmap_t bitmap, struct rfaas_cores *cores)
{
    memset(cores, 0, sizeof *cores);
    for (int i = hwloc_bitmap_first(bitmap); i >= 0 && i < RFAAS_CORES_MAX;
         i = hwloc_bitmap_next(bitmap, i))
        core_set(cores, (unsigned)i);
}

static hwloc_bitmap_t to_bitmap(const struct rfaas_cores *cores)
{
    hwloc_bitmap_t bitmap = hwloc_bitmap_alloc();
    for (unsigned i = 0; bitmap && i < RFAAS_CORES_MAX; i++) {
        if (core_is_set(cores, i) && hwloc_bitmap_set(bitmap, i) != 0) {
            hwloc_bitmap_free(bitmap);
            bitmap = NULL;
        }
    }
    return bitmap;
}

static int no_memory(void)
{
    return rfaas_fail(RFAAS_ERR_NO_MEMORY, "cores: out of memory");
}

int rfaas_cores_allowed(struct rfaas_cores *cores)
{
    int status = open_topology();
    if (status != RFAAS_OK)
        return status;
    from_bitmap(hwloc_topology_get_allowed_cpuset(topology), cores);
    return RFAAS_OK;
}

int rfaas_cores_bound(pid_t pid, struct rfaas_cores *cores)
{
    int status = open_topology();
    if (status != RFAAS_OK)
        return status;
    hwloc_bitmap_t bitmap = hwloc_bitmap_alloc();
    if (!bitmap)
        return no_memory();
    /* All threads of it: where any of them may run. */
    if (hwloc_get_proc_cpubind(topology, pid ? pid : getpid(), bitmap,
                               HWLOC_CPUBIND_PROCESS) == 0)
        from_bitmap(bitmap, cores);
    else
        status = rfaas_fail(RFAAS_ERR_IO, "cores of process %ld: %m", (long)pid);
    hwloc_bitmap_free(bitmap);
    return status;
}

int rfaas_cores_bind(const struct rfaas_cores *cores)
{
    int status = open_topology();
    if (status != RFAAS_OK)
        return status;
    if (rfaas_cores_count(cores) == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "binding to cores: none given");
    hwloc_bitmap_t bitmap = to_bitmap(cores);
    if (!bitmap)
        return no_memory();
    if (hwloc_set_cpubind(topology, bitmap, HWLOC_CPUBIND_PROCESS) != 0) {
        char text[RFAAS_CORES_TEXT] = "?";
        rfaas_cores_format(cores, text, sizeof text);
        status = rfaas_fail(RFAAS_ERR_IO, "binding to cores %.128s: %m", text);
    }
    hwloc_bitmap_free(bitmap);
    return status;
}

/* ---- sets --------------------------------------------------------------------- */

enum { WORDS = RFAAS_CORES_MAX / 64 };

int rfaas_cores_count(const struct rfaas_cores *cores)
{
    int count = 0;
    for (int i = 0; i < WORDS; i++)
        count += __builtin_popcountll(cores->bits[i]);
    return count;
}

void rfaas_cores_add(struct rfaas_cores *to, const struct rfaas_cores *what)
{
    for (int i = 0; i < WORDS; i++)
        to->bits[i] |= what->bits[i];
}

void rfaas_cores_remove(struct rfaas_cores *from, const struct rfaas_cores *what)
{
    for (int i = 0; i < WORDS; i++)
        from->bits[i] &= ~what->bits[i];
}

int rfaas_cores_nth(const struct rfaas_cores *cores, int n, struct rfaas_cores *one)
{
    int left = n;
    for (unsigned i = 0; n >= 0 && i < RFAAS_CORES_MAX; i++) {
        if (!core_is_set(cores, i) || left-- > 0)
            continue;
        memset(one, 0, sizeof *one);
        core_set(one, i);
        return RFAAS_OK;
    }
    return rfaas_fail(RFAAS_ERR_ARGUMENT, "core number %d of %d", n,
                      rfaas_cores_count(cores));
}

/* ---- text --------------------------------------------------------------------- */

int rfaas_cores_format(const struct rfaas_cores *cores, char *text, size_t size)
{
    char list[6 * RFAAS_CORES_MAX]; /* "4095," at most for each */
    size_t used = 0;
    list[0] = '\0';
    for (unsigned i = 0; i < RFAAS_CORES_MAX; i++) {
        if (!core_is_set(cores, i))
            continue;
        unsigned last = i;
        while (last + 1 < RFAAS_CORES_MAX && core_is_set(cores, last + 1))
            last++;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%u",
                                 used ? "," : "", i);
        if (last > i)
            used += (size_t)snprintf(list + used, sizeof list - used, "-%u", last);
        i = last;
    }
    if (used >= size)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "list of cores: needs %zu bytes, has %zu",
                          used + 1, size);
    memcpy(text, list, used + 1);
    return RFAAS_OK;
}

/* A core's number; *text moves behind it. */
static bool number_parse(const char **text, unsigned *number)
{
    *number = 0;
    const char *start = *text;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        *number = *number * 10 + (unsigned)(**text - '0');
        if (*number >= RFAAS_CORES_MAX)
            return false;
    }
    return *text > start;
}

int rfaas_cores_parse(const char *text, struct rfaas_cores *cores)
{
    struct rfaas_cores parsed = {{0}};
    const char *next = text;
    while (*next) {
        unsigned first, last;
        bool good = number_parse(&next, &first);
        last = first;
        if (good && *next == '-') {
            next++;
            good = number_parse(&next, &last) && first <= last;
        }
        if (good && *next == ',')
            good = *++next != '\0';
        else
            good = good && *next == '\0';
        if (!good)
            return rfaas_fail(
                RFAAS_ERR_ARGUMENT,
                "list of cores \"%.128s\": takes one like 0,2-3, below %d", text,
                RFAAS_CORES_MAX);
        for (unsigned i = first; i <= last; i++)
            core_set(&parsed, i);
    }
    *cores = parsed;
    return RFAAS_OK;
}
