/* Sessions: opening, closing, progress, memory. */
#include "client/client.h"

#include "base/error.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    COMPLETIONS = 16, /* taken at a time */
    /* Polls before others get the core, a few microseconds: where ranks and workers
     * share cores, the result may come from who waits for this one. */
    PAUSE_YIELD = 256,
    PAUSE_SLEEP = 4096, /* polls before sleeping, some hundred microseconds */
    /* Sleep at most this long where other threads may take in what we wait for. */
    SLEEP_SHARED_MS = 1,
    SLEEP_MS = 100,
};

/* ---- progress -------------------------------------------------------------------- */

static void function_broken(rfaas_session *session, const struct control_event *event)
{
    rfaas_function *function;
    LL_SEARCH_SCALAR(session->functions, function, number, (uint32_t)event->value);
    if (function && !function->broken)
        function->broken = strdup(event->text);
}

static int take_from(const struct client_device *device)
{
    struct rfaas_completion completions[COMPLETIONS];
    int total = 0, n;
    do {
        n = device->transport->poll(device->device, completions, COMPLETIONS);
        for (int i = 0; i < n; i++)
            invoke_completion(&completions[i]);
        total += n;
    } while (n == COMPLETIONS);
    return total;
}

static int take_completions(rfaas_session *session)
{
    int total = 0;
    for (int i = 0; i < session->device_count; i++)
        if (session->devices[i].endpoints > 0)
            total += take_from(&session->devices[i]);
    return total;
}

static int take_events(rfaas_session *session)
{
    struct control_event *event;
    int total = 0;
    while ((event = control_take_event(session->control))) {
        /* What a worker wrote before it went counts, and is there by now. So is what it
         * answered by a connection that it gave up; it may have no such answer twice. */
        if (event->kind == CONTROL_WORKER_GONE || event->kind == CONTROL_WORKER_MOVED)
            total += take_completions(session);
        if (event->kind == CONTROL_FUNCTION_BROKEN)
            function_broken(session, event);
        else
            lease_event(session, event);
        control_event_free(event);
    }
    return total;
}

int session_poll(rfaas_session *session)
{
    int total = take_completions(session);
    registrations_reap(&session->registrations);
    if (control_has_events(session->control))
        total += take_events(session);
    return total;
}

void session_finish(rfaas_session *session)
{
    for (;;) {
        session_lock(session);
        rfaas_request *request = session->finished;
        if (request) {
            session->finished = request->next;
            if (!session->finished)
                session->finished_end = &session->finished;
        }
        session_unlock(session);
        if (!request)
            return;
        request->done(request, request->arg);
    }
}

/* Arms the devices; how many, or -1: there is something to take. */
static int devices_arm(rfaas_session *session)
{
    for (int i = 0; i < session->device_count; i++)
        if (session->devices[i].transport->arm(session->devices[i].device) ==
            RFAAS_OK) {
            while (i-- > 0)
                session->devices[i].transport->disarm(session->devices[i].device);
            return -1;
        }
    return session->device_count;
}

static void sleep_until_something(rfaas_session *session)
{
    struct pollfd fds[CLIENT_DEVICES_MAX + 1];
    session_lock(session);
    int armed = devices_arm(session);
    session_unlock(session);
    if (armed < 0)
        return;
    for (int i = 0; i < armed; i++) {
        const struct client_device *device = &session->devices[i];
        fds[i] = (struct pollfd){.fd = device->transport->descriptor(device->device),
                                 .events = POLLIN};
    }
    fds[armed] =
        (struct pollfd){.fd = control_descriptor(session->control), .events = POLLIN};
    poll(fds, (nfds_t)armed + 1, session->locked ? SLEEP_SHARED_MS : SLEEP_MS);
    session_lock(session);
    for (int i = 0; i < armed; i++)
        session->devices[i].transport->disarm(session->devices[i].device);
    session_unlock(session);
}

void session_pause(rfaas_session *session, unsigned turn, bool may_sleep)
{
    if (may_sleep && turn >= PAUSE_SLEEP)
        sleep_until_something(session);
    else if (turn % PAUSE_YIELD == PAUSE_YIELD - 1)
        sched_yield();
}

int rfaas_progress(rfaas_session *session)
{
    if (!session_trylock(session))
        return 0; /* somebody else is at it */
    int n = session_poll(session);
    bool finish = session->finished != NULL;
    session_unlock(session);
    if (finish)
        session_finish(session);
    return n;
}

/* ---- opening --------------------------------------------------------------------- */

static int memory_added(const struct rfaas_memory *memory, int device, void *arg)
{
    rfaas_session *session = arg;
    const struct rfaas_transport *transport = session->devices[device].transport;
    struct rfaas_blob blob;
    transport->memory_export(memory, &blob);
    return control_add_memory(session->control, transport->name, memory->key, &blob);
}

static void memory_removed(uint32_t key, int device, void *arg)
{
    rfaas_session *session = arg;
    if (control_remove_memory(session->control,
                              session->devices[device].transport->name,
                              key) != RFAAS_OK)
        rfaas_error("%s", rfaas_last_error());
}

static const struct memory_calls memory_calls = {
    .added = memory_added,
    .removed = memory_removed,
};

