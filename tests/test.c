/* A CUnit main for one program of tests. */
#include "test.h"
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void test_equal(long long actual, long long expected, const char *actual_text,
                const char *expected_text, const char *file, int line)
{
    char text[512];
    snprintf(text, sizeof text, "%.160s is %lld, not %lld (%.160s)", actual_text,
             actual, expected, expected_text);
    CU_assertImplementation(actual == expected, (unsigned)line, text, file, "",
                            CU_FALSE);
}

double test_slowness(void)
{
    const char *text = getenv("RFAAS_TEST_SLOWNESS");
    double slowness = text ? atof(text) : 1;
    return slowness > 1 ? slowness : 1;
}

/* Returns how many were added, or -1. */
static int add_tests(CU_pSuite suite, const struct test tests[], const char *wanted)
{
    int count = 0;
    for (const struct test *test = tests; test->behaviour; test++) {
        if (wanted && !strstr(test->behaviour, wanted))
            continue;
        if (!CU_add_test(suite, test->behaviour, test->run))
            return -1;
        count++;
    }
    return count;
}

int test_main(const char *suite, const struct test tests[], int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : NULL;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash still shows which test it was */
    if (CU_initialize_registry() != CUE_SUCCESS) {
        fprintf(stderr, "CUnit: %s\n", CU_get_error_msg());
        return 1;
    }
    CU_pSuite registered = CU_add_suite(suite, NULL, NULL);
    int count = registered ? add_tests(registered, tests, wanted) : -1;
    int failed = 1;
    if (count < 0) {
        fprintf(stderr, "CUnit: %s\n", CU_get_error_msg());
    } else if (count == 0) {
        fprintf(stderr, "%s: no test of \"%s\"\n", suite, wanted ? wanted : "");
    } else {
        CU_basic_set_mode(CU_BRM_VERBOSE);
        failed = CU_basic_run_tests() != CUE_SUCCESS || CU_get_number_of_failures() > 0;
    }
    CU_cleanup_registry();
    return failed;
}
