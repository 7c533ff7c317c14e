/* The executor's loop and its conversation with the manager. */
#include "executor/executor.h"

#include "base/error.h"
#include "base/log.h"
#include "control/dial.h"
#include "control/host.h"
#include "control/socket.h"
#include "executor/worker.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

enum {
    MANAGER_MESSAGE_MAX = 64 << 10,
    END_SECONDS = 2,
    NODE_MAX = 256,
    DRAIN_SECONDS = 35, /* workers have 30 to finish; a manager may never answer */
};

/* Tells who started us how the start went: "ready" or the reason why not. */
static void report_start(struct rfaas_executor *executor, const char *text)
{
    if (executor->ready_fd < 0)
        return;
    dprintf(executor->ready_fd, "%s\n", text);
    close(executor->ready_fd);
    executor->ready_fd = -1;
}

/* ---- ending ---------------------------------------------------------------------- */

static void leave_when_empty(struct rfaas_executor *executor)
{
    if ((executor->ending || executor->drained) && !executor->processes)
        event_base_loopbreak(executor->base);
}

void rfaas_executor_end(struct rfaas_executor *executor, int status, const char *why)
{
    if (executor->ending)
        return;
    rfaas_info("ending: %s", why);
    executor->ending = true;
    executor->status = status;
    struct hosted_lease *lease, *next;
    HASH_ITER(hh, executor->leases, lease, next)
        rfaas_hosted_end(executor, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    /* The killed are reaped at once, unless the kernel holds one; then the
     * parent-death signal takes it. */
    struct timeval limit = {.tv_sec = END_SECONDS};
    evtimer_add(executor->end_timer, &limit);
    leave_when_empty(executor);
}

/* What runs goes on and has its results; nothing more is taken. */
static void drain(struct rfaas_executor *executor, const char *why)
{
    rfaas_info("%s: ending when what runs has ended", why);
    executor->draining = true;
    Rfaas__ExecutorDrain body = RFAAS__EXECUTOR_DRAIN__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_EXECUTOR_DRAIN;
    message.executor_drain = &body;
    rfaas_connection_send(executor->manager, &message, NULL, 0);
    struct hosted_lease *lease, *next;
    HASH_ITER(hh, executor->leases, lease, next)
        rfaas_hosted_retire(executor, lease, 0);
    struct timeval limit = {.tv_sec = DRAIN_SECONDS};
    evtimer_add(executor->end_timer, &limit);
}

static void on_end_signal(evutil_socket_t signal, short what, void *arg)
{
    struct rfaas_executor *executor = arg;
    (void)what;
    if (signal == SIGTERM && !executor->draining && executor->manager)
        drain(executor, "SIGTERM");
    else
        rfaas_executor_end(executor, 0, signal == SIGTERM ? "SIGTERM" : "SIGINT");
}

static uint64_t invocations_ended(const struct rfaas_executor *executor)
{
    uint64_t ended = executor->ended;
    const struct hosted_worker *worker;
    for (worker = executor->processes; worker; worker = worker->hh.next)
        ended += atomic_load_explicit(&worker->page->ended, memory_order_relaxed);
    return ended;
}

/* What is granted on cores that aren't there any more would be lost. */
static bool lender_gone(const struct rfaas_executor *executor)
{
    char text[1];
    return executor->lender_fd >= 0 &&
           recv(executor->lender_fd, text, sizeof text, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* The end of the connection, or of the lender itself: the cores are its own again. It
 * may want to know what they were good for. */
static void on_lender(evutil_socket_t fd, short what, void *arg)
{
    struct rfaas_executor *executor = arg;
    char text[32];
    (void)what;
    if (recv(fd, text, sizeof text, MSG_DONTWAIT) > 0)
        return;
    event_del(executor->lender);
    int length = snprintf(text, sizeof text, "%llu\n",
                          (unsigned long long)invocations_ended(executor));
    send(fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (executor->manager && !executor->draining)
        drain(executor, "the lender wants its cores");
}

static void on_end_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct rfaas_executor *executor = arg;
    (void)fd;
    (void)what;
    event_base_loopbreak(executor->base);
}

static void on_child(evutil_socket_t signal, short what, void *arg)
{
    (void)signal;
    (void)what;
    rfaas_workers_reap(arg);
    leave_when_empty(arg);
}

/* ---- the manager ----------------------------------------------------------------- */

static int workers_create(struct hosted_lease *lease, const Rfaas__LeaseAssign *body)
{
    lease->workers = calloc(body->workers, sizeof *lease->workers);
    if (!lease->workers)
        return RFAAS_ERR_NO_MEMORY;
    for (unsigned i = 0; i < body->workers; i++) {
        struct hosted_worker *worker = &lease->workers[i];
        worker->lease = lease;
        worker->number = i;
        worker->core_count = body->cores_per_worker;
        worker->cores = calloc(body->cores_per_worker, sizeof *worker->cores);
        if (!worker->cores)
            return RFAAS_ERR_NO_MEMORY;
        lease->worker_count = lease->kept = i + 1;
    }
    return RFAAS_OK;
}

static int on_assign(struct rfaas_executor *executor, const Rfaas__LeaseAssign *body)
{
    if (body->workers == 0 || body->cores_per_worker == 0 ||
        (uint64_t)body->workers * body->cores_per_worker >
            (uint64_t)executor->core_count)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "lease of %u workers of %u cores on %d",
                          body->workers, body->cores_per_worker, executor->core_count);
    struct hosted_lease *lease = rfaas_hosted_find(executor, body->part);
    if (lease && lease->assigned)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "part %llu is assigned already",
                          (unsigned long long)body->part);
    if (lease && (lease->token != body->token || lease->id != body->lease)) {
        rfaas_warn("%s: wrong token for lease %llu: connection closed",
                   rfaas_connection_name(lease->client->connection),
                   (unsigned long long)body->lease);
        rfaas_client_free(lease->client);
        lease = NULL;
    }
    if (!lease)
        lease = rfaas_hosted_add(executor, body->lease, body->part);
    if (!lease || workers_create(lease, body) != RFAAS_OK)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "out of memory for a lease");
    lease->token = body->token;
    lease->assigned = true;
    executor->last_part = body->part;
    if (executor->draining) /* the manager learns of it only now */
        rfaas_hosted_retire(executor, lease, 0);
    else if (lease->opened)
        rfaas_hosted_start(executor, lease);
    return RFAAS_OK;
}

