/* Workers that don't keep to the protocol: what they write can't be trusted, so the
 * client has them ended, and others take their place. */
#include "session_pool.h"

#include <stdio.h>

enum { OTHERS = 8 };

static struct batch batch;

/* It is lost, like any whose worker is killed; those behind it run on the next worker,
 * and those on the other worker don't notice. */
static void check_rogue(const char *name)
{
    static int64_t out;
    int status;
    uint64_t mark[2] = {0x5bd1e995a7c3f10b, 0x1b873593cc9e2d51};
    struct rfaas_result result = {0};
    rfaas_request *request;
    pool_begin(2);
    batch.count = 0;
    rfaas_lease *lease = lease_of(2, SETTINGS("slots=32"));
    rfaas_function *increment = function_of("increment");
    pid_t rogue = worker_pid(lease, 0), other = worker_pid(lease, 1);
    batch_add(&batch, lease, 0, increment, OTHERS, 0);
    CHECK_OK_FATAL(rfaas_invoke(lease, 0, function_of(name), mark, sizeof mark, &out,
                                sizeof out, &request));
    batch_add(&batch, lease, 0, increment, OTHERS, 1000);
    batch_add(&batch, lease, 1, increment, OTHERS, 2000);
    double start = seconds_now();
    while ((status = rfaas_test(&request, &result)) == RFAAS_IN_PROGRESS &&
           patient(start, LOSS_SECONDS))
        continue;
    CHECK_STATUS(status, RFAAS_ERR_WORKER_LOST, name);
    CHECK_EQUAL(result.worker, 0);
    CHECK(batch_wait(&batch, LOSS_SECONDS));
    CHECK_EQUAL(batch_right(&batch, 0, batch.count, 1), batch.count);
    CHECK(process_ends(rogue, 0));
    CHECK(worker_pid(lease, 0) != rogue);
    CHECK_EQUAL(worker_pid(lease, 1), other);
    struct rfaas_usage usage;
    CHECK_OK(rfaas_lease_usage(lease, &usage));
    CHECK_EQUAL(usage.failures, 1);
    pool_end();
}

static void test_stray_answers(void)
{
    check_rogue("answers_for_no_slot");
    check_rogue("answers_for_another");
    check_rogue("answers_with_wrong_count");
}

static void test_stray_writes(void)
{
    check_rogue("answers_elsewhere");
    check_rogue("answers_before_its_place");
    check_rogue("answers_behind_its_place");
}

static void test_false_lengths(void)
{
    check_rogue("answers_with_false_length");
    check_rogue("answers_with_too_much");
}

static const struct test tests[] = {
    {"a worker that answers what nobody asked is ended", test_stray_answers},
    {"a worker that writes where it may not is ended", test_stray_writes},
    {"a worker that lies about a length is ended", test_false_lengths},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("session: rogues", tests, argc, argv);
}
