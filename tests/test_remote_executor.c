/* The program rfaas-executor, its manager and its client all reached over the network.
 * Manager and client belong to this process; the client speaks by hand. */
#include "base/clock.h"
#include "control/address.h"
#include "control/dial.h"
#include "control/host.h"
#include "manager_peers.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATIENCE_MS = 30000 };

static char key_file[300];
static pid_t program;
static struct rfaas_stream *to_manager, *to_executor; /* the client's */
static uint64_t lease;
static char executor_address[RFAAS_ADDRESS_MAX];

/* ---- the program ----------------------------------------------------------------- */

/* Starts it; it says on `ready` that it is, and `lender` is whose cores it has, or -1. */
static void executor_spawn(const char *file, int ready, int lender)
{
    posix_spawn_file_actions_t files;
    const char *path = getenv("RFAAS_EXECUTOR");
    const char *arguments[16] = {"rfaas-executor", "--cores", "2",
                                 "--log-level",    "none",    "--manager"};
    int count = 6;
    arguments[count++] = rfaas_manager_network_address(manager);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ready, 9);
    arguments[count++] = "--ready-fd=9";
    if (file) {
        arguments[count++] = "--key-file";
        arguments[count++] = file;
    }
    if (lender >= 0) {
        posix_spawn_file_actions_adddup2(&files, lender, 8);
        arguments[count++] = "--lender-fd=8";
    }
    CHECK_FATAL(posix_spawn(&program, path ? path : "./rfaas-executor", &files, NULL,
                            (char **)arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&files);
}

