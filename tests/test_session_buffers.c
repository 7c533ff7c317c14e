/* Invocations from and into the user's own memory over RDMA, where it is registered when it
 * is used again: the results are right whatever becomes of that memory in between. */
#include "session_pool.h"
#include "verbs_only.h"

#if RFAAS_HAVE_VERBS

#include "client/client.h"
#include <linux/capability.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KIB = 1 << 10, MIB = 1 << 20, SIZE = 64 * KIB };

static rfaas_lease *lease;
static rfaas_function *increment;
static struct registrations *cache;

/* Slots of 256 KiB. */
static void begin(int workers)
{
    pool_begin(workers);
    lease = lease_of(workers, SETTINGS("slots=8", "memory_per_worker=2M"));
    increment = function_of("increment");
    cache = &pool.session->registrations;
}

static void *map(size_t size)
{
    void *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_FATAL(base != MAP_FAILED);
    return base;
}

static int registered(void)
{
    int count = 0;
    for (int i = 0; i < cache->room; i++)
        count += cache->entries[i].memory != NULL;
    return count;
}

static void fill(int32_t *values, size_t size, int32_t first)
{
    for (size_t i = 0; i < size / sizeof *values; i++)
        values[i] = first + (int32_t)i;
}

static size_t count_wrong(const int32_t *values, size_t size, int32_t first)
{
    size_t wrong = 0;
    for (size_t i = 0; i < size / sizeof *values; i++)
        wrong += values[i] != first + (int32_t)i;
    return wrong;
}

/* `in` as it is, each value plus one to `out`. */
static void check_increments(const int32_t *in, int32_t *out, size_t size,
                             int32_t first)
{
    rfaas_request *request = NULL;
    struct rfaas_result result;
    CHECK_OK_FATAL(rfaas_invoke(lease, RFAAS_ANY_WORKER, increment, in, size, out, size,
                                &request));
    CHECK_OK(rfaas_wait(&request, &result));
    CHECK_EQUAL(result.out_size, size);
    CHECK_EQUAL(count_wrong(out, size, first + 1), 0);
}

static void check_filled(int32_t *in, int32_t *out, size_t size, int32_t first)
{
    fill(in, size, first);
    check_increments(in, out, size, first);
    CHECK_EQUAL(count_wrong(in, size, first), in == out ? size / sizeof *in : 0);
}

/* ---- again and again ------------------------------------------------------------- */

static void test_again(void)
{
    static const size_t sizes[] = {8, 16 * KIB, 16 * KIB + 4, SIZE, 300 * KIB, 3 * MIB};
    begin(2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t *in = malloc(sizes[i]), *out = malloc(sizes[i]);
        int before = registered();
        CHECK_FATAL(in && out);
        for (int32_t n = 0; n < 5; n++)
            check_filled(in, out, sizes[i], 1000 * n);
        CHECK_EQUAL(registered() - before, sizes[i] > 16 * KIB ? 2 : 0);
        free(in);
        free(out);
    }
    pool_end();
}

/* Memory that can't be written to, that is in the program, on the stack, in and out. */
static void test_kinds(void)
{
    static int32_t of_program[SIZE / 4];
    int32_t on_stack[SIZE / 4];
    begin(1);
    int32_t *read_only = map(SIZE), *shared = map(SIZE);
    fill(read_only, SIZE, 7);
    CHECK_EQUAL(mprotect(read_only, SIZE, PROT_READ), 0);
    for (int32_t n = 0; n < 4; n++) {
        check_increments(read_only, on_stack, SIZE, 7);
        check_filled(on_stack, of_program, SIZE, n);
        check_filled(of_program, shared, SIZE, 100 * n);
        check_filled(shared, shared, SIZE, 200 * n);
        check_increments(shared + 100, of_program + 10, SIZE / 2, 200 * n + 101);
    }
    munmap(read_only, SIZE);
    munmap(shared, SIZE);
    pool_end();
}