static void on_retire(struct rfaas_executor *executor, const Rfaas__LeaseRetire *body)
{
    struct hosted_lease *lease = rfaas_hosted_find(executor, body->part);
    if (lease)
        rfaas_hosted_retire(executor, lease, body->keep);
}

static void on_withdraw(struct rfaas_executor *executor,
                        const Rfaas__LeaseWithdraw *body)
{
    struct hosted_lease *lease = rfaas_hosted_find(executor, body->part);
    if (!lease)
        return;
    lease->withdrawn = true;
    rfaas_hosted_end(executor, lease,
                     body->reason ? body->reason : RFAAS__LEASE_END__LEASE_END_REVOKED);
}

static const char *network_address(const struct rfaas_executor *executor)
{
    return executor->network ? rfaas_listener_address(executor->network) : "";
}

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct rfaas_executor *executor = arg;
    const Rfaas__Message *m = received->message;
    int status = RFAAS_OK;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_EXECUTOR_REGISTERED:
        rfaas_info("executor %u of %s at %s %s with %d cores",
                   m->executor_registered->executor, rfaas_connection_name(connection),
                   rfaas_listener_address(executor->listener),
                   network_address(executor), executor->core_count);
        report_start(executor, "ready");
        break;
    case RFAAS__MESSAGE__BODY_LEASE_ASSIGN:
        status = on_assign(executor, m->lease_assign);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_RETIRE:
        on_retire(executor, m->lease_retire);
        break;
    case RFAAS__MESSAGE__BODY_EXECUTOR_DRAINED:
        executor->drained = true;
        leave_when_empty(executor);
        break;
    case RFAAS__MESSAGE__BODY_LEASE_WITHDRAW:
        on_withdraw(executor, m->lease_withdraw);
        break;
    case RFAAS__MESSAGE__BODY_REFUSED:
        status = rfaas_fail(RFAAS_ERR_REFUSED, "%s", m->refused->reason);
        break;
    default:
        status = rfaas_fail(RFAAS_ERR_PROTOCOL, "a message that managers don't send");
        break;
    }
    if (status != RFAAS_OK) {
        rfaas_error("%s: %s", rfaas_connection_name(connection), rfaas_last_error());
        report_start(executor, rfaas_last_error());
        rfaas_executor_end(executor, 1, rfaas_last_error());
    }
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    struct rfaas_executor *executor = arg;
    (void)connection;
    (void)status;
    rfaas_connection_free(executor->manager);
    executor->manager = NULL;
    /* The end of the connection is the manager's way to end its executors. */
    rfaas_executor_end(executor, 0, "the manager has gone");
}