/* Starts it, and waits for the line that it says when it is ready, or why not. */
static void executor_run(const char *file, char line[256])
{
    int ends[2];
    size_t length = 0;
    CHECK_FATAL(pipe2(ends, O_CLOEXEC) == 0);
    executor_spawn(file, ends[1], -1);
    close(ends[1]);
    struct pollfd ready = {.fd = ends[0], .events = POLLIN};
    while (length < 255 && poll(&ready, 1, PATIENCE_MS) == 1 &&
           read(ends[0], line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = '\0';
    close(ends[0]);
}

/* Its exit status; -1: a signal. */
static int executor_wait(void)
{
    int status;
    CHECK_FATAL(waitpid(program, &status, 0) == program);
    program = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void key_file_write(void)
{
    const char *directory = getenv("TMPDIR");
    snprintf(key_file, sizeof key_file, "%s/rfaas-test-%d.key",
             directory ? directory : "/tmp", (int)getpid());
    unlink(key_file);
    CHECK_FATAL(rfaas_key_write(key_file, &key) == RFAAS_OK);
}

/* ---- the client ------------------------------------------------------------------ */

static void client_say(Rfaas__Message__BodyCase body, void *content)
{
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = body;
    message.lease_open = content; /* the members of a union */
    say(to_executor, &message);
}

static void begin_pool(void)
{
    char line[256];
    begin_listening("127.0.0.1:0");
    key_file_write();
    executor_run(key_file, line);
    CHECK_EQUAL(strcmp(line, "ready"), 0);
    to_manager = peer(CLIENT);
}

static void executor_call(const char *name)
{
    CHECK_FATAL(rfaas_connect(executor_address, "executor", &key, CLIENT, name, 1 << 20,
                              NULL, &to_executor) == RFAAS_OK);
}

/* How to open the granted part. Like a client of a later version it says more than the
 * executor knows. */
static Rfaas__LeaseOpen terms_of(const Rfaas__LeaseGrant *grant)
{
    static char transport[] = "shm";
    static uint8_t later[] = {5, 'l', 'a', 't', 'e', 'r'};
    static ProtobufCMessageUnknownField more = {
        1000, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, sizeof later, later};
    Rfaas__LeaseOpen open = RFAAS__LEASE_OPEN__INIT;
    open.base.n_unknown_fields = 1;
    open.base.unknown_fields = &more;
    open.lease = lease = grant->lease;
    open.token = grant->token;
    open.part = grant->parts[0]->part;
    open.first_worker = grant->parts[0]->first;
    open.workers_in_lease = grant->workers;
    open.transport = transport;
    open.slots = 1;
    open.slot_size = 4096;
    open.inline_max = 192;
    snprintf(executor_address, sizeof executor_address, "%s",
             grant->parts[0]->network_address);
    return open;
}

/* A lease of one worker, at an executor that is reached by TCP. */
static void begin_remote(void)
{
    char boot_id[RFAAS_BOOT_ID_MAX];
    begin_pool();
    say_request(to_manager, 1, FOREVER, 0);
    const Rfaas__LeaseGrant *grant = hear(to_manager, BODY(LEASE_GRANT))->lease_grant;
    Rfaas__LeaseOpen open = terms_of(grant);
    rfaas_host_boot_id(boot_id);
    CHECK_EQUAL(strcmp(grant->parts[0]->boot_id, boot_id), 0);
    CHECK(strncmp(grant->parts[0]->address, "unix:@", 6) == 0);
    CHECK(rfaas_address_is_tcp(executor_address));
    executor_call("by hand");
    client_say(BODY(LEASE_OPEN), &open);
}

static uint32_t hear_ready(void)
{
    const Rfaas__WorkerReady *ready =
        hear(to_executor, BODY(WORKER_READY))->worker_ready;
    CHECK_EQUAL(ready->lease, lease);
    CHECK(ready->pid > 1 && kill((pid_t)ready->pid, 0) == 0);
    return ready->pid;
}

static void say_resize(uint32_t workers)
{
    Rfaas__LeaseResize body = RFAAS__LEASE_RESIZE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.lease = lease;
    body.workers = workers;
    message.body_case = BODY(LEASE_RESIZE);
    message.lease_resize = &body;
    say(to_manager, &message);
}

/* The executor has seen the end of the process; waits for that. */
static bool is_reaped(pid_t pid)
{
    uint64_t end = rfaas_clock_ns() + PATIENCE_MS * MS;
    while (kill(pid, 0) == 0)
        if (rfaas_clock_ns() >= end || poll(NULL, 0, 1) != 0)
            return false;
    return true;
}

static void end_remote(void)
{
    rfaas_stream_free(to_executor);
    rfaas_stream_free(to_manager);
    unlink(key_file);
    rfaas_manager_stop(manager);
    manager = NULL;
    if (program > 0)
        CHECK_EQUAL(executor_wait(), 0); /* with its manager */
}

/* ---- tests ----------------------------------------------------------------------- */

static void test_key(void)
{
    char line[256];
    begin_listening("127.0.0.1:0");
    executor_run(NULL, line);
    CHECK(strstr(line, "set key_file") != NULL);
    CHECK_EQUAL(executor_wait(), 1);
    struct rfaas_key right = key;
    CHECK_EQUAL(rfaas_key_create(&key), RFAAS_OK);
    key_file_write();
    executor_run(key_file, line);
    CHECK(strstr(line, "wrong key") != NULL);
    CHECK_EQUAL(executor_wait(), 1);
    key = right;
    unlink(key_file);
}

static void send_kill(uint32_t worker, uint32_t pid)
{
    Rfaas__WorkerKill body = RFAAS__WORKER_KILL__INIT;
    body.part = 1;
    body.lease = lease;
    body.worker = worker;
    body.pid = pid;
    client_say(BODY(WORKER_KILL), &body);
}

/* The end of a worker would be told by then. */
static void hear_nothing(struct rfaas_stream *stream)
{
    struct rfaas_received received;
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, 500), RFAAS_ERR_TIMEOUT);
}

static void test_kill(void)
{
    begin_remote();
    uint32_t pid = hear_ready();
    struct rfaas_stream *owner = to_executor;
    CHECK_FATAL(rfaas_connect(executor_address, "executor", &key, CLIENT, "another",
                              1 << 20, NULL, &to_executor) == RFAAS_OK);
    send_kill(0, pid);
    hear_nothing(owner);
    rfaas_stream_free(to_executor);
    to_executor = owner;
    send_kill(0, 1);
    send_kill(1, pid);
    send_kill(UINT32_MAX, pid);
    hear_nothing(to_executor);
    send_kill(0, pid);
    const Rfaas__WorkerGone *gone = hear(to_executor, BODY(WORKER_GONE))->worker_gone;
    CHECK(gone->pid == pid && gone->value == SIGKILL && gone->replaced);
    CHECK_EQUAL(gone->how, RFAAS__WORKER_END__WORKER_END_SIGNALLED);
    CHECK(hear_ready() != pid);
    send_kill(0, pid); /* of the dead one: not its successor's */
    hear_nothing(to_executor);
    end_remote();
}

/* The library isn't where the executor is: its bytes travel, and the worker loads it. */
static void test_library(void)
{
    struct stat stat_of;
    unsigned char sha256[32];
    const char *path = getenv("RFAAS_TEST_FUNCTIONS");
    int fd = open(path ? path : "tests/functions.so", O_RDONLY | O_CLOEXEC);
    CHECK_FATAL(fd >= 0 && fstat(fd, &stat_of) == 0);
    size_t size = (size_t)stat_of.st_size;
    unsigned char *content = malloc(size);
    CHECK_FATAL(content && read(fd, content, size) == (ssize_t)size);
    close(fd);
    SHA256(content, size, sha256);

    begin_remote();
    hear_ready();
    const char *const names[] = {"echo", "no_such_function"};
    for (uint32_t i = 0; i < 2; i++) {
        Rfaas__FunctionAdd add = RFAAS__FUNCTION_ADD__INIT;
        add.function = i + 1;
        add.name = (char *)names[i];
        add.path = (char[]){"/nonexistent/functions.so"};
        add.sha256 = (ProtobufCBinaryData){sizeof sha256, sha256};
        client_say(BODY(FUNCTION_ADD), &add);
        if (i == 0) {
            const Rfaas__LibraryWanted *wanted =
                hear(to_executor, BODY(LIBRARY_WANTED))->library_wanted;
            CHECK(wanted->sha256.len == 32 &&
                  memcmp(wanted->sha256.data, sha256, 32) == 0);
            Rfaas__LibraryBytes bytes = RFAAS__LIBRARY_BYTES__INIT;
            bytes.sha256 = add.sha256;
            bytes.content = (ProtobufCBinaryData){size, content};
            client_say(BODY(LIBRARY_BYTES), &bytes);
        }
    }
    /* The first that is broken is the second: the library is there. */
    const Rfaas__FunctionBroken *broken =
        hear(to_executor, BODY(FUNCTION_BROKEN))->function_broken;
    CHECK_EQUAL(broken->function, 2);
    CHECK(strstr(broken->reason, "no_such_function") != NULL);
    free(content);
    end_remote();
}

static void test_killed(void)
{
    begin_remote();
    hear_ready();
    uint64_t start = rfaas_clock_ns();
    kill(program, SIGKILL);
    hear_silence(to_executor);
    to_executor = NULL;
    const Rfaas__LeasePartLost *lost =
        hear(to_manager, BODY(LEASE_PART_LOST))->lease_part_lost;
    CHECK_EQUAL(lost->lease, lease);
    hear_end(to_manager, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    CHECK(rfaas_clock_ns() - start < 1000 * MS);
    CHECK_EQUAL(executor_wait(), -1);
    end_remote();
}

/* Nothing is kept of terms that were refused, even if they came before the manager's
 * word. */
static void test_malformed_terms(void)
{
    begin_remote();
    hear_ready();
    struct rfaas_stream *owner = to_executor;
    executor_call("malformed");
    Rfaas__LeaseOpen open = RFAAS__LEASE_OPEN__INIT;
    open.lease = lease;
    open.part = 2; /* the next */
    client_say(BODY(LEASE_OPEN), &open);
    hear_silence(to_executor);
    to_executor = owner;
    say_resize(2);
    open = terms_of(hear(to_manager, BODY(LEASE_GRANT))->lease_grant);
    CHECK_EQUAL(open.part, 2);
    client_say(BODY(LEASE_OPEN), &open);
    hear_ready();
    end_remote();
}

/* The manager takes a part back before the client has opened it. */
static void test_opened_too_late(void)
{
    begin_remote();
    hear_ready();
    say_resize(2);
    Rfaas__LeaseOpen late = terms_of(hear(to_manager, BODY(LEASE_GRANT))->lease_grant);
    say_resize(1);
    hear(to_manager, BODY(LEASE_GRANT));
    say_resize(2); /* has the cores, so the executor has said that they are free */
    Rfaas__LeaseOpen next = terms_of(hear(to_manager, BODY(LEASE_GRANT))->lease_grant);
    CHECK(next.part > late.part);
    client_say(BODY(LEASE_OPEN), &late);
    const Rfaas__WorkersRetire *retire =
        hear(to_executor, BODY(WORKERS_RETIRE))->workers_retire;
    CHECK_EQUAL(retire->lease, lease);
    CHECK_EQUAL(retire->part, late.part);
    CHECK_EQUAL(retire->keep, 0);
    client_say(BODY(LEASE_OPEN), &next);
    hear_ready();
    end_remote();
}

/* The executor loses the client, and ends its workers; to the manager the client is
 * there, and it gives back what it has lost. The cores are free then. */
static void shrunk_after_loss(uint32_t grown)
{
    enum { CORES = 2 };
    pid_t pids[CORES];
    begin_pool();
    say_request(to_manager, CORES - grown, FOREVER, 0);
    for (uint32_t i = 0; i < CORES;) {
        const Rfaas__LeaseGrant *grant =
            hear(to_manager, BODY(LEASE_GRANT))->lease_grant;
        Rfaas__LeaseOpen open = terms_of(grant);
        uint32_t workers = grant->parts[0]->workers;
        if (i == 0)
            executor_call("to be lost");
        client_say(BODY(LEASE_OPEN), &open);
        while (workers-- > 0)
            pids[i++] = (pid_t)hear_ready();
        if (i < CORES)
            say_resize(CORES);
    }
    rfaas_stream_free(to_executor);
    to_executor = NULL;
    for (int i = 0; i < CORES; i++)
        CHECK(is_reaped(pids[i]));
    say_resize(1);
    CHECK_EQUAL(hear(to_manager, BODY(LEASE_GRANT))->lease_grant->workers, 1);
    say_request(to_manager, 1, FOREVER, FOREVER);
    CHECK(hear_grant(to_manager, calls) != lease);
    end_remote();
}

static void test_shrunk_after_loss(void)
{
    shrunk_after_loss(0);
    shrunk_after_loss(1); /* a part goes as a whole */
}

/* A lease that waits for an executor, and a socket that nobody reads. */
static int begin_waiting(void)
{
    int ends[2];
    begin_listening("127.0.0.1:0");
    key_file_write();
    to_manager = peer(CLIENT);
    say_request(to_manager, 1, FOREVER, FOREVER);
    CHECK_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    close(ends[0]);
    return ends[1];
}

/* It is granted on an executor that is there. */
static uint32_t wait_granted(void)
{
    Rfaas__LeaseOpen open = terms_of(hear(to_manager, BODY(LEASE_GRANT))->lease_grant);
    executor_call("by hand");
    client_say(BODY(LEASE_OPEN), &open);
    return hear_ready();
}

static void test_lender_gone(void)
{
    char line[256];
    int nobody = begin_waiting();
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    executor_spawn(key_file, null, nobody);
    CHECK_EQUAL(executor_wait(), 0);
    close(null);
    close(nobody);
    executor_run(key_file, line);
    wait_granted();
    end_remote();
}

static bool ignores(uint32_t pid, int signal)
{
    char path[64], line[128];
    unsigned long long mask = UINT64_MAX;
    snprintf(path, sizeof path, "/proc/%u/status", pid);
    FILE *file = fopen(path, "re");
    CHECK_FATAL(file != NULL);
    while (fgets(line, sizeof line, file))
        sscanf(line, "SigIgn: %llx", &mask);
    fclose(file);
    return mask >> (signal - 1) & 1;
}

/* Who started it doesn't hear that it is ready. Functions find signals as usual. */
static void test_nobody_listens(void)
{
    int nobody = begin_waiting();
    executor_spawn(key_file, nobody, -1);
    close(nobody);
    CHECK(!ignores(wait_granted(), SIGPIPE));
    end_remote();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"over the network it needs the job's key", test_key},
        {"a client ends its own worker, and no other", test_kill},
        {"a library that isn't there is sent", test_library},
        {"one that is killed is missed at once", test_killed},
        {"terms that are refused leave nothing behind", test_malformed_terms},
        {"a part that has gone before it was opened is answered", test_opened_too_late},
        {"workers that went with their client are given back", test_shrunk_after_loss},
        {"whose lender has gone isn't for others", test_lender_gone},
        {"one that nobody hears is there for all that", test_nobody_listens},
        {NULL, NULL},
    };
    return peers_end(test_main("remote_executor", tests, argc, argv));
}
