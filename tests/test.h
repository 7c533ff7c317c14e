/* A CUnit main for one program of tests: the suite's name, then its tests. */
#ifndef RFAAS_TEST_H
#define RFAAS_TEST_H

#include <CUnit/CUnit.h>

struct test {
    const char *behaviour; /* what it shows, as a sentence without a full stop */
    void (*run)(void);
};

/* Runs `tests` (ended by a NULL behaviour), or those whose behaviour contains
 * argv[1]; prints CUnit's closing lines. Returns main's exit status. */
int test_main(const char *suite, const struct test tests[], int argc, char **argv);

/* By how much this machine is slower than those that the tests' times are meant for:
 * $RFAAS_TEST_SLOWNESS, 1 if that isn't set. Emulated machines set it. */
double test_slowness(void);

/* A value compared and, when it differs, both printed. */
#define CHECK_EQUAL(actual, expected)                                                  \
    test_equal((long long)(actual), (long long)(expected), #actual, #expected,         \
               __FILE__, __LINE__)
#define CHECK(condition) CU_ASSERT(condition)
#define CHECK_FATAL(condition) CU_ASSERT_FATAL(condition)
void test_equal(long long actual, long long expected, const char *actual_text,
                const char *expected_text, const char *file, int line);

#endif