static const struct rfaas_connection_calls manager_calls = {
    .message = on_message,
    .closed = on_closed,
};

static void send_register(struct rfaas_executor *executor)
{
    Rfaas__ExecutorRegister body = RFAAS__EXECUTOR_REGISTER__INIT;
    char boot_id[RFAAS_BOOT_ID_MAX], node[NODE_MAX] = "";
    rfaas_host_boot_id(boot_id);
    gethostname(node, sizeof node - 1);
    body.boot_id = boot_id;
    body.address = (char *)(uintptr_t)rfaas_listener_address(executor->listener);
    body.network_address = (char *)(uintptr_t)network_address(executor);
    body.node = (char *)(uintptr_t)node;
    body.cores = (uint32_t)executor->core_count;
    body.memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_EXECUTOR_REGISTER;
    message.executor_register = &body;
    rfaas_connection_send(executor->manager, &message, NULL, 0);
}

/* ---- start ----------------------------------------------------------------------- */

static int cores_offer(struct rfaas_executor *executor,
                       const struct rfaas_executor_options *options)
{
    int status = RFAAS_OK;
    if (options->cpuset)
        executor->cores = *options->cpuset;
    else
        status = rfaas_cores_allowed(&executor->cores);
    if (status != RFAAS_OK)
        return status;
    int available = rfaas_cores_count(&executor->cores);
    if (available < 1)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "executor: an empty set of cores");
    executor->core_count = options->cores > 0 ? options->cores : available;
    executor->load = calloc((size_t)executor->core_count, sizeof *executor->load);
    if (!executor->load)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor: out of memory");
    return RFAAS_OK;
}

static int events_create(struct rfaas_executor *executor)
{
    executor->base = event_base_new();
    if (!executor->base)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor: event_base_new failed");
    executor->child_signal = evsignal_new(executor->base, SIGCHLD, on_child, executor);
    executor->end_signals[0] =
        evsignal_new(executor->base, SIGTERM, on_end_signal, executor);
    executor->end_signals[1] =
        evsignal_new(executor->base, SIGINT, on_end_signal, executor);
    executor->end_timer = evtimer_new(executor->base, on_end_timeout, executor);
    if (!executor->child_signal || !executor->end_signals[0] ||
        !executor->end_signals[1] || !executor->end_timer ||
        event_add(executor->child_signal, NULL) < 0 ||
        event_add(executor->end_signals[0], NULL) < 0 ||
        event_add(executor->end_signals[1], NULL) < 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor: out of memory for events");
    if (executor->lender_fd < 0)
        return RFAAS_OK;
    executor->lender = event_new(executor->base, executor->lender_fd,
                                 EV_READ | EV_PERSIST, on_lender, executor);
    if (!executor->lender || event_add(executor->lender, NULL) < 0)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "executor: out of memory for events");
    return RFAAS_OK;
}

