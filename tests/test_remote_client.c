/* The client's thread and an executor that is reached over the network: here one made by
 * hand, which says that it is on another node. */
#include "base/clock.h"
#include "base/config.h"
#include "client/control.h"
#include "control/host.h"
#include "control/socket.h"
#include "client/control_thread.h"
#include "manager_peers.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICKET = 7, PATIENCE_MS = 10000 };

static const struct control_transports both = {.local = "shm", .remote = "verbs"};
static const struct control_transports local_only = {.local = "shm",
                                                     .why_not = "none is there"};
static struct worker_activity activity[4];
static struct rfaas_control *control;
static struct rfaas_listening listening; /* of the executor */
static struct rfaas_stream *executor_link,
    *told; /* the executor's, to client, manager */

/* ---- both sides ------------------------------------------------------------------ */

/* Manager, executor and client; the client has asked for two workers. `address` is where
 * the executor says it is on its node. */
static void begin_with(const struct control_transports *transports, const char *boot_id,
                       const char *address)
{
    struct rfaas_config config;
    char setting[160];
    begin();
    CHECK_FATAL(rfaas_socket_listen("127.0.0.1:0", &listening) == RFAAS_OK);
    told = peer(EXECUTOR);
    Rfaas__ExecutorRegister body = RFAAS__EXECUTOR_REGISTER__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.address = (char *)address;
    body.network_address = listening.address;
    body.boot_id = (char *)boot_id;
    body.node = (char[]){"farnode"};
    body.cores = 2;
    body.memory = UINT64_C(1) << 30;
    message.body_case = BODY(EXECUTOR_REGISTER);
    message.executor_register = &body;
    say(told, &message);
    hear(told, BODY(EXECUTOR_REGISTERED));

    snprintf(setting, sizeof setting, "manager_address=%s",
             rfaas_manager_address(manager));
    CHECK_FATAL(rfaas_config_load(&config, NULL,
                                  (const char *const[]){setting, NULL}) == RFAAS_OK);
    CHECK_FATAL(control_start(&config, &key, transports, &control) == RFAAS_OK);
    const struct lease_terms terms = {.workers = 2,
                                      .cores_per_worker = 1,
                                      .duration_ns = FOREVER,
                                      .slots = 1,
                                      .slot_size = 4096};
    CHECK_EQUAL(control_acquire(control, TICKET, &terms, activity), RFAAS_OK);
}

static void end(void)
{
    control_stop(control);
    control = NULL;
    rfaas_stream_free(told);
    rfaas_stream_free(executor_link);
    executor_link = NULL;
    rfaas_socket_close(&listening);
}

/* The client's call, greeted as executors do. */
static void take_call(void)
{
    struct rfaas_handshake handshake;
    struct rfaas_received received;
    struct pollfd ready = {.fd = listening.fd, .events = POLLIN};
    CHECK_FATAL(poll(&ready, 1, PATIENCE_MS) == 1);
    int fd = accept4(listening.fd, NULL, NULL, SOCK_CLOEXEC);
    CHECK_FATAL(fd >= 0 && rfaas_stream_new(fd, 1 << 20, &executor_link) == RFAAS_OK);
    CHECK_FATAL(rfaas_handshake_begin(&handshake, &key, "", executor_link) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_flush(executor_link) == RFAAS_OK);
    CHECK_FATAL(rfaas_stream_receive(executor_link, &received, PATIENCE_MS) ==
                RFAAS_OK);
    CHECK_FATAL(rfaas_handshake_answer(&handshake, received.message, executor_link) ==
                RFAAS_OK);
    CHECK_FATAL(rfaas_stream_flush(executor_link) == RFAAS_OK);
    rfaas_received_free(&received);
}

