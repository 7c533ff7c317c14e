/* The leases that this executor hosts, and what becomes of their workers. */
#include "executor/executor.h"

#include "base/error.h"
#include "base/log.h"
#include "executor/worker.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED_STARTS_MAX = 3 }; /* then it isn't tried again */

struct hosted_lease *rfaas_hosted_find(struct rfaas_executor *executor, uint64_t part)
{
    struct hosted_lease *lease;
    HASH_FIND(hh, executor->leases, &part, sizeof part, lease);
    return lease;
}

struct hosted_lease *rfaas_hosted_add(struct rfaas_executor *executor, uint64_t id,
                                      uint64_t part)
{
    struct hosted_lease *lease = calloc(1, sizeof *lease);
    if (!lease) {
        rfaas_error("out of memory for lease %llu", (unsigned long long)id);
        return NULL;
    }
    lease->id = id;
    lease->part = part;
    HASH_ADD(hh, executor->leases, part, sizeof lease->part, lease);
    return lease;
}

static void lease_free(struct rfaas_executor *executor, struct hosted_lease *lease)
{
    HASH_DEL(executor->leases, lease);
    for (unsigned i = 0; i < lease->worker_count; i++)
        free(lease->workers[i].cores);
    free(lease->workers);
    free(lease);
}

/* Tells the manager that only the first `left` workers may have processes. */
static void send_freed(const struct rfaas_executor *executor,
                       const struct hosted_lease *lease, unsigned left)
{
    Rfaas__LeaseFreed freed = RFAAS__LEASE_FREED__INIT;
    freed.part = lease->part;
    freed.left = left;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_LEASE_FREED;
    message.lease_freed = &freed;
    if (executor->manager)
        rfaas_connection_send(executor->manager, &message, NULL, 0);
}

/* Lets go of the workers that were to end, if they all have. */
static void retired_settle(struct rfaas_executor *executor, struct hosted_lease *lease)
{
    unsigned kept = lease->kept;
    for (unsigned i = kept; i < lease->worker_count; i++)
        if (lease->workers[i].pid)
            return;
    for (unsigned i = kept; i < lease->worker_count; i++)
        free(lease->workers[i].cores);
    lease->worker_count = kept;
    send_freed(executor, lease, kept);
    if (kept == 0)
        lease_free(executor, lease);
}

/* Frees a lease that has no process, and whose manager and client are done with it. */
static void lease_settle(struct rfaas_executor *executor, struct hosted_lease *lease)
{
    if (lease->ended == RFAAS__LEASE_END__LEASE_END_NONE || lease->running > 0)
        return;
    if (lease->withdrawn)
        send_freed(executor, lease, 0);
    /* Without the manager's word yet, it stays until that comes; but what the manager
     * wants back it gets. */
    if (lease->withdrawn || !lease->assigned)
        lease_free(executor, lease);
    else if (lease->kept < lease->worker_count)
        retired_settle(executor, lease);
}

/* ---- starting -------------------------------------------------------------------- */

static void report_gone(const struct rfaas_executor *executor,
                        struct hosted_worker *worker, struct worker_end *end,
                        Rfaas__WorkerEnd how, int value, bool replaced)
{
    struct hosted_lease *lease = worker->lease;
    if (!lease->client)
        return;
    Rfaas__WorkerGone gone = RFAAS__WORKER_GONE__INIT;
    gone.lease = lease->id;
    gone.part = lease->part;
    gone.worker = lease->terms.first_worker + worker->number;
    gone.pid = (uint32_t)end->pid;
    gone.how = how;
    gone.value = value;
    gone.executing = end->executing;
    gone.begun = end->begun;
    gone.n_begun = end->begun_count;
    gone.replaced = replaced;
    gone.retired = worker->number >= lease->kept;
    gone.execute_ns = rfaas_ticks_to_ns(&executor->start, end->execute_ticks);
    gone.hot_ns = rfaas_ticks_to_ns(&executor->start, end->hot_ticks);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_GONE;
    message.worker_gone = &gone;
    rfaas_connection_send(lease->client->connection, &message, NULL, 0);
}

static void start_or_report(struct rfaas_executor *executor,
                            struct hosted_worker *worker)
{
    if (rfaas_worker_start(executor, worker) == RFAAS_OK)
        return;
    int error = errno;
    struct worker_end none = {0};
    rfaas_error("lease %llu: %s", (unsigned long long)worker->lease->id,
                rfaas_last_error());
    report_gone(executor, worker, &none, RFAAS__WORKER_END__WORKER_END_START, error,
                false);
}

