/* Leases that grow and shrink. */
#include "client/client.h"

#include "base/clock.h"
#include "base/error.h"
#include <stdio.h>

enum { ANSWER_SECONDS = 10 }; /* for the manager to answer, beyond wait_seconds */

/* The number of workers is about to change: what it was until now counts. */
static void count_time(rfaas_lease *lease)
{
    uint64_t now = rfaas_clock_ns();
    lease->counted_ns += (uint64_t)lease->worker_count * (now - lease->counted_at);
    lease->counted_at = now;
}

void lease_resized(rfaas_lease *lease, const struct control_event *event)
{
    int status = event->status;
    lease->resizing = false;
    count_time(lease);
    /* New workers are started meanwhile; fewer of them are known already. */
    if (status == RFAAS_OK && (int)event->value > lease->worker_count)
        status = workers_count(lease, (int)event->value);
    lease->resize_status = status;
    snprintf(lease->resize_text, sizeof lease->resize_text, "%s", event->text);
}

static int check(const rfaas_lease *lease, int workers,
                 const struct rfaas_config *config)
{
    if (workers < 1 || workers > LEASE_WORKERS_MAX)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "resizing a lease: it has 1..%d workers, not %d",
                          LEASE_WORKERS_MAX, workers);
    if (config->min_workers > workers)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "resizing a lease: min_workers=%lld of %d workers",
                          (long long)config->min_workers, workers);
    if (lease->resizing)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "resizing a lease: it is being resized already");
    return RFAAS_OK;
}

/* With the lock. Fewer workers it has at once: nothing more goes to the others. */
static int begin(rfaas_lease *lease, int workers, const struct rfaas_config *config)
{
    uint64_t wait_ns = rfaas_seconds_to_ns(config->wait_seconds);
    int status = check(lease, workers, config);
    lease->resize_status = RFAAS_OK;
    if (status != RFAAS_OK || workers == lease->worker_count)
        return status;
    status = control_resize(lease->session->control, lease->ticket, (unsigned)workers,
                            (unsigned)config->min_workers, wait_ns);
    if (status != RFAAS_OK)
        return status;
    count_time(lease);
    if (workers < lease->worker_count)
        status = workers_count(lease, workers);
    lease->resizing = true;
    lease->resize_deadline =
        rfaas_clock_ns() + wait_ns + ANSWER_SECONDS * 1000000000ull;
    return status;
}

int rfaas_lease_resize_begin(rfaas_lease *lease, int workers,
                             const char *const settings[])
{
    if (!lease)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "resizing a lease: it is NULL");
    struct rfaas_config config = lease->config;
    config.min_workers = 0; /* the lease's was for its beginning */
    int status = rfaas_config_apply(&config, settings);
    if (status != RFAAS_OK)
        return status;
    status = rfaas_lease_test(lease);
    if (status == RFAAS_IN_PROGRESS)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "resizing a lease: it isn't granted yet");
    if (status != RFAAS_OK)
        return status;
    session_lock(lease->session);
    status = begin(lease, workers, &config);
    session_unlock(lease->session);
    session_finish(lease->session); /* invocations of workers that left it */
    return status;
}

int rfaas_lease_resize_test(rfaas_lease *lease)
{
    int status = rfaas_lease_test(lease); /* makes progress */
    if (status != RFAAS_OK)
        return status;
    session_lock(lease->session);
    if (!lease->resizing)
        status = lease->resize_status == RFAAS_OK
                     ? RFAAS_OK
                     : rfaas_fail(lease->resize_status, "resizing a lease: %s",
                                  lease->resize_text);
    else if (rfaas_clock_ns() < lease->resize_deadline)
        status = RFAAS_IN_PROGRESS;
    else
        status = rfaas_fail(RFAAS_ERR_MANAGER,
                            "resizing a lease: the manager doesn't answer");
    session_unlock(lease->session);
    return status;
}

int rfaas_lease_resize(rfaas_lease *lease, int workers, const char *const settings[])
{
    int status = rfaas_lease_resize_begin(lease, workers, settings);
    for (unsigned turn = 0; status == RFAAS_OK; turn++) {
        status = rfaas_lease_resize_test(lease);
        if (status != RFAAS_IN_PROGRESS)
            return status;
        session_pause(lease->session, turn, true);
        status = RFAAS_OK;
    }
    return status;
}
