/* Libraries whose file isn't what it was: replaced, or gone. What runs is what was
 * there when the function was loaded. */
#include "session_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64], beside[80];

static void begin(void)
{
    snprintf(path, sizeof path, "/tmp/rfaas-library.XXXXXX");
    int fd = mkstemp(path);
    CHECK_FATAL(fd >= 0);
    close(fd);
    snprintf(beside, sizeof beside, "%s.new", path);
    pool_begin(1);
}

static void end(void)
{
    unlink(path);
    pool_end();
}

/* Puts a library at the path whose functions tell this version. */
static void install(char version)
{
    static const char mark[] = "version1";
    struct stat st;
    FILE *from = fopen(functions_path(), "r");
    CHECK_FATAL(from != NULL && fstat(fileno(from), &st) == 0);
    size_t size = (size_t)st.st_size;
    char *bytes = malloc(size);
    CHECK_FATAL(bytes != NULL && fread(bytes, 1, size, from) == size);
    fclose(from);
    char *place = memmem(bytes, size, mark, sizeof mark);
    CHECK_FATAL(place != NULL);
    place[strlen(mark) - 1] = version;
    FILE *to = fopen(beside, "w");
    CHECK_FATAL(to != NULL && fwrite(bytes, 1, size, to) == size && fclose(to) == 0);
    free(bytes);
    CHECK_EQUAL(rename(beside, path), 0);
}

static rfaas_function *load(const char *name)
{
    rfaas_function *function = NULL;
    CHECK_OK_FATAL(rfaas_function_load(pool.session, path, name, &function));
    return function;
}

/* What the function says, as a string of at most 255 bytes. */
static const char *ask(rfaas_lease *lease, rfaas_function *function)
{
    static char out[256];
    rfaas_request *request;
    memset(out, 0, sizeof out);
    CHECK_OK_FATAL(
        rfaas_invoke(lease, 0, function, NULL, 0, out, sizeof out - 1, &request));
    CHECK_OK(rfaas_wait(&request, NULL));
    return out;
}

#define CHECK_TELLS(lease, function, version)                                          \
    CU_ASSERT_STRING_EQUAL(ask(lease, function), version)

/* In one worker, which has both, and in those that come later. */
static void test_replaced(void)
{
    begin();
    install('1');
    rfaas_function *first = load("tells_version");
    rfaas_lease *lease = lease_of(1, NULL);
    CHECK_TELLS(lease, first, "version1");
    install('2');
    rfaas_function *second = load("tells_version");
    CHECK_TELLS(lease, second, "version2");
    CHECK_TELLS(lease, first, "version1");
    rfaas_lease_release(lease);
    lease = lease_of(1, NULL);
    CHECK_TELLS(lease, second, "version2");
    CHECK_TELLS(lease, first, "version1");
    install('3');
    rfaas_function_free(first);
    rfaas_function_free(second);
    CHECK_TELLS(lease, load("tells_version"), "version3");
    end();
}

/* Another session brings its own version, on the same executor. */
static void test_replaced_between_sessions(void)
{
    begin();
    for (char version = '1'; version <= '4'; version++) {
        char text[] = "version0";
        text[7] = version;
        install(version);
        rfaas_lease *lease = lease_of(1, SETTINGS("wait_seconds=10"));
        CHECK_TELLS(lease, load("tells_version"), text);
        session_end();
        pool.session = session_open();
    }
    end();
}

/* Back to a library that was there before: its path is its own again. */
static void test_restored(void)
{
    begin();
    install('1');
    rfaas_function *function = load("tells_version");
    rfaas_lease *lease = lease_of(1, NULL);
    CHECK_TELLS(lease, function, "version1");
    install('2');
    rfaas_function_free(function);
    function = load("tells_version");
    CHECK_TELLS(lease, function, "version2");
    install('1');
    rfaas_function_free(function);
    CHECK_TELLS(lease, load("tells_version"), "version1");
    rfaas_lease_release(lease);
    lease = lease_of(1, NULL);
    CHECK_TELLS(lease, load("tells_version"), "version1");
    end();
}

/* While it is there workers load it from its path; afterwards from the bytes that the
 * client has sent, whether executors have seen it at the path before or not. */
static void test_gone(void)
{
    for (int seen = 0; seen < 2; seen++) {
        rfaas_lease *lease;
        begin();
        install('1');
        rfaas_function *origin = load("origin"), *version = load("tells_version");
        if (seen) {
            lease = lease_of(1, NULL);
            CU_ASSERT_STRING_EQUAL(ask(lease, origin), path);
            rfaas_lease_release(lease);
        }
        unlink(path);
        lease = lease_of(1, NULL);
        CHECK(strncmp(ask(lease, origin), "/proc/self/fd/", 14) == 0);
        CHECK_TELLS(lease, version, "version1");
        rfaas_lease_release(lease);
        lease = lease_of(1, NULL);
        CHECK_TELLS(lease, version, "version1");
        end();
    }
}

static const struct test tests[] = {
    {"a library that is replaced and loaded again is the new one", test_replaced},
    {"each session gets the library that it has loaded",
     test_replaced_between_sessions},
    {"a library that was replaced may come back", test_restored},
    {"a library that is gone is still there for workers", test_gone},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: libraries", tests, argc, argv);
}