/* The client's next event, which has to be of this kind; `text` is in its text. */
static struct control_event hear_event(enum control_event_kind kind, const char *text)
{
    struct pollfd ready = {.fd = control_descriptor(control), .events = POLLIN};
    struct control_event *event, copy = {0};
    CHECK_FATAL(poll(&ready, 1, PATIENCE_MS) == 1);
    event = control_take_event(control);
    CHECK_FATAL(event != NULL);
    CHECK_EQUAL(event->kind, kind);
    CHECK_EQUAL(event->ticket, TICKET);
    bool said = strstr(event->text, text) != NULL;
    CHECK(said);
    if (!said)
        printf("\n    \"%s\" lacks \"%s\"\n", event->text, text);
    copy = *event;
    control_event_free(event);
    return copy;
}

static void say_ready(uint64_t lease, uint32_t worker, uint32_t pid)
{
    Rfaas__WorkerReady body = RFAAS__WORKER_READY__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.lease = lease;
    body.part = 1; /* the manager's first */
    body.worker = worker;
    body.pid = pid;
    body.slots_address = 4096;
    body.endpoint = (ProtobufCBinaryData){3, (uint8_t[]){1, 2, 3}};
    body.endpoint_descriptors = 2; /* that didn't travel */
    message.body_case = BODY(WORKER_READY);
    message.worker_ready = &body;
    say(executor_link, &message);
}

/* ---- tests ----------------------------------------------------------------------- */

/* The lease opened, both of its workers ready. */
static uint64_t open_lease(void)
{
    CHECK_EQUAL(hear_event(CONTROL_LEASE_GRANTED, "").value, 2);
    take_call();
    const Rfaas__LeaseOpen *open = hear(executor_link, BODY(LEASE_OPEN))->lease_open;
    uint64_t lease = open->lease;
    CHECK_EQUAL(strcmp(open->transport, "verbs"), 0);
    CHECK_EQUAL(open->workers_in_lease, 2);
    for (uint32_t i = 0; i < 2; i++) {
        say_ready(lease, i, 1000 + i);
        struct control_event ready = hear_event(CONTROL_WORKER_READY, "");
        CHECK_EQUAL(ready.worker, i);
        CHECK_EQUAL(ready.pid, (pid_t)(1000 + i));
        CHECK_EQUAL(ready.slots_address, 4096);
        CHECK(ready.endpoint.size == 3 && ready.endpoint.bytes[2] == 3);
        CHECK_EQUAL(ready.endpoint.fd_count + ready.memory.fd_count, 0);
        CHECK_EQUAL(strcmp(ready.transport, "verbs"), 0);
    }
    return lease;
}

static void test_elsewhere(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    open_lease();
    end();
}

/* It has the client's kernel, but isn't to be found on a Unix socket. */
static void test_other_namespace(void)
{
    char boot_id[RFAAS_BOOT_ID_MAX];
    rfaas_host_boot_id(boot_id);
    uint64_t start = rfaas_clock_ns();
    begin_with(&both, boot_id, "unix:@rfaas-test-nobody");
    open_lease();
    CHECK(rfaas_clock_ns() - start < 2000 * MS);
    end();
}

static void test_no_transport(void)
{
    char boot_id[RFAAS_BOOT_ID_MAX];
    rfaas_host_boot_id(boot_id);
    for (int i = 0; i < 2; i++) {
        begin_with(&local_only, i ? "elsewhere" : boot_id, "unix:@rfaas-test-nobody");
        hear_event(CONTROL_LEASE_GRANTED, "");
        for (unsigned n = 0; n < 2; n++) {
            struct control_event gone =
                hear_event(CONTROL_WORKER_GONE,
                           "reached over the network, which needs the transport verbs: "
                           "none is there");
            CHECK_EQUAL(gone.worker, n);
            CHECK_EQUAL(gone.status, RFAAS_ERR_WORKER_LOST);
            CHECK(strstr(gone.text, "executor on farnode: ") != NULL);
        }
        end();
    }
}

