/* Data and functions on their way between the client and its workers. */
#include "session_pool.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct batch batch;

/* ---- data ------------------------------------------------------------------------ */

enum { INLINE_MAX = 192, SLOT = 65536, HEADER = 24, OVERHEAD = 64, MIB = 1 << 20 };

/* The data is one thread's at a time: a sanitizer needn't look at each byte of it. */
#define PLAIN_LOOP __attribute__((no_sanitize("thread")))

static inline unsigned char byte_at(size_t i, size_t seed)
{
    return (unsigned char)((i * 2654435761u >> 9) + seed);
}

PLAIN_LOOP static void fill(unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i, size);
}

PLAIN_LOOP static size_t count_wrong(const unsigned char *bytes, size_t size,
                                     bool reversed)
{
    size_t wrong = 0;
    for (size_t i = 0; i < size; i++)
        wrong += bytes[i] != byte_at(reversed ? size - 1 - i : i, size);
    return wrong;
}

static void *buffer(bool shared, size_t size)
{
    void *base = NULL;
    if (!shared)
        base = malloc(size + 64);
    else
        CHECK_OK_FATAL(rfaas_alloc(pool.session, size + 64, &base));
    CHECK_FATAL(base != NULL);
    return base;
}

static void buffer_free(bool shared, void *base)
{
    if (!shared)
        free(base);
    else
        CHECK_OK(rfaas_free(pool.session, base));
}

/* One echo or reversal, between memory of malloc or of rfaas_alloc; what lies around
 * the result stays. */
static void check_data(rfaas_lease *lease, rfaas_function *function, bool reversed,
                       size_t size, bool shared_in, bool shared_out)
{
    unsigned char *in = buffer(shared_in, size), *out = buffer(shared_out, size);
    rfaas_request *request = NULL;
    struct rfaas_result result;
    fill(in, size);
    memset(out, 0, size);
    memset(out + size, 0x77, 64);
    CHECK_OK_FATAL(rfaas_invoke(lease, 0, function, in, size, out, size, &request));
    CHECK_OK(rfaas_wait(&request, &result));
    CHECK_EQUAL(result.status, RFAAS_OK);
    CHECK_EQUAL(result.out_size, size);
    CHECK_EQUAL(count_wrong(out, size, reversed), 0);
    CHECK_EQUAL(count_wrong(in, size, false), 0);
    for (size_t i = size; i < size + 64; i++)
        CHECK_EQUAL(out[i], 0x77);
    buffer_free(shared_in, in);
    buffer_free(shared_out, out);
}

static void check_sizes(const char *name, bool reversed)
{
    static const size_t sizes[] = {
        0,
        1,
        7,
        8,
        INLINE_MAX - HEADER - 1,
        INLINE_MAX - HEADER,
        INLINE_MAX - HEADER + 1,
        INLINE_MAX - 1,
        INLINE_MAX,
        INLINE_MAX + 1,
        4096,
        SLOT - OVERHEAD - 1,
        SLOT - OVERHEAD,
        SLOT - OVERHEAD + 1,
        SLOT,
        MIB,
        MIB + 1,
    };
    pool_begin(1);
    /* 16 slots of 64 KiB */
    rfaas_lease *lease =
        lease_of(1, SETTINGS("slots=16", "memory_per_worker=1M", "inline_max=192"));
    rfaas_function *function = function_of(name);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 4; kind++)
            check_data(lease, function, reversed, sizes[i], kind & 1, kind & 2);
    check_data(lease, function, reversed, 64 * MIB, false, false);
    check_data(lease, function, reversed, 64 * MIB, true, true);
    pool_end();
}

static void test_sizes(void)
{
    check_sizes("echo", false);
}

static void test_classic_sizes(void)
{
    check_sizes("classic_reverse", true);
}

/* A result that goes to memory which the worker hears of only now. */
static void test_fresh_memory(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("hot_timeout_us=-1"));
    rfaas_function *fill = function_of("fill");
    for (size_t i = 0; i < 20; i++) {
        size_t size = (2 + i) * MIB;
        rfaas_request *request = NULL;
        struct rfaas_result result;
        unsigned char *out = buffer(true, size);
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, fill, NULL, 0, out, size, &request));
        CHECK_OK(rfaas_wait(&request, &result));
        CHECK_EQUAL(result.out_size, size);
        CHECK(out[0] == 0x5a && out[size - 1] == 0x5a);
    }
    pool_end();
}

/* What is copied on its way borrows memory, and gives it back. */
static void test_borrowed_memory(void)
{
    static unsigned char in[MIB], out[MIB];
    int first = 0;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("memory_per_worker=1M"));
    rfaas_function *echo = function_of("echo");
    for (int i = 0; i < 100; i++) {
        rfaas_request *request;
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, echo, in, MIB, out, MIB, &request));
        CHECK_OK(rfaas_wait(&request, NULL));
        if (i == 0)
            first = descriptors_open();
    }
    CHECK_EQUAL(descriptors_open(), first); /* each memory has one */
    pool_end();
}

static void test_no_memory(void)
{
    int32_t in = 1, out;
    rfaas_request *request = NULL;
    struct rfaas_result result = {.worker = 9};
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    rfaas_function *increment = function_of("increment");
    CHECK_OK_FATAL(rfaas_invoke(lease, 0, increment, &in, sizeof in, &out,
                                (size_t)1 << 60, &request));
    CHECK_STATUS(rfaas_wait(&request, &result), RFAAS_ERR_NO_MEMORY, "memory");
    CHECK_EQUAL(result.status, RFAAS_ERR_NO_MEMORY);
    CHECK_EQUAL(result.out_size, 0);
    CHECK_EQUAL(result.function_status, 0);
    CHECK_EQUAL(result.worker, -1);
    CHECK(increments(increment, lease, 0, 1));
    pool_end();
}

