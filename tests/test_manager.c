/* The manager's thread over real sockets, with peers made by hand. */
#include "base/clock.h"
#include "manager_peers.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_start(void)
{
    begin();
    struct rfaas_key offered;
    CHECK(strncmp(rfaas_manager_address(manager), "unix:@rfaas-manager-", 20) == 0);
    CHECK_EQUAL(rfaas_key_read(rfaas_manager_key_file(manager), &offered), RFAAS_OK);
    CHECK(memcmp(&offered, &key, sizeof key) == 0);
    struct rfaas_manager *second = NULL;
    CHECK_EQUAL(rfaas_manager_start("nowhere", "", &key, &second), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_manager_start(rfaas_manager_address(manager), "", &key, &second),
                RFAAS_ERR_IO);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    CHECK_EQUAL(rfaas_manager_start(longer, "", &key, &second), RFAAS_ERR_ARGUMENT);
    CHECK(second == NULL);
}

static void test_grant(void)
{
    begin();
    struct rfaas_stream *from = executor(4), *client = peer(CLIENT);
    say_request(client, 3, FOREVER, 0);
    const Rfaas__Message *message = hear(client, BODY(LEASE_GRANT));
    CHECK_EQUAL(message->call, calls);
    CHECK_EQUAL(message->lease_grant->duration_ns, FOREVER);
    CHECK_EQUAL(message->lease_grant->n_parts, 1);
    const Rfaas__LeasePart *part = message->lease_grant->parts[0];
    CHECK_EQUAL(part->workers, 3);
    CHECK(strcmp(part->address, "unix:@executor") == 0);
    CHECK(strcmp(part->node, "node") == 0);
    uint64_t lease = message->lease_grant->lease, token = message->lease_grant->token;
    CHECK(token != 0);
    const Rfaas__LeaseAssign *assign = hear(from, BODY(LEASE_ASSIGN))->lease_assign;
    CHECK(assign->lease == lease && assign->token == token);
    CHECK(assign->workers == 3 && assign->cores_per_worker == 1);
    CHECK_EQUAL(assign->memory_per_worker, 1 << 20);
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_refusal(void)
{
    begin();
    struct rfaas_stream *from = executor(4), *client = peer(CLIENT);
    say_request(client, 5, FOREVER, 0);
    static const char text[] =
        "asked for 5 workers (at least 5) of 1 core; 4 free of 4 on 1 executor";
    CHECK_EQUAL(hear_refusal(client, RFAAS_ERR_NO_RESOURCES, text), calls);
    say_request(client, UINT32_MAX, UINT64_MAX, UINT64_MAX);
    hear_refusal(client, RFAAS_ERR_ARGUMENT, "146 years");
    say_request(client, 0, FOREVER, 0);
    hear_refusal(client, RFAAS_ERR_ARGUMENT, "no workers");
    lease_from(client, from, 4, FOREVER);
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_waiting(void)
{
    begin();
    struct rfaas_stream *first = peer(CLIENT), *second = peer(CLIENT);
    say_request(first, 2, FOREVER, FOREVER);
    uint64_t call = calls;
    struct rfaas_stream *from = executor(2);
    uint64_t lease = hear_grant(first, call);
    hear(from, BODY(LEASE_ASSIGN));
    say_request(second, 1, FOREVER, FOREVER);
    call = calls;
    say_release(first, lease);
    CHECK_EQUAL(hear(first, BODY(LEASE_ENDED))->call, calls);
    say_release(first, lease); /* again: the same answer */
    hear_end(first, lease, RFAAS__LEASE_END__LEASE_END_RELEASED);
    hear_withdraw(from, lease, RFAAS__LEASE_END__LEASE_END_RELEASED);
    say_freed(from, lease);
    say_freed(from, lease);
    hear_grant(second, call);
    say_request(first, 2, FOREVER, 0);
    hear_refusal(first, RFAAS_ERR_NO_RESOURCES, "1 free of 2");
    rfaas_stream_free(second);
    rfaas_stream_free(first);
    rfaas_stream_free(from);
}

static void test_wait_runs_out(void)
{
    begin();
    struct rfaas_stream *client = peer(CLIENT);
    uint64_t start = rfaas_clock_ns();
    say_request(client, 2, FOREVER, 20 * MS);
    hear_refusal(client, RFAAS_ERR_NO_RESOURCES, "on 0 executors; waited 0.02 s");
    CHECK(rfaas_clock_ns() - start >= 20 * MS);
    rfaas_stream_free(client);
}

static void test_expiry(void)
{
    begin();
    struct rfaas_stream *from = executor(2), *client = peer(CLIENT);
    uint64_t start = rfaas_clock_ns(), late = lease_from(client, from, 1, FOREVER),
             soon = lease_from(client, from, 1, 15 * MS);
    hear_end(client, soon, RFAAS__LEASE_END__LEASE_END_EXPIRED);
    CHECK(rfaas_clock_ns() - start >= 15 * MS);
    hear_withdraw(from, soon, RFAAS__LEASE_END__LEASE_END_EXPIRED);
    say_renew(client, soon, FOREVER);
    CHECK_EQUAL(hear(client, BODY(LEASE_RENEWED))->lease_renewed->status,
                RFAAS_ERR_LEASE_EXPIRED);
    say_renew(client, late, 10 * MS);
    CHECK_EQUAL(hear(client, BODY(LEASE_RENEWED))->call, calls);
    hear_end(client, late, RFAAS__LEASE_END__LEASE_END_EXPIRED);
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_renewal(void)
{
    begin();
    struct rfaas_stream *from = executor(2), *client = peer(CLIENT);
    uint64_t lease = lease_from(client, from, 1, 500 * MS);
    say_renew(client, lease, FOREVER);
    CHECK_EQUAL(hear(client, BODY(LEASE_RENEWED))->lease_renewed->status, RFAAS_OK);
    say_renew(client, lease, 0);
    CHECK_EQUAL(hear(client, BODY(LEASE_RENEWED))->lease_renewed->status,
                RFAAS_ERR_ARGUMENT);
    say_renew(client, lease + 9, FOREVER);
    const Rfaas__LeaseRenewed *renewed =
        hear(client, BODY(LEASE_RENEWED))->lease_renewed;
    CHECK(renewed->status == RFAAS_ERR_ARGUMENT && renewed->lease == lease + 9);
    say_request(client, 2, FOREVER, 510 * MS); /* longer than the lease was at first */
    hear_refusal(client, RFAAS_ERR_NO_RESOURCES, "1 free of 2");
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_client_goes(void)
{
    begin();
    struct rfaas_stream *from = executor(2), *client = peer(CLIENT);
    uint64_t lease = lease_from(client, from, 2, FOREVER);
    say_request(client, 2, FOREVER, FOREVER);
    rfaas_stream_free(client);
    hear_withdraw(from, lease, RFAAS__LEASE_END__LEASE_END_CLIENT_LOST);
    say_freed(from, lease);
    client = peer(CLIENT);
    say_request(client, 2, FOREVER, FOREVER);
    hear_grant(client, calls);
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_executor_goes(void)
{
    begin();
    struct rfaas_stream *one = executor(2), *two = executor(2), *client = peer(CLIENT);
    say_request(client, 4, FOREVER, 0);
    const Rfaas__LeaseGrant *grant = hear(client, BODY(LEASE_GRANT))->lease_grant;
    uint64_t lease = grant->lease;
    CHECK_EQUAL(grant->n_parts, 2);
    rfaas_stream_free(one);
    const Rfaas__LeasePartLost *lost =
        hear(client, BODY(LEASE_PART_LOST))->lease_part_lost;
    CHECK(lost->lease == lease && lost->first == 0 && lost->workers == 2);
    rfaas_stream_free(two);
    lost = hear(client, BODY(LEASE_PART_LOST))->lease_part_lost;
    CHECK(lost->lease == lease && lost->first == 2 && lost->workers == 2);
    hear_end(client, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    rfaas_stream_free(client);
}

static void say_resize(struct rfaas_stream *stream, uint64_t lease, uint32_t workers)
{
    Rfaas__LeaseResize body = RFAAS__LEASE_RESIZE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.lease = lease;
    body.workers = workers;
    message.body_case = BODY(LEASE_RESIZE);
    message.lease_resize = &body;
    say(stream, &message);
}

static void test_resize(void)
{
    begin();
    struct rfaas_stream *from = executor(3), *client = peer(CLIENT);
    uint64_t lease = lease_from(client, from, 1, FOREVER);
    say_resize(client, lease, 3);
    const Rfaas__Message *grown = hear(client, BODY(LEASE_GRANT));
    CHECK_EQUAL(grown->call, calls);
    CHECK_EQUAL(grown->lease_grant->workers, 3);
    CHECK_EQUAL(grown->lease_grant->n_parts, 1);
    CHECK_EQUAL(grown->lease_grant->parts[0]->first, 1);
    const Rfaas__LeaseAssign *assign = hear(from, BODY(LEASE_ASSIGN))->lease_assign;
    uint64_t part = assign->part;
    CHECK(assign->lease == lease && assign->workers == 2);
    say_resize(client, lease, 4);
    hear_refusal(client, RFAAS_ERR_NO_RESOURCES, "0 free of 3");
    say_resize(client, lease, 2);
    CHECK_EQUAL(hear(client, BODY(LEASE_GRANT))->lease_grant->workers, 2);
    const Rfaas__LeaseRetire *retire = hear(from, BODY(LEASE_RETIRE))->lease_retire;
    CHECK(retire->part == part && retire->keep == 1);
    rfaas_stream_free(client);
    rfaas_stream_free(from);
}

static void test_drain(void)
{
    begin();
    struct rfaas_stream *from = executor(1), *client = peer(CLIENT);
    uint64_t lease = lease_from(client, from, 1, FOREVER);
    struct rfaas_stream *to = executor(1);
    Rfaas__ExecutorDrain drain = RFAAS__EXECUTOR_DRAIN__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = BODY(EXECUTOR_DRAIN);
    message.executor_drain = &drain;
    say(from, &message);
    CHECK_EQUAL(hear(from, BODY(EXECUTOR_DRAINED))->call, calls);
    CHECK_EQUAL(hear(to, BODY(LEASE_ASSIGN))->lease_assign->lease, lease);
    const Rfaas__Message *moved = hear(client, BODY(LEASE_GRANT));
    CHECK_EQUAL(moved->call, 0);
    CHECK_EQUAL(moved->lease_grant->parts[0]->first, 0);
    Rfaas__StatsQuery query = RFAAS__STATS_QUERY__INIT;
    message.body_case = BODY(STATS_QUERY);
    message.stats_query = &query;
    say(client, &message);
    const Rfaas__StatsReport *stats = hear(client, BODY(STATS_REPORT))->stats_report;
    CHECK(stats->executors == 1 && stats->cores == 1 && stats->leased == 1);
    rfaas_stream_free(from); /* the lease doesn't miss it */
    say_renew(client, lease, FOREVER);
    CHECK_EQUAL(hear(client, BODY(LEASE_RENEWED))->lease_renewed->status, RFAAS_OK);
    rfaas_stream_free(client);
    rfaas_stream_free(to);
}

static void test_wide_grant(void)
{
    enum { MANY = 50 };
    struct rfaas_stream *from[MANY], *client;
    begin();
    for (int i = 0; i < MANY; i++)
        from[i] = executor(1);
    client = peer(CLIENT);
    say_request(client, MANY, FOREVER, 0);
    const Rfaas__LeaseGrant *grant = hear(client, BODY(LEASE_GRANT))->lease_grant;
    CHECK_EQUAL(grant->n_parts, MANY);
    for (size_t i = 1; i < grant->n_parts; i++)
        CHECK_EQUAL(grant->parts[i]->executor, grant->parts[i - 1]->executor + 1);
    rfaas_stream_free(client);
    for (int i = 0; i < MANY; i++)
        rfaas_stream_free(from[i]);
}

static void test_stop(void)
{
    begin();
    struct rfaas_stream *from = executor(2), *idle = peer(EXECUTOR),
                        *client = peer(CLIENT), *waiting = peer(CLIENT);
    uint64_t lease = lease_from(client, from, 2, FOREVER);
    say_request(waiting, 1, FOREVER, FOREVER);
    say_renew(waiting, lease, 1); /* answered: so the request is known, too */
    hear(waiting, BODY(LEASE_RENEWED));
    struct rfaas_key offered;
    char key_file[64];
    snprintf(key_file, sizeof key_file, "%s", rfaas_manager_key_file(manager));
    rfaas_manager_stop(manager);
    manager = NULL;
    CHECK(rfaas_key_read(key_file, &offered) != RFAAS_OK);
    hear_end(client, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    hear_refusal(waiting, RFAAS_ERR_MANAGER, "stops");
    hear_withdraw(from, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    hear_silence(client);
    hear_silence(waiting);
    hear_silence(from);
    hear_silence(idle);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK_FATAL(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void test_nothing_left(void)
{
    rfaas_manager_stop(manager);
    manager = NULL;
    int before = open_descriptors();
    begin();
    struct rfaas_stream *from = executor(2), *client = peer(CLIENT);
    lease_from(client, from, 2, FOREVER);
    rfaas_manager_stop(manager);
    manager = NULL;
    rfaas_stream_free(client);
    rfaas_stream_free(from);
    CHECK_EQUAL(open_descriptors(), before);
}

static volatile sig_atomic_t signals_taken;
static void take_signal(int number)
{
    (void)number;
    signals_taken++;
}

static void test_signals(void)
{
    struct sigaction action = {.sa_handler = take_signal}, before;
    sigset_t usr1, pending, blocked;
    sigaction(SIGUSR1, &action, &before);
    begin();
    pthread_sigmask(SIG_SETMASK, NULL, &blocked); /* ours is as it was */
    CHECK(!sigismember(&blocked, SIGUSR1));
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    kill(getpid(), SIGUSR1);
    rfaas_stream_free(executor(1)); /* the thread has run meanwhile */
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1));
    CHECK_EQUAL(signals_taken, 0);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    sigaction(SIGUSR1, &before, NULL);
}

static const struct test tests[] = {
    {"a manager serves at a random address and offers its key", test_start},
    {"a grant names its executors, and they know of it", test_grant},
    {"a lease of many parts is told as a whole", test_wide_grant},
    {"what can't be met is refused with a reason", test_refusal},
    {"a request waits for an executor, then for released cores", test_waiting},
    {"a request is refused when its wait runs out", test_wait_runs_out},
    {"leases expire by themselves", test_expiry},
    {"a renewed lease lives longer", test_renewal},
    {"a client that disappears ends its leases and requests", test_client_goes},
    {"an executor that disappears takes its parts along", test_executor_goes},
    {"a lease is resized, its executors told who stays", test_resize},
    {"a drained executor's leases move to others", test_drain},
    {"a manager that stops tells everybody", test_stop},
    {"a manager that has ended leaves no descriptor open", test_nothing_left},
    {"the manager's thread takes no signals", test_signals},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return peers_end(test_main("manager", tests, argc, argv));
}
