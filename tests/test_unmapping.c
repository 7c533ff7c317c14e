/* What the machine says of memory that goes, and that a registration of it ends by that:
 * the cache on a device that only keeps books. */
#include "mock_device.h"
#include "test.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE = 4 << 20, PART = 64 << 10 };

static struct registrations cache;

static void *map(size_t size)
{
    void *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_FATAL(base != MAP_FAILED);
    return base;
}

static void begin(void)
{
    CHECK_FATAL(mock_open(&cache));
}

static void end(void)
{
    mock_close(&cache);
}

static void hold(const char *buffer)
{
    CHECK(!mock_use(&cache, buffer, PART, RFAAS_ACCESS_WRITE));
    CHECK(mock_use(&cache, buffer, PART, RFAAS_ACCESS_WRITE));
}

/* Its memory is there no more, as far as the cache is concerned. */
static bool is_gone(void)
{
    registrations_reap(&cache);
    return mock.count == 0;
}

/* ---- by system calls ------------------------------------------------------------- */

static void by_munmap(char *base)
{
    munmap(base, SIZE);
}

static void by_part(char *base)
{
    munmap(base, 1); /* a page */
}

static void by_moving(char *base)
{
    char *place = mremap(base, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
    CHECK(place != MAP_FAILED);
    munmap(place, 2 * SIZE);
}

static void by_mapping_over(char *base)
{
    CHECK(mmap(base, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          base);
}

static void by_dropping_pages(char *base)
{
    CHECK_EQUAL(madvise(base, SIZE, MADV_DONTNEED), 0);
}

static void test_system_calls(void)
{
    static void (*const ways[])(char *base) = {by_munmap, by_part, by_moving,
                                               by_mapping_over, by_dropping_pages};
    begin();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *base = map(SIZE);
        hold(base + 100); /* in the first page, too */
        CHECK(!is_gone());
        ways[i](base);
        CHECK(is_gone());
        munmap(base, SIZE);
    }
    end();
}

/* The same address, another memory. */
static void test_same_address(void)
{
    begin();
    char *base = map(SIZE);
    for (int i = 0; i < 50; i++) {
        hold(base); /* not registered at first, each time */
        munmap(base, SIZE);
        CHECK(mmap(base, SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == base);
    }
    munmap(base, SIZE);
    end();
}

static void test_others(void)
{
    begin();
    char *base = map(3 * SIZE), *middle = base + SIZE;
    hold(middle);
    munmap(map(SIZE), SIZE);
    munmap(base, SIZE);
    munmap(middle + PART, SIZE);
    CHECK_EQUAL(madvise(middle, PART, MADV_WILLNEED), 0);
    free(malloc(SIZE));
    CHECK(!is_gone());
    CHECK(mock_use(&cache, middle, PART, RFAAS_ACCESS_READ));
    munmap(base, 3 * SIZE);
    end();
}

/* ---- by malloc ------------------------------------------------------------------- */

static void test_malloc(void)
{
    enum { LARGE = 64 << 20 }; /* more than malloc ever keeps */
    begin();
    char *block = malloc(LARGE);
    CHECK_FATAL(block != NULL);
    hold(block);
    free(block);
    CHECK(is_gone());
    block = malloc(LARGE);
    CHECK_FATAL(block != NULL);
    hold(block);
    block = realloc(block, 2 * LARGE);
    CHECK(is_gone());
    free(block);
    end();
}

/* Memory of the heap stays mapped when it is freed, until the heap shrinks. */
static void test_heap(void)
{
    enum { COUNT = 200 };
    char *blocks[COUNT];
    begin();
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = malloc(PART);
        CHECK_FATAL(blocks[i] != NULL);
    }
    hold(blocks[COUNT / 2]);
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    malloc_trim(0);
    CHECK(is_gone());
    end();
}

/* ---- by others ------------------------------------------------------------------- */

static void *unmap(void *base)
{
    munmap(base, SIZE);
    return NULL;
}

static void test_thread(void)
{
    pthread_t thread;
    begin();
    char *base = map(SIZE);
    hold(base);
    CHECK_FATAL(pthread_create(&thread, NULL, unmap, base) == 0);
    pthread_join(thread, NULL);
    CHECK(is_gone());
    end();
}

static void *unmap_for_ever(void *arg)
{
    _Atomic bool *stop = arg;
    while (!atomic_load_explicit(stop, memory_order_relaxed)) {
        munmap(map(SIZE), SIZE);
        free(malloc(SIZE));
    }
    return NULL;
}

/* Caches come and go while memory does. */
static void test_opening(void)
{
    static _Atomic bool stop;
    pthread_t thread;
    CHECK_FATAL(pthread_create(&thread, NULL, unmap_for_ever, &stop) == 0);
    for (int i = 0; i < 200; i++) {
        begin();
        char *base = map(SIZE);
        hold(base);
        munmap(base, SIZE);
        CHECK(is_gone());
        end();
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
}

/* Who uses the library keeps its signals. */
static void test_signals(void)
{
    static const int signals[] = {SIGHUP, SIGILL, SIGBUS, SIGFPE, SIGSEGV};
    begin();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action;
        sigaction(signals[i], NULL, &action);
        CHECK(action.sa_handler == SIG_DFL);
    }
    end();
}

static const struct test tests[] = {
    {"each system call that takes memory away is seen", test_system_calls},
    {"memory that comes to the same address is new", test_same_address},
    {"other memory that goes does nothing", test_others},
    {"malloc's large blocks are gone when they are freed or move", test_malloc},
    {"the heap shrinks", test_heap},
    {"another thread takes memory away", test_thread},
    {"caches come and go while memory does", test_opening},
    {"signals are handled as before", test_signals},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    if (!mock_open(&cache)) {
        printf("SKIPPED: %s\n", rfaas_last_error());
        return 77;
    }
    registrations_close(&cache);
    return test_main("unmapping", tests, argc, argv);
}