static void test_nobody(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    hear_event(CONTROL_LEASE_GRANTED, "");
    take_call();
    rfaas_stream_free(executor_link);
    executor_link = NULL;
    rfaas_socket_close(&listening);
    for (unsigned n = 0; n < 2; n++)
        CHECK_EQUAL(hear_event(CONTROL_WORKER_GONE, "executor on farnode").status,
                    RFAAS_ERR_WORKER_LOST);
    end();
}

/* Memory goes to those that are reached by its transport. */
static void test_memory(void)
{
    struct rfaas_blob blob = {.size = 1, .bytes = {9}};
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    open_lease();
    CHECK_EQUAL(control_add_memory(control, both.local, 1, &blob), RFAAS_OK);
    CHECK_EQUAL(control_add_memory(control, both.remote, 1, &blob), RFAAS_OK);
    CHECK_EQUAL(control_add_memory(control, both.remote, 2, &blob), RFAAS_OK);
    CHECK_EQUAL(hear(executor_link, BODY(MEMORY_ADD))->memory_add->key, 1);
    CHECK_EQUAL(hear(executor_link, BODY(MEMORY_ADD))->memory_add->key, 2);
    CHECK_EQUAL(control_remove_memory(control, both.local, 1), RFAAS_OK);
    CHECK_EQUAL(control_remove_memory(control, both.remote, 2), RFAAS_OK);
    CHECK_EQUAL(hear(executor_link, BODY(MEMORY_REMOVE))->memory_remove->key, 2);
    end();
}

static void test_kill(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    uint64_t lease = open_lease();
    const struct worker_process others_pid = {.part = 1, .number = 1, .pid = 1000},
                                others_part = {.part = 2, .number = 0, .pid = 1000},
                                right = {.part = 1, .number = 0, .pid = 1000};
    CHECK_EQUAL(control_kill(control, TICKET, &others_pid), RFAAS_OK);
    CHECK_EQUAL(control_kill(control, TICKET, &others_part), RFAAS_OK);
    CHECK_EQUAL(control_kill(control, TICKET, &right), RFAAS_OK);
    const Rfaas__WorkerKill *body = hear(executor_link, BODY(WORKER_KILL))->worker_kill;
    CHECK(body->lease == lease && body->worker == 0 && body->pid == 1000);
    Rfaas__WorkerGone gone = RFAAS__WORKER_GONE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    gone.lease = lease;
    gone.part = 1;
    gone.pid = 1000;
    gone.how = RFAAS__WORKER_END__WORKER_END_SIGNALLED;
    gone.value = 9;
    gone.replaced = true;
    message.body_case = BODY(WORKER_GONE);
    message.worker_gone = &gone;
    say(executor_link, &message);
    CHECK(hear_event(CONTROL_WORKER_GONE, "signal 9").replaced);
    say_ready(lease, 0, 1002);
    CHECK_EQUAL(hear_event(CONTROL_WORKER_READY, "").pid, 1002);
    end();
}

/* A process without a pid couldn't be told from none at all. */
static void test_malformed_pid(void)
{
    static const uint32_t pids[] = {0, UINT32_C(1) << 31, UINT32_MAX};
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    hear_event(CONTROL_LEASE_GRANTED, "");
    take_call();
    uint64_t lease = hear(executor_link, BODY(LEASE_OPEN))->lease_open->lease;
    for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
        say_ready(lease, 0, pids[i]);
    say_ready(lease, 0, 1000);
    say_ready(lease, 0, 1001); /* there is one */
    say_ready(lease, 1, 1002);
    CHECK_EQUAL(hear_event(CONTROL_WORKER_READY, "").pid, 1000);
    CHECK_EQUAL(hear_event(CONTROL_WORKER_READY, "").pid, 1002);
    end();
}