static int device_open(rfaas_session *session, const char *name)
{
    struct client_device *device = &session->devices[session->device_count];
    const struct rfaas_device_options options = {
        .device = session->config.verbs_device,
        .port = (int)session->config.verbs_port,
        .gid_index = (int)session->config.verbs_gid_index,
    };
    device->transport = rfaas_transport_find(name);
    if (!device->transport)
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED,
                          "transport '%s' is not in this build (no libibverbs)", name);
    int status = device->transport->device_open(&options, &device->device);
    session->device_count += status == RFAAS_OK;
    return status;
}

/* Which transport reaches workers of this node, and which others. */
static int devices_open(rfaas_session *session, struct control_transports *transports)
{
    const char *name = session->config.transport;
    bool automatic = strcmp(name, "auto") == 0;
    int status = device_open(session, automatic ? "shm" : name);
    if (status != RFAAS_OK)
        return status;
    const struct rfaas_transport *first = session->devices[0].transport;
    *transports = (struct control_transports){.local = first->name};
    if (!first->common_memory)
        transports->remote = first->name;
    else if (!automatic)
        transports->why_not = "transport=shm";
    else if (device_open(session, "verbs") == RFAAS_OK)
        transports->remote = session->devices[1].transport->name;
    else
        transports->why_not = session->why_not_remote;
    if (transports->why_not == session->why_not_remote)
        snprintf(session->why_not_remote, sizeof session->why_not_remote, "%s",
                 rfaas_last_error());
    return RFAAS_OK;
}

/* At most one device has to know memory: shm doesn't, and there is one of verbs. */
static void buffers_register(rfaas_session *session)
{
    int number = session->device_count - 1;
    if (registrations_open(&session->registrations, &session->devices[number], number,
                           &memory_calls, session) != RFAAS_OK)
        rfaas_debug("buffers of the user's are copied: %s", rfaas_last_error());
}

static void session_free(rfaas_session *session)
{
    registrations_close(&session->registrations);
    arena_free(&session->arena);
    while (session->device_count > 0) {
        struct client_device *device = &session->devices[--session->device_count];
        device->transport->device_close(device->device);
    }
    pthread_mutex_destroy(&session->mutex);
    free(session);
}

int rfaas_session_open_config(const struct rfaas_config *config,
                              const struct rfaas_key *key, rfaas_session **out)
{
    if (config->manager_address[0] == '\0')
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "session: no manager_address is set");
    rfaas_session *session = calloc(1, sizeof *session);
    if (!session)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "session: out of memory");
    pthread_mutex_init(&session->mutex, NULL);
    session->config = *config;
    session->locked = strcmp(config->threads, "multiple") == 0;
    session->finished_end = &session->finished;
    session->next_function = 1;
    session->next_ticket = 1;
    struct control_transports transports;
    int status = devices_open(session, &transports);
    if (status == RFAAS_OK)
        status = control_start(config, key, &transports, &session->control);
    if (status != RFAAS_OK) {
        session_free(session);
        return status;
    }
    session->arena = (struct arena){
        .devices = session->devices,
        .device_count = session->device_count,
        .calls = &memory_calls,
        .arg = session,
    };
    buffers_register(session);
    *out = session;
    return RFAAS_OK;
}

int rfaas_session_open(const char *const settings[], rfaas_session **session)
{
    struct rfaas_config config;
    struct rfaas_key key;
    if (!session)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_session_open: session is NULL");
    int status = rfaas_config_load(&config, NULL, settings);
    if (status != RFAAS_OK)
        return status;
    rfaas_log_start("client", (enum rfaas_log_level)config.log_level);
    if (config.key_file[0] == '\0')
        return rfaas_session_open_config(&config, NULL, session);
    status = rfaas_key_read(config.key_file, &key);
    return status == RFAAS_OK ? rfaas_session_open_config(&config, &key, session)
                              : status;
}

void rfaas_session_close(rfaas_session *session)
{
    if (!session)
        return;
    while (session->leases)
        rfaas_lease_release(session->leases);
    session_finish(session);
    control_stop(session->control);
    while (session->functions) {
        session->functions->references = 1;
        function_release(session->functions);
    }
    requests_free(session);
    session_free(session);
}

int rfaas_pool_stats(rfaas_session *session, struct rfaas_pool_stats *stats)
{
    if (!session || !stats)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_pool_stats: a NULL argument");
    return control_stats(session->control, stats);
}

/* ---- memory ---------------------------------------------------------------------- */

int rfaas_alloc(rfaas_session *session, size_t size, void **base)
{
    if (!session || !base || size == 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_alloc: %s",
                          size == 0 ? "0 bytes" : "a NULL argument");
    session_lock(session);
    void *piece = arena_get(&session->arena, size);
    session_unlock(session);
    if (!piece)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "rfaas_alloc: %zu bytes can't be had",
                          size);
    *base = piece;
    return RFAAS_OK;
}

int rfaas_free(rfaas_session *session, void *base)
{
    if (!session)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_free: session is NULL");
    if (!base)
        return RFAAS_OK;
    session_lock(session);
    bool ours = arena_put(&session->arena, base);
    session_unlock(session);
    if (!ours)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_free: %p is not from rfaas_alloc",
                          base);
    return RFAAS_OK;
}
