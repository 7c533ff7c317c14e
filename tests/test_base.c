/* Statuses, errors, log lines, cores. */
#include "base/cores.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "test.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

/* ---- status and error ----------------------------------------------------------- */

static void test_status(void)
{
    for (int status = -16; status <= 1; status++) {
        CHECK(rfaas_status_string(status)[0] != '\0');
        for (int other = -16; other < status; other++)
            CHECK(strcmp(rfaas_status_string(status), rfaas_status_string(other)) != 0);
    }
    CHECK_EQUAL(strcmp(rfaas_status_string(RFAAS_OK), "success"), 0);
    CHECK_EQUAL(strcmp(rfaas_status_string(-1000), "unknown status"), 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", RFAAS_VERSION_MAJOR,
             RFAAS_VERSION_MINOR, RFAAS_VERSION_PATCH);
    CHECK_EQUAL(strcmp(rfaas_version(), version), 0);
    const char *package = getenv("PACKAGE_VERSION"); /* configure.ac's */
    CHECK(!package || strcmp(rfaas_version(), package) == 0);
}

static void *fail_elsewhere(void *arg)
{
    bool fresh = rfaas_last_error()[0] == '\0';
    rfaas_fail(RFAAS_ERR_IO, "elsewhere");
    *(bool *)arg = fresh && strcmp(rfaas_last_error(), "elsewhere") == 0;
    return NULL;
}