/* Of two that are ready one is connected. */
static void test_late(void)
{
    const struct worker_process process = {.part = 1, .number = 0, .pid = 1000};
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    uint64_t start = rfaas_clock_ns();
    open_lease();
    CHECK_EQUAL(control_connected(control, TICKET, &process), RFAAS_OK);
    struct pollfd event = {.fd = control_descriptor(control), .events = POLLIN};
    CHECK_EQUAL(poll(&event, 1, START_SECONDS * 1000 + PATIENCE_MS), 1);
    CHECK(rfaas_clock_ns() - start >= START_SECONDS * 1000 * MS);
    struct control_event late =
        hear_event(CONTROL_WORKER_LATE, "not connected within 30 s: the executor on "
                                        "farnode");
    CHECK(late.worker == 1 && late.part == 1 && !late.retired);
    CHECK_EQUAL(poll(&event, 1, 500), 0);
    end();
}

/* Ends a worker of this pid where signals by descriptors come to that error. */
static void kill_with_error(pid_t pid, unsigned error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_send_signal, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = 4, .filter = steps};
    const struct remote_worker worker = {.pid = pid, .alive_fd = -1};
    pid_t child = fork();
    CHECK_FATAL(child >= 0);
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(1);
        remote_worker_kill(&worker);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

/* In another PID namespace the pid is that of somebody else. */
static void test_stranger(void)
{
    int status;
    pid_t stranger = fork();
    CHECK_FATAL(stranger >= 0);
    if (stranger == 0)
        for (;;)
            pause();
    kill_with_error(stranger, EINVAL);
    kill_with_error(stranger, EPERM);
    kill_with_error(stranger, ESRCH);
    CHECK_EQUAL(kill(stranger, SIGTERM), 0);
    CHECK_EQUAL(waitpid(stranger, &status, 0), stranger);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* Where there are no descriptors of processes the pid has to do. */
static void test_no_pidfd(void)
{
    static const unsigned errors[] = {EBADF, ENOSYS};
    for (int i = 0; i < 2; i++) {
        int status;
        pid_t worker = fork();
        CHECK_FATAL(worker >= 0);
        if (worker == 0)
            for (;;)
                pause();
        kill_with_error(worker, errors[i]);
        CHECK_EQUAL(kill(worker, SIGTERM), 0);
        CHECK_EQUAL(waitpid(worker, &status, 0), worker);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void say_moved(uint64_t lease, uint32_t worker, uint32_t pid)
{
    Rfaas__WorkerMoved moved = RFAAS__WORKER_MOVED__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    uint8_t address[] = {7};
    moved.lease = lease;
    moved.part = 1;
    moved.worker = worker;
    moved.pid = pid;
    moved.connection = 1;
    moved.endpoint = (ProtobufCBinaryData){sizeof address, address};
    message.body_case = BODY(WORKER_MOVED);
    message.worker_moved = &moved;
    say(executor_link, &message);
}

static void say_retired_gone(uint64_t lease, uint32_t worker, uint32_t pid)
{
    Rfaas__WorkerGone gone = RFAAS__WORKER_GONE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    uint32_t begun[] = {rfaas_tag(3, 8)};
    gone.lease = lease;
    gone.part = 1;
    gone.worker = worker;
    gone.pid = pid;
    gone.how = RFAAS__WORKER_END__WORKER_END_EXITED;
    gone.retired = true;
    gone.executing = rfaas_tag(5, 2) + 1;
    gone.begun = begun;
    gone.n_begun = 1;
    message.body_case = BODY(WORKER_GONE);
    message.worker_gone = &gone;
    say(executor_link, &message);
}

/* One that retires can still be connected to again, and what it had begun is known at its
 * end. */
static void test_retired(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    uint64_t lease = open_lease();
    Rfaas__WorkersRetire retire = RFAAS__WORKERS_RETIRE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    retire.lease = lease;
    retire.part = 1;
    retire.keep = 1;
    message.body_case = BODY(WORKERS_RETIRE);
    message.workers_retire = &retire;
    say(executor_link, &message);
    CHECK_EQUAL(hear_event(CONTROL_WORKER_RETIRED, "").worker, 1);
    const struct worker_process process = {.part = 1, .number = 1, .pid = 1001};
    CHECK_EQUAL(control_cut_off(control, TICKET, &process, 0), RFAAS_OK);
    const Rfaas__WorkerCutOff *cut =
        hear(executor_link, BODY(WORKER_CUT_OFF))->worker_cut_off;
    CHECK(cut->part == 1 && cut->worker == 1 && cut->pid == 1001);
    say_moved(lease, 1, 1001);
    struct control_event event = hear_event(CONTROL_WORKER_MOVED, "");
    CHECK(event.part == 1 && event.worker == 1 && event.retired);
    CHECK_EQUAL(event.connection, 1);
    struct connect_terms terms = {.connection = 1, .outstanding_count = 0};
    CHECK_EQUAL(control_connect(control, TICKET, &process, &terms), RFAAS_OK);
    const Rfaas__WorkerConnect *connect =
        hear(executor_link, BODY(WORKER_CONNECT))->worker_connect;
    CHECK(connect->part == 1 && connect->worker == 1 && connect->connection == 1);
    say_retired_gone(lease, 1, 1001);
    event = hear_event(CONTROL_WORKER_GONE, "");
    CHECK(event.part == 1 && event.retired && event.known && !event.replaced);
    CHECK_EQUAL(event.begun[3], 8 + 1);
    CHECK_EQUAL(event.executing, rfaas_tag(5, 2) + 1);
    end();
}

static void test_lost(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    open_lease();
    uint64_t start = rfaas_clock_ns();
    rfaas_stream_free(executor_link);
    executor_link = NULL;
    for (unsigned i = 0; i < 2; i++) {
        struct control_event gone = hear_event(
            CONTROL_WORKER_GONE, "the executor on farnode can't be reached any more");
        CHECK_EQUAL(gone.worker, i);
        CHECK_EQUAL(gone.status, RFAAS_ERR_WORKER_LOST);
        CHECK(!gone.replaced);
    }
    CHECK(rfaas_clock_ns() - start < 1000 * MS);
    end();
}

/* A lease that is over, whose executor doesn't say that its workers are: a second. */
static void test_silent_end(void)
{
    begin_with(&both, "elsewhere", "unix:@rfaas-test-nobody");
    open_lease();
    uint64_t start = rfaas_clock_ns();
    CHECK_EQUAL(control_release(control, TICKET), RFAAS_OK);
    CHECK_EQUAL(hear_event(CONTROL_LEASE_ENDED, "").status, RFAAS_ERR_LEASE_RELEASED);
    for (int i = 0; i < 2; i++)
        hear_event(CONTROL_WORKER_GONE, "can't be reached any more");
    uint64_t took = rfaas_clock_ns() - start;
    CHECK(took > 900 * MS && took < 3000 * MS);
    hear(executor_link, BODY(WORKER_KILL));
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"an executor elsewhere is reached by TCP", test_elsewhere},
        {"so is one that isn't found on a Unix socket", test_other_namespace},
        {"without a transport its workers are lost, with the reason",
         test_no_transport},
        {"so they are if nobody is there", test_nobody},
        {"memory goes where its transport does", test_memory},
        {"a worker is ended by its executor", test_kill},
        {"a worker without a pid is none", test_malformed_pid},
        {"a worker that isn't connected in time is late", test_late},
        {"a process that can't be signalled isn't taken for another", test_stranger},
        {"a worker is ended by its pid where that is all there is", test_no_pidfd},
        {"a worker that retires is connected to again", test_retired},
        {"an executor that goes takes its workers along", test_lost},
        {"workers of a lease that is over are waited for a second", test_silent_end},
        {NULL, NULL},
    };
    return peers_end(test_main("remote_client", tests, argc, argv));
}