/* Listens for clients on this node and, where there is a way to others, for those:
 * `wanted` is the setting `listen`, `beside` an address as the manager's peers have it,
 * "" if that is on this node too. */
static int listen_for_clients(struct rfaas_executor *executor, const char *wanted,
                              bool manager_local, const char *beside)
{
    char address[RFAAS_ADDRESS_MAX];
    int status = rfaas_address_random("executor", address, sizeof address);
    if (status == RFAAS_OK)
        status =
            rfaas_listener_new(executor->base, address, &executor->key, "",
                               rfaas_clients_accept, executor, &executor->listener);
    bool chosen = strcmp(wanted, "auto") != 0;
    if (status != RFAAS_OK || (!chosen && manager_local))
        return status;
    if (!chosen)
        wanted = beside[0] ? beside : "tcp";
    if (!rfaas_address_is_tcp(wanted))
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "executor: listen=%.200s: takes auto, tcp or HOST:PORT",
                          wanted);
    return rfaas_listener_new(executor->base, wanted, &executor->key, "",
                              rfaas_clients_accept, executor, &executor->network);
}

/* Connects to the manager, and listens for the clients that this one will send. */
static int connect_all(struct rfaas_executor *executor,
                       const struct rfaas_executor_options *options)
{
    char node[NODE_MAX] = "", name[NODE_MAX + 64];
    char beside[RFAAS_ADDRESS_MAX];
    struct rfaas_stream *stream;
    gethostname(node, sizeof node - 1);
    snprintf(name, sizeof name, "executor %d on %s", (int)getpid(), node);
    int status = rfaas_connect(options->manager, "manager", options->key,
                               RFAAS__ROLE__ROLE_EXECUTOR, name, MANAGER_MESSAGE_MAX,
                               &executor->key, &stream);
    if (status != RFAAS_OK)
        return status;
    bool local = rfaas_stream_local(stream);
    rfaas_socket_listen_beside(rfaas_stream_fd(stream), beside);
    status = rfaas_connection_new(executor->base, stream, "manager", &manager_calls,
                                  executor, &executor->manager);
    if (status != RFAAS_OK) {
        rfaas_stream_free(stream);
        return status;
    }
    return listen_for_clients(executor, options->listen, local, beside);
}

static void tear_down(struct rfaas_executor *executor)
{
    while (executor->clients)
        rfaas_client_free(executor->clients);
    rfaas_listener_free(executor->listener);
    rfaas_listener_free(executor->network);
    rfaas_connection_free(executor->manager);
    executor->manager = NULL;
    struct hosted_lease *lease, *next;
    HASH_ITER(hh, executor->leases, lease, next) {
        lease->withdrawn = true;
        rfaas_hosted_end(executor, lease, RFAAS__LEASE_END__LEASE_END_REVOKED);
    }
    rfaas_libraries_free(&executor->libraries);
    struct event *events[] = {executor->child_signal, executor->end_signals[0],
                              executor->end_signals[1], executor->end_timer,
                              executor->lender};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    if (executor->base)
        event_base_free(executor->base);
    free(executor->load);
}

int rfaas_executor_run(const struct rfaas_executor_options *options)
{
    struct rfaas_executor executor = {
        .ready_fd = options->ready_fd,
        .lender_fd = options->lender_fd,
        .start = rfaas_tick_origin_now(),
    };
    int status = cores_offer(&executor, options);
    if (status == RFAAS_OK)
        status = events_create(&executor);
    if (status == RFAAS_OK)
        status = connect_all(&executor, options);
    if (status == RFAAS_OK && lender_gone(&executor)) {
        rfaas_info("the lender has gone before there was anything to lend");
    } else if (status == RFAAS_OK) {
        send_register(&executor);
        event_base_dispatch(executor.base);
        status = executor.status;
    } else {
        fprintf(stderr, "rfaas-executor: %s\n", rfaas_last_error());
        report_start(&executor, rfaas_last_error());
        status = 1;
    }
    tear_down(&executor);
    return status;
}