static void test_last_error(void)
{
    errno = ENOENT;
    CHECK_EQUAL(rfaas_fail(RFAAS_ERR_IO, "file %d: %m", 7), RFAAS_ERR_IO);
    CHECK_EQUAL(errno, ENOENT);
    CHECK_EQUAL(strcmp(rfaas_last_error(), "file 7: No such file or directory"), 0);
    rfaas_fail(RFAAS_ERR_IO, "again: %s", rfaas_last_error());
    CHECK_EQUAL(strcmp(rfaas_last_error(), "again: file 7: No such file or directory"),
                0);
    /* Formatting itself fails here, and sets errno. */
    errno = ENOENT;
    CHECK_EQUAL(rfaas_fail(RFAAS_ERR_IO, "%ls", L"\x20ac"), RFAAS_ERR_IO);
    CHECK_EQUAL(errno, ENOENT);
    rfaas_fail(RFAAS_ERR_IO, "again");
    pthread_t thread;
    bool own = false;
    CHECK_FATAL(pthread_create(&thread, NULL, fail_elsewhere, &own) == 0);
    pthread_join(thread, NULL);
    CHECK(own);
    CHECK_EQUAL(strncmp(rfaas_last_error(), "again", 5), 0);
    char large[2000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    rfaas_fail(RFAAS_ERR_IO, "%s", large);
    CHECK_EQUAL(strlen(rfaas_last_error()), 511);
}

/* ---- log ------------------------------------------------------------------------ */

static int saved_stderr, captured;

static void capture(void)
{
    captured = memfd_create("test", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    CHECK_FATAL(captured >= 0 && saved_stderr >= 0);
    dup2(captured, STDERR_FILENO);
}

static void captured_text(char *text, size_t size)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(captured, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(captured);
}

static int evaluated;

static int evaluate(void)
{
    return ++evaluated;
}

static void test_log_levels(void)
{
    char text[4096], expected[4096];
    long pid = getpid();
    capture();
    rfaas_error("before the start");
    rfaas_log_start("tester", RFAAS_LOG_WARN);
    errno = EACCES;
    rfaas_warn("number %d: %m", evaluate());
    CHECK_EQUAL(errno, EACCES);
    rfaas_info("number %d", evaluate());
    rfaas_log_start(NULL, RFAAS_LOG_DEBUG);
    rfaas_debug("%s", "deep");
    rfaas_log_start("other", RFAAS_LOG_ERROR);
    rfaas_error("lost");
    rfaas_warn("not this");
    rfaas_log_start(NULL, RFAAS_LOG_NONE);
    rfaas_error("nor this");
    captured_text(text, sizeof text);
    CHECK_EQUAL(evaluated, 1);
    snprintf(expected, sizeof expected,
             "rfaas tester %ld: warn: number 1: Permission denied\n"
             "rfaas tester %ld: debug: deep\n"
             "rfaas other %ld: error: lost\n",
             pid, pid, pid);
    CHECK_EQUAL(strcmp(text, expected), 0);
}

static void test_log_lines(void)
{
    char text[4096], large[3000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    capture();
    rfaas_log_start("tester", RFAAS_LOG_ERROR);
    rfaas_error("a\nb\r\033[1mc");
    rfaas_error("%s", large);
    rfaas_error("end");
    rfaas_log_start(NULL, RFAAS_LOG_NONE);
    captured_text(text, sizeof text);
    CHECK(strstr(text, ": error: a?b??[1mc\n") != NULL);
    CHECK(strstr(text, "xx\nrfaas tester") != NULL);
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    CHECK_EQUAL(lines, 3);
    CHECK(strlen(text) < 1200);
}

/* ---- cores ---------------------------------------------------------------------- */

static void test_core_lists(void)
{
    static const char *const good[][2] = {
        {"", ""},           {"0", "0"},           {"0,2-3", "0,2-3"}, {"3,2,1", "1-3"},
        {"0-1,1-2", "0-2"}, {"63-64", "63-64"},   {"4095", "4095"},   {"007", "7"},
        {"5-5", "5"},       {"0-4095", "0-4095"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct rfaas_cores cores;
        char text[RFAAS_CORES_TEXT];
        CHECK_EQUAL(rfaas_cores_parse(good[i][0], &cores), RFAAS_OK);
        CHECK_EQUAL(rfaas_cores_format(&cores, text, sizeof text), RFAAS_OK);
        CHECK_EQUAL(strcmp(text, good[i][1]), 0);
    }
    static const char *const bad[] = {
        "a",    ",",      "0,",    ",0",  "1-",
        "-1",   "3-2",    "0 1",   " 0",  "0,,1",
        "4096", "0-4096", "1-2-3", "0x1", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rfaas_cores cores = {{42}};
        CHECK_EQUAL(rfaas_cores_parse(bad[i], &cores), RFAAS_ERR_ARGUMENT);
        CHECK(strstr(rfaas_last_error(), bad[i]) != NULL);
        CHECK_EQUAL(cores.bits[0], 42);
    }
}

static void test_core_sets(void)
{
    struct rfaas_cores a, b, one;
    char text[RFAAS_CORES_TEXT] = "kept";
    rfaas_cores_parse("0-3,64", &a);
    rfaas_cores_parse("2-5", &b);
    CHECK_EQUAL(rfaas_cores_count(&a), 5);
    CHECK_EQUAL(rfaas_cores_nth(&a, 4, &one), RFAAS_OK);
    rfaas_cores_format(&one, text, sizeof text);
    CHECK_EQUAL(strcmp(text, "64"), 0);
    CHECK_EQUAL(rfaas_cores_nth(&a, 0, &one), RFAAS_OK);
    CHECK_EQUAL(one.bits[0], 1);
    CHECK_EQUAL(rfaas_cores_nth(&a, 5, &one), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_cores_nth(&a, -1, &one), RFAAS_ERR_ARGUMENT);
    rfaas_cores_add(&b, &a);
    rfaas_cores_format(&b, text, sizeof text);
    CHECK_EQUAL(strcmp(text, "0-5,64"), 0);
    rfaas_cores_remove(&b, &a);
    CHECK_EQUAL(rfaas_cores_format(&b, text, 4), RFAAS_OK);
    CHECK_EQUAL(strcmp(text, "4-5"), 0);
    CHECK_EQUAL(rfaas_cores_format(&a, text, 6), RFAAS_ERR_ARGUMENT); /* "0-3,64" */
    CHECK_EQUAL(strcmp(text, "4-5"), 0);
}

static void *load_cores(void *arg)
{
    int *count = arg;
    struct rfaas_cores cores;
    *count = rfaas_cores_allowed(&cores) == RFAAS_OK ? rfaas_cores_count(&cores) : -1;
    return NULL;
}

static void test_cores_in_threads(void)
{
    pthread_t threads[8];
    int counts[8];
    for (int i = 0; i < 8; i++)
        CHECK_FATAL(pthread_create(&threads[i], NULL, load_cores, &counts[i]) == 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        CHECK(counts[i] >= 1);
        CHECK_EQUAL(counts[i], counts[0]);
    }
}

/* In a child, which reports by its exit status: 0 = all as it should be. */
static int bind_to_last(void)
{
    struct rfaas_cores allowed, last, bound, again;
    if (rfaas_cores_allowed(&allowed) != RFAAS_OK ||
        rfaas_cores_nth(&allowed, rfaas_cores_count(&allowed) - 1, &last) != RFAAS_OK)
        return 1;
    if (rfaas_cores_bind(&last) != RFAAS_OK)
        return 2;
    if (rfaas_cores_bound(0, &bound) != RFAAS_OK ||
        memcmp(&bound, &last, sizeof bound) != 0)
        return 3;
    /* The binding doesn't change what is allowed. */
    if (rfaas_cores_allowed(&again) != RFAAS_OK ||
        memcmp(&again, &allowed, sizeof again) != 0)
        return 4;
    return 0;
}

static void test_binding(void)
{
    struct rfaas_cores before, after, of_child, none = {{0}}, absent;
    CHECK_EQUAL(rfaas_cores_bound(0, &before), RFAAS_OK);
    CHECK(rfaas_cores_count(&before) >= 1);
    CHECK_EQUAL(rfaas_cores_bind(&none), RFAAS_ERR_ARGUMENT);
    rfaas_cores_parse("4095", &absent);
    CHECK_EQUAL(rfaas_cores_bind(&absent), RFAAS_ERR_IO);
    CHECK(strstr(rfaas_last_error(), "4095") != NULL);

    int status, gate[2];
    char byte = 0;
    CHECK_FATAL(pipe2(gate, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK_FATAL(child >= 0);
    if (child == 0) {
        close(gate[1]);
        _exit(read(gate[0], &byte, 1) == 0 ? bind_to_last() : 9);
    }
    CHECK_EQUAL(rfaas_cores_bound(child, &of_child), RFAAS_OK);
    CHECK_EQUAL(memcmp(&before, &of_child, sizeof before), 0);
    close(gate[0]);
    close(gate[1]);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(rfaas_cores_bound(child, &of_child), RFAAS_ERR_IO);
    CHECK_EQUAL(rfaas_cores_bound(0, &after), RFAAS_OK);
    CHECK_EQUAL(memcmp(&before, &after, sizeof before), 0);
}

static void test_random(void)
{
    unsigned char one[1000] = {0}, two[1000] = {0};
    CHECK_EQUAL(rfaas_random(one, sizeof one), RFAAS_OK);
    CHECK_EQUAL(rfaas_random(two, sizeof two), RFAAS_OK);
    CHECK(memcmp(one, two, sizeof one) != 0);
    static const unsigned char zero[100];
    CHECK(memcmp(one + 900, zero, sizeof zero) != 0);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"every status has a text of its own", test_status},
        {"a failure is remembered by its thread, with errno", test_last_error},
        {"only lines of the level are printed", test_log_levels},
        {"a log line stays one line", test_log_lines},
        {"lists of cores are taken, printed or refused", test_core_lists},
        {"sets of cores are added and taken apart", test_core_sets},
        {"the topology is loaded by several threads at once", test_cores_in_threads},
        {"a process is bound to cores, and others see it", test_binding},
        {"random bytes differ to the last", test_random},
        {NULL, NULL},
    };
    return test_main("base", tests, argc, argv);
}