/* More than the cache has places, and all at once. */
static void test_many(void)
{
    enum { COUNT = REGISTRATIONS_MAX + 20 };
    static int32_t *in[COUNT], *out[COUNT];
    static rfaas_request *requests[COUNT];
    begin(2);
    for (int i = 0; i < COUNT; i++) {
        in[i] = malloc(SIZE);
        out[i] = malloc(SIZE);
        CHECK_FATAL(in[i] && out[i]);
    }
    for (int32_t round = 0; round < 3; round++) {
        int count = round == 1 ? 40 : COUNT;
        for (int i = 0; i < count; i++) {
            fill(in[i], SIZE, round * 1000 + i);
            CHECK_OK(rfaas_invoke(lease, RFAAS_ANY_WORKER, increment, in[i], SIZE,
                                  out[i], SIZE, &requests[i]));
        }
        for (int i = 0; i < count; i++) {
            CHECK_OK(rfaas_wait(&requests[i], NULL));
            CHECK_EQUAL(count_wrong(out[i], SIZE, round * 1000 + i + 1), 0);
        }
        CHECK(registered() <= REGISTRATIONS_MAX);
    }
    for (int i = 0; i < COUNT; i++) {
        free(in[i]);
        free(out[i]);
    }
    pool_end();
}

/* ---- memory that goes ------------------------------------------------------------ */

/* Other pages at the same addresses, with other contents. */
static void test_mapped_anew(void)
{
    begin(1);
    int32_t *in = map(SIZE), *out = map(SIZE);
    for (int32_t n = 0; n < 12; n++) {
        check_filled(in, out, SIZE, 100 * n);
        if (n % 3 != 2)
            continue;
        int32_t *gone = n % 2 ? in : out;
        CHECK_EQUAL(registered(), 2);
        munmap(gone, SIZE);
        CHECK(mmap(gone, SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == gone);
    }
    CHECK_EQUAL(madvise(in, SIZE, MADV_DONTNEED), 0);
    CHECK_EQUAL(madvise(out, SIZE, MADV_DONTNEED), 0);
    for (int32_t n = 0; n < 3; n++)
        check_filled(in, out, SIZE, n);
    munmap(in, SIZE);
    munmap(out, SIZE);
    pool_end();
}

/* malloc maps such blocks one by one, and mostly to where the last one was. */
static void test_malloc_anew(void)
{
    enum { LARGE = 1 * MIB };
    mallopt(M_MMAP_THRESHOLD, LARGE / 2);
    begin(1);
    for (int32_t n = 0; n < 20; n++) {
        int32_t *in = malloc(LARGE), *out = malloc(LARGE);
        CHECK_FATAL(in && out);
        check_filled(in, out, LARGE, n);
        check_filled(in, out, LARGE, -n);
        in = realloc(in, 2 * LARGE);
        CHECK_FATAL(in != NULL);
        CHECK_EQUAL(count_wrong(in, LARGE, -n), 0);
        check_filled(in, out, LARGE, 3 * n);
        free(in);
        free(out);
    }
    pool_end();
}

/* What is unmapped isn't kept from the system: the next look gives it up. */
static void test_given_up(void)
{
    begin(1);
    int32_t *in = map(SIZE), *out = map(SIZE);
    check_filled(in, out, SIZE, 1);
    check_filled(in, out, SIZE, 2);
    CHECK_EQUAL(registered(), 2);
    CHECK_EQUAL(cache->bytes, 2 * SIZE);
    munmap(in, SIZE);
    munmap(out, SIZE);
    rfaas_progress(pool.session);
    CHECK_EQUAL(registered(), 0);
    CHECK_EQUAL(cache->bytes, 0);
    CHECK(increments(increment, lease, 0, 5));
    pool_end();
}

/* ---- failures -------------------------------------------------------------------- */

/* A worker that may have had the key to a buffer, and is lost, can't use it later. */
static void test_lost_worker(void)
{
    begin(1);
    rfaas_request *request = NULL;
    int32_t *in = map(SIZE), *out = map(SIZE);
    rfaas_function *crash = function_of("crash");
    for (int32_t n = 0; n < 3; n++) {
        check_filled(in, out, SIZE, n);
        check_filled(in, out, SIZE, -n);
        CHECK_EQUAL(registered(), 2);
        CHECK_OK(rfaas_invoke(lease, 0, crash, in, SIZE, out, SIZE, &request));
        CHECK_STATUS(rfaas_wait(&request, NULL), RFAAS_ERR_FUNCTION, "");
        CHECK_EQUAL(registered(), 0);
    }
    check_filled(in, out, SIZE, 9);
    munmap(in, SIZE);
    munmap(out, SIZE);
    pool_end();
}

/* Root may lock any memory; users may lock as much as their limit says. To be changed only
 * while no device is open: those who have opened one must stay who they were. */
static void lock_any_memory(bool may)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    CHECK_EQUAL(syscall(SYS_capget, &header, data), 0);
    if (may)
        data[0].effective |= data[0].permitted & (1u << CAP_IPC_LOCK);
    else
        data[0].effective &= ~(1u << CAP_IPC_LOCK);
    CHECK_EQUAL(syscall(SYS_capset, &header, data), 0);
}