/* ---- functions ------------------------------------------------------------------- */

static void test_return_values(void)
{
    static const int32_t values[] = {0, 1, 255, 32767};
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    rfaas_function *returns = function_of("returns");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        rfaas_request *request;
        struct rfaas_result result;
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, returns, &values[i], sizeof values[i],
                                    NULL, 0, &request));
        CHECK_OK(rfaas_wait(&request, &result));
        CHECK_EQUAL(result.function_status, values[i]);
        CHECK_EQUAL(result.out_size, 0);
        CHECK_EQUAL(result.worker, 0);
    }
    pool_end();
}

/* The file anew, with the bytes of another. */
static void file_copy(const char *from, const char *to)
{
    char bytes[65536];
    ssize_t n;
    unlink(to); /* not over it: it may be loaded */
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    CHECK_FATAL(source >= 0 && target >= 0);
    while ((n = read(source, bytes, sizeof bytes)) > 0)
        CHECK_FATAL(write(target, bytes, (size_t)n) == n);
    close(source);
    close(target);
}

/* A function of a library that is at its path only as long as it takes to load it. */
static rfaas_function *load_vanishing(char path[300], const char *name,
                                      const char *successor)
{
    rfaas_function *function = NULL;
    snprintf(path, 300, "%.200s/vanishing.so",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    file_copy(functions_path(), path);
    CHECK_OK_FATAL(rfaas_function_load(pool.session, path, name, &function));
    unlink(path);
    if (successor)
        file_copy(successor, path);
    return function;
}

/* Before there is an executor that knows the library, and while there is a lease. */
static void test_shipped_library(void)
{
    static const char *const successors[] = {NULL, "/proc/self/exe"};
    char path[300];
    for (int i = 0; i < 2; i++) {
        rfaas_request *request;
        int64_t sum = 0;
        pool_begin(2);
        rfaas_function *increment = load_vanishing(path, "increment", successors[i]);
        rfaas_lease *first = lease_of(1, NULL);
        CHECK(increments(increment, first, 0, 1));
        rfaas_function *function = load_vanishing(path, "sum", successors[i]);
        rfaas_lease *second = lease_of(1, NULL);
        CHECK(increments(increment, second, 0, 2));
        for (int n = 0; n < 2; n++) {
            CHECK_OK(rfaas_invoke(n ? second : first, 0, function, "\1\2\3", 3, &sum,
                                  sizeof sum, &request));
            CHECK_OK(rfaas_wait(&request, NULL));
            CHECK_EQUAL(sum, 6);
        }
        pool_end();
        unlink(path);
    }
}

/* Where that is the same file: what lies beside it is found, too. */
static void test_library_path(void)
{
    char expected[PATH_MAX], path[PATH_MAX] = "";
    rfaas_request *request;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL);
    CHECK_FATAL(realpath(functions_path(), expected) != NULL);
    CHECK_OK(rfaas_invoke(lease, 0, function_of("origin"), NULL, 0, path,
                          sizeof path - 1, &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    CHECK(strcmp(path, expected) == 0);
    pool_end();
}

static void test_shipped_while_leased(void)
{
    char path[300];
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("hot_timeout_us=0"));
    CHECK(increments(load_vanishing(path, "increment", NULL), lease, 0, 1));
    pool_end();
}

static void test_many_functions(void)
{
    enum { FUNCTIONS = 200 }; /* number_100 to number_299 */
    static rfaas_function *functions[FUNCTIONS];
    char name[32];
    int wrong = 0;
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, NULL); /* some before, some after */
    for (int i = 0; i < FUNCTIONS; i++) {
        snprintf(name, sizeof name, "number_%d", 100 + i);
        functions[i] = function_of(name);
    }
    for (int i = FUNCTIONS - 1; i >= 0; i--) {
        int32_t number = 0;
        rfaas_request *request;
        CHECK_OK_FATAL(rfaas_invoke(lease, 0, functions[i], NULL, 0, &number,
                                    sizeof number, &request));
        CHECK_OK(rfaas_wait(&request, NULL));
        wrong += number != 100 + i;
    }
    CHECK_EQUAL(wrong, 0);
    for (int i = 0; i < FUNCTIONS; i++)
        rfaas_function_free(functions[i]);
    pool_end();
}

static void test_free_function(void)
{
    pool_begin(1);
    rfaas_lease *lease = lease_of(1, SETTINGS("slots=2"));
    rfaas_function *work = function_of("work");
    batch.count = 0;
    batch_add(&batch, lease, 0, work, 32, 500);
    rfaas_function_free(work);
    CHECK(batch_wait(&batch, PATIENCE_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, 32, 0), 32);
    pool_end();
}

static const struct test tests[] = {
    {"data of every size comes back right", test_sizes},
    {"data of every size comes back right from a classic function", test_classic_sizes},
    {"a large result fits into memory that was just allocated", test_fresh_memory},
    {"memory that invocations borrow is given back", test_borrowed_memory},
    {"a result that no memory can hold is an error of its invocation", test_no_memory},
    {"what a function returns reaches the caller", test_return_values},
    {"a library is loaded from its path", test_library_path},
    {"a library that has vanished from its path is shipped", test_shipped_library},
    {"a library is shipped to a worker that is running", test_shipped_while_leased},
    {"200 functions are told apart", test_many_functions},
    {"a function may be freed while its invocations run", test_free_function},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: data", tests, argc, argv);
}