void rfaas_hosted_start(struct rfaas_executor *executor, struct hosted_lease *lease)
{
    rfaas_info("lease %llu: %u workers for %s", (unsigned long long)lease->id,
               lease->worker_count, rfaas_connection_name(lease->client->connection));
    for (unsigned i = 0; i < lease->worker_count; i++)
        start_or_report(executor, &lease->workers[i]);
}

/* ---- ending ---------------------------------------------------------------------- */

void rfaas_hosted_end(struct rfaas_executor *executor, struct hosted_lease *lease,
                      Rfaas__LeaseEnd reason)
{
    if (lease->ended == RFAAS__LEASE_END__LEASE_END_NONE) {
        lease->ended = reason;
        for (unsigned i = 0; i < lease->worker_count; i++)
            rfaas_worker_kill(&lease->workers[i]);
    }
    lease_settle(executor, lease);
}

/* ---- retiring ---------------------------------------------------------------------- */

void rfaas_hosted_retire(struct rfaas_executor *executor, struct hosted_lease *lease,
                         unsigned keep)
{
    if (!lease->assigned || keep >= lease->kept)
        return;
    rfaas_info("lease %llu: %u workers of %u stay", (unsigned long long)lease->id, keep,
               lease->kept);
    lease->kept = keep;
    /* One that has ended has no client any more, or one that knows. */
    if (lease->client && lease->ended == RFAAS__LEASE_END__LEASE_END_NONE)
        rfaas_client_retire(lease->client, lease->id, lease->part, keep);
    for (unsigned i = keep; i < lease->worker_count; i++)
        rfaas_worker_retire(executor, &lease->workers[i]);
    retired_settle(executor, lease);
}

/* ---- processes that have ended ----------------------------------------------------- */

static bool start_failed(struct hosted_worker *worker)
{
    return ++worker->failed_starts >= FAILED_STARTS_MAX;
}

void rfaas_hosted_reaped(struct rfaas_executor *executor, struct hosted_worker *worker,
                         struct worker_end *end)
{
    struct hosted_lease *lease = worker->lease;
    worker->pid = 0;
    if (lease->ended != RFAAS__LEASE_END__LEASE_END_NONE) {
        report_gone(executor, worker, end, RFAAS__WORKER_END__WORKER_END_LEASE,
                    (int)lease->ended, false);
        lease_settle(executor, lease);
        return;
    }
    bool signalled = WIFSIGNALED(end->wait_status);
    int value = signalled ? WTERMSIG(end->wait_status) : WEXITSTATUS(end->wait_status);
    Rfaas__WorkerEnd how = signalled ? RFAAS__WORKER_END__WORKER_END_SIGNALLED
                                     : RFAAS__WORKER_END__WORKER_END_EXITED;
    if (worker->number >= lease->kept) {
        report_gone(executor, worker, end, how, value, false);
        retired_settle(executor, lease);
        return;
    }
    bool replace = !executor->ending && !start_failed(worker);
    rfaas_warn("lease %llu: worker %u (pid %d) %s %d%s; %s",
               (unsigned long long)lease->id,
               lease->terms.first_worker + worker->number, (int)end->pid,
               signalled ? "was ended by signal" : "exited with status", value,
               end->executing ? " in a function" : "",
               replace ? "starting another" : "not started again");
    report_gone(executor, worker, end, how, value, replace);
    if (replace)
        start_or_report(executor, worker);
}

/* ---- usage ----------------------------------------------------------------------- */

void rfaas_hosted_page_read(const struct hosted_worker *worker, uint64_t *execute_ticks,
                            uint64_t *hot_ticks)
{
    *execute_ticks +=
        atomic_load_explicit(&worker->page->execute_ticks, memory_order_relaxed);
    *hot_ticks += atomic_load_explicit(&worker->page->hot_ticks, memory_order_relaxed);
}

void rfaas_hosted_usage(const struct rfaas_executor *executor,
                        const struct hosted_lease *lease, uint64_t *execute_ns,
                        uint64_t *hot_ns)
{
    uint64_t execute_ticks = 0, hot_ticks = 0;
    for (unsigned i = 0; i < lease->worker_count; i++)
        if (lease->workers[i].page)
            rfaas_hosted_page_read(&lease->workers[i], &execute_ticks, &hot_ticks);
    *execute_ns += rfaas_ticks_to_ns(&executor->start, execute_ticks);
    *hot_ns += rfaas_ticks_to_ns(&executor->start, hot_ticks);
}
