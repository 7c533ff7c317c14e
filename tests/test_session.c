/* The client's calls with arguments that are wrong. */
#include "session_pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char elsewhere[64]; /* no object of the library */

/* ---- bad arguments --------------------------------------------------------------- */

static void test_session_arguments(void)
{
    rfaas_session *const untouched = (rfaas_session *)&elsewhere;
    rfaas_session *session = untouched;
    char address[160], wrong_key[300];
    pool_begin(1);
    snprintf(address, sizeof address, "manager_address=%s", pool.address);
    CHECK_STATUS(rfaas_session_open(SETTINGS(address), NULL), RFAAS_ERR_ARGUMENT,
                 "NULL");
    CHECK_STATUS(rfaas_session_open(NULL, &session), RFAAS_ERR_ARGUMENT,
                 "manager_address");
    CHECK_STATUS(rfaas_session_open(SETTINGS(address, "colour=red"), &session),
                 RFAAS_ERR_ARGUMENT, "colour");
    CHECK_STATUS(rfaas_session_open(SETTINGS(address, "slots=0"), &session),
                 RFAAS_ERR_ARGUMENT, "1..256");
    CHECK_STATUS(rfaas_session_open(SETTINGS(address, "transport=pigeon"), &session),
                 RFAAS_ERR_ARGUMENT, "pigeon");
    CHECK_STATUS(rfaas_session_open(SETTINGS("manager_address=here"), &session),
                 RFAAS_ERR_ARGUMENT, "here");
    CHECK_STATUS(rfaas_session_open(SETTINGS("manager_address=unix:@nobody"), &session),
                 RFAAS_ERR_MANAGER, "nobody");
    snprintf(wrong_key, sizeof wrong_key, "key_file=%.200s/wrong-key",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    FILE *file = fopen(wrong_key + 9, "w");
    CHECK_FATAL(file != NULL);
    fprintf(file, "%064d\n", 7);
    fclose(file);
    chmod(wrong_key + 9, 0600);
    CHECK_STATUS(rfaas_session_open(SETTINGS(address, wrong_key), &session),
                 RFAAS_ERR_REFUSED, "");
    unlink(wrong_key + 9);
    CHECK_STATUS(rfaas_session_open(SETTINGS(address, wrong_key), &session),
                 RFAAS_ERR_ARGUMENT, "wrong-key");
    CHECK(session == untouched);
    rfaas_session_close(NULL);
    pool_end();
}

static void test_lease_arguments(void)
{
    rfaas_lease *const untouched = (rfaas_lease *)&elsewhere;
    rfaas_lease *lease = untouched;
    struct rfaas_usage usage;
    pool_begin(2);
    static const struct {
        int workers;
        const char *setting, *words;
    } wrong[] = {
        {0, NULL, "worker"},
        {-1, NULL, "worker"},
        {1, "slots=x", "slots"},
        {1, "nonsense", "nonsense"},
        {1, "inline_max=63", "64"},
        {1, "min_workers=2", "2"},
        {1, "lease_seconds=0", "lease_seconds"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_STATUS(rfaas_lease_acquire(pool.session, wrong[i].workers,
                                         SETTINGS(wrong[i].setting), &lease),
                     RFAAS_ERR_ARGUMENT, wrong[i].words);
        CHECK_STATUS(rfaas_lease_iacquire(pool.session, wrong[i].workers,
                                          SETTINGS(wrong[i].setting), &lease),
                     RFAAS_ERR_ARGUMENT, wrong[i].words);
    }
    CHECK_STATUS(rfaas_lease_acquire(NULL, 1, NULL, &lease), RFAAS_ERR_ARGUMENT,
                 "NULL");
    CHECK_STATUS(rfaas_lease_acquire(pool.session, 1, NULL, NULL), RFAAS_ERR_ARGUMENT,
                 "NULL");
    CHECK_STATUS(rfaas_lease_iacquire(pool.session, 1, NULL, NULL), RFAAS_ERR_ARGUMENT,
                 "NULL");
    CHECK(lease == untouched);
    CHECK_STATUS(rfaas_lease_test(NULL), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_EQUAL(rfaas_lease_workers(NULL), 0);
    rfaas_lease_release(NULL);
    lease = lease_of(2, NULL); /* none of the above has taken any */
    CHECK_STATUS(rfaas_lease_renew(NULL, 1), RFAAS_ERR_ARGUMENT, "NULL");
    static const double never[] = {0, -1, NAN, INFINITY, 1e300};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        CHECK_STATUS(rfaas_lease_renew(lease, never[i]), RFAAS_ERR_ARGUMENT, "seconds");
    CHECK_STATUS(rfaas_lease_usage(NULL, &usage), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_lease_usage(lease, NULL), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_OK(rfaas_lease_renew(lease, 1));
    pool_end();
}

static void test_function_arguments(void)
{
    rfaas_function *const untouched = (rfaas_function *)&elsewhere;
    rfaas_function *function = untouched;
    const char *library = functions_path();
    pool_begin(1);
    rfaas_session *session = pool.session;
    CHECK_STATUS(rfaas_function_load(NULL, library, "echo", &function),
                 RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_function_load(session, NULL, "echo", &function),
                 RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_function_load(session, library, NULL, &function),
                 RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_function_load(session, library, "", &function),
                 RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_function_load(session, library, "echo", NULL),
                 RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_function_load(session, "/nowhere/libf.so", "echo", &function),
                 RFAAS_ERR_FUNCTION, "/nowhere/libf.so");
    CHECK_STATUS(rfaas_function_load(session, "/", "echo", &function),
                 RFAAS_ERR_FUNCTION, "/");
    CHECK_STATUS(rfaas_function_load(session, "/proc/self/status", "echo", &function),
                 RFAAS_ERR_FUNCTION, "status"); /* no library */
    CHECK_STATUS(rfaas_function_load(session, library, "unheard_of", &function),
                 RFAAS_ERR_FUNCTION, "unheard_of");
    CHECK(function == untouched);
    rfaas_function_free(NULL);
    pool_end();
}

static void test_memory_arguments(void)
{
    void *const untouched = &elsewhere;
    void *base = untouched;
    pool_begin(1);
    CHECK_STATUS(rfaas_alloc(NULL, 1, &base), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_alloc(pool.session, 0, &base), RFAAS_ERR_ARGUMENT, "0 bytes");
    CHECK_STATUS(rfaas_alloc(pool.session, 1, NULL), RFAAS_ERR_ARGUMENT, "NULL");
    static const size_t too_much[] = {SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX / 2,
                                      (size_t)1 << 60};
    for (size_t i = 0; i < sizeof too_much / sizeof *too_much; i++)
        CHECK_STATUS(rfaas_alloc(pool.session, too_much[i], &base), RFAAS_ERR_NO_MEMORY,
                     "bytes");
    CHECK(base == untouched);
    CHECK_OK(rfaas_free(pool.session, NULL));
    CHECK_STATUS(rfaas_free(NULL, NULL), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_free(pool.session, &elsewhere), RFAAS_ERR_ARGUMENT,
                 "rfaas_alloc");
    static const size_t sizes[] = {1, 64, 100, 1 << 20, (1 << 20) + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK_OK_FATAL(rfaas_alloc(pool.session, sizes[i], &base));
        CHECK_EQUAL((uintptr_t)base % 64, 0);
        memset(base, 1, sizes[i]);
        CHECK_STATUS(rfaas_free(pool.session, (char *)base + 1), RFAAS_ERR_ARGUMENT,
                     "rfaas_alloc");
        CHECK_OK(rfaas_free(pool.session, base));
        CHECK_STATUS(rfaas_free(pool.session, base), RFAAS_ERR_ARGUMENT, "rfaas_alloc");
    }
    pool_end();
}

/* Arguments of rfaas_invoke that are wrong one at a time. */
static void check_invoke_refused(rfaas_lease *lease, int worker,
                                 rfaas_function *function, const void *in,
                                 size_t in_size, void *out, size_t capacity)
{
    rfaas_request *const untouched = (rfaas_request *)&elsewhere;
    rfaas_request *request = untouched;
    CHECK_STATUS(
        rfaas_invoke(lease, worker, function, in, in_size, out, capacity, &request),
        RFAAS_ERR_ARGUMENT, "invocation: ");
    CHECK(request == untouched);
}

static void test_invoke_arguments(void)
{
    int32_t in = 1, out;
    pool_begin(2);
    rfaas_lease *lease = lease_of(2, NULL), *waiting;
    rfaas_function *f = function_of("increment"), *foreign;
    rfaas_session *other = session_open();
    CHECK_OK_FATAL(rfaas_function_load(other, functions_path(), "increment", &foreign));
    check_invoke_refused(NULL, 0, f, &in, 4, &out, 4);
    check_invoke_refused(lease, 0, NULL, &in, 4, &out, 4);
    check_invoke_refused(lease, 0, f, NULL, 4, &out, 4);
    check_invoke_refused(lease, 0, f, &in, 4, NULL, 4);
    check_invoke_refused(lease, 0, f, &in, SIZE_MAX, &out, 4);
    check_invoke_refused(lease, 0, f, &in, 4, &out, SIZE_MAX);
    check_invoke_refused(lease, 2, f, &in, 4, &out, 4);
    check_invoke_refused(lease, -2, f, &in, 4, &out, 4);
    check_invoke_refused(lease, INT32_MAX, f, &in, 4, &out, 4);
    check_invoke_refused(lease, 0, foreign, &in, 4, &out, 4);
    CHECK_STATUS(rfaas_invoke(lease, 0, f, &in, 4, &out, 4, NULL), RFAAS_ERR_ARGUMENT,
                 "request");
    CHECK_OK_FATAL(
        rfaas_lease_iacquire(pool.session, 1, SETTINGS("wait_seconds=60"), &waiting));
    check_invoke_refused(waiting, 0, f, &in, 4, &out, 4);
    CHECK_STATUS(rfaas_lease_renew(waiting, 1), RFAAS_ERR_ARGUMENT, "granted");
    rfaas_lease_release(waiting);
    CHECK(increments(f, lease, 1, 41)); /* no harm was done */
    rfaas_session_close(other);
    pool_end();
}

static void test_request_arguments(void)
{
    rfaas_request *none = NULL, *requests[3] = {NULL, NULL, NULL};
    struct rfaas_result result;
    int index = 7, count = 0;
    pool_begin(1);
    CHECK_STATUS(rfaas_test(NULL, &result), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_test(&none, &result), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_wait(NULL, &result), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_wait(&none, &result), RFAAS_ERR_ARGUMENT, "NULL");
    CHECK_STATUS(rfaas_waitany(-1, requests, &index, &result), RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_waitany(3, NULL, &index, &result), RFAAS_ERR_ARGUMENT, "");
    CHECK_STATUS(rfaas_waitany(3, requests, NULL, &result), RFAAS_ERR_ARGUMENT, "");
    CHECK_EQUAL(index, 7);
    CHECK_OK(rfaas_waitany(3, requests, &index, &result));
    CHECK_EQUAL(index, -1);
    index = 7;
    CHECK_OK(rfaas_waitany(0, NULL, &index, &result));
    CHECK_EQUAL(index, -1);
    CHECK_EQUAL(rfaas_progress(pool.session), 0);

    rfaas_lease *lease = lease_of(1, NULL);
    rfaas_function *nothing = function_of("nothing");
    for (int i = 0; i < 3; i += 2) /* the middle one stays NULL */
        CHECK_OK(rfaas_invoke(lease, 0, nothing, NULL, 0, NULL, 0, &requests[i]));
    do {
        CHECK_OK(rfaas_waitany(3, requests, &index, NULL)); /* result not wanted */
    } while (++count < 4 && index != -1);
    CHECK_EQUAL(count, 3);
    CHECK(!requests[0] && !requests[2]);
    pool_end();
}

static const struct test tests[] = {
    {"a session refuses wrong settings", test_session_arguments},
    {"a lease refuses wrong arguments", test_lease_arguments},
    {"a function refuses wrong libraries and names", test_function_arguments},
    {"memory refuses wrong sizes and addresses", test_memory_arguments},
    {"an invocation refuses wrong arguments", test_invoke_arguments},
    {"requests that are NULL are refused or skipped", test_request_arguments},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session", tests, argc, argv);
}