static void memory_lock_limit(rlim_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    CHECK_EQUAL(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

static rlim_t memory_locked(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK_FATAL(file != NULL);
    while (fgets(line, sizeof line, file) && sscanf(line, "VmPin: %lu", &kib) != 1)
        continue;
    fclose(file);
    return (rlim_t)kib * KIB;
}

/* Some buffers are registered, the rest is copied; the session's own memory is had before
 * both. */
static void test_locked_memory(void)
{
    enum { COUNT = 12, ROOM = 6 * MIB };
    static int32_t *buffers[COUNT];
    void *own = NULL;
    lock_any_memory(false);
    memory_lock_limit(RLIM_INFINITY);
    begin(1);
    for (int i = 0; i < COUNT; i++)
        buffers[i] = map(MIB);
    check_filled(buffers[0], buffers[1], MIB, 0); /* brings memory to copy through */
    memory_lock_limit(memory_locked() + ROOM);
    for (int32_t n = 0; n < 4; n++)
        for (int i = 0; i < COUNT; i++)
            check_filled(buffers[i], buffers[(i + 1) % COUNT], MIB, 100 * n + i);
    CHECK(registered() > 0 && cache->bytes <= ROOM);
    check_filled(buffers[0], buffers[0], MIB, 1);
    CHECK_OK(rfaas_alloc(pool.session, ROOM - MIB / 2, &own));
    check_filled(own, own, MIB, 5);
    for (int i = 0; i < COUNT; i++)
        check_filled(buffers[i], buffers[(i + 1) % COUNT], MIB, i);
    memory_lock_limit(RLIM_INFINITY);
    for (int i = 0; i < COUNT; i++)
        munmap(buffers[i], MIB);
    pool_end();
    lock_any_memory(true);
}

static const struct test tests[] = {
    {"the same buffers again and again", test_again},
    {"buffers of all kinds of memory", test_kinds},
    {"more buffers than are kept", test_many},
    {"other memory at a buffer's address", test_mapped_anew},
    {"buffers that malloc gives anew", test_malloc_anew},
    {"memory that was unmapped is given up", test_given_up},
    {"a lost worker's key ends", test_lost_worker},
    {"a small limit of locked memory", test_locked_memory},
    {NULL, NULL},
};

/* Whether buffers are registered here; if not, that is said. */
static bool buffers_are_registered(void)
{
    static struct registrations nothing;
    struct unmapping watch = {.gone = registrations_unmapped, .arg = &nothing};
    if (unmapping_watch(&watch) != RFAAS_OK) {
        printf("SKIPPED: %s\n", rfaas_last_error());
        return false;
    }
    unmapping_unwatch(&watch);
    return true;
}

int main(int argc, char **argv)
{
    setenv("RFAAS_TRANSPORT", "verbs", 1);
    return verbs_are_there() && buffers_are_registered()
               ? test_main("session: buffers", tests, argc, argv)
               : 77;
}

#else

int main(void)
{
    printf("SKIPPED: built without verbs\n");
    return 77;
}

#endif
