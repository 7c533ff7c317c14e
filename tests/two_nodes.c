/* The client of test_two_nodes.sh: two workers of an executor on another node.
 *     session ADDRESS KEY_FILE    as programs have it; prints why there is no lease
 *     leases ADDRESS KEY_FILE     by the client's thread alone, with a transport that
 *                                 remote workers do start with; prints what becomes of
 *                                 them, until the lease is over */
#include "client/control.h"
#include "control/handshake.h"
#include "rfaas.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 2, PATIENCE_SECONDS = 60 };

static int fail(void)
{
    printf("failed: %s\n", rfaas_last_error());
    return 1;
}

static int session(const char *const settings[])
{
    rfaas_session *session;
    rfaas_lease *lease;
    if (rfaas_session_open(settings, &session) != RFAAS_OK)
        return fail();
    int status = rfaas_lease_acquire(session, WORKERS, NULL, &lease);
    printf("lease: %d: %s\n", status, status == RFAAS_OK ? "" : rfaas_last_error());
    rfaas_session_close(session);
    return 0;
}

static void show(const struct control_event *event)
{
    switch (event->kind) {
    case CONTROL_LEASE_GRANTED:
        printf("granted %lld\n", (long long)event->value);
        break;
    case CONTROL_WORKER_READY:
        printf("ready %u\n", event->worker);
        break;
    case CONTROL_WORKER_MOVED:
        printf("moved %u\n", event->worker);
        break;
    case CONTROL_WORKER_GONE:
        printf("gone %u: %s\n", event->worker, event->text);
        break;
    case CONTROL_LEASE_ENDED:
        printf("ended: %s\n", event->text);
        break;
    case CONTROL_LEASE_RESIZED:
    case CONTROL_WORKER_RETIRED:
    case CONTROL_WORKER_LATE:
        break;
    case CONTROL_FUNCTION_BROKEN:
        printf("broken: %s\n", event->text);
        break;
    }
}

static int leases(const struct rfaas_config *config)
{
    static struct worker_activity activity[WORKERS];
    const struct control_transports transports = {.local = "shm", .remote = "shm"};
    const struct lease_terms terms = {.workers = WORKERS,
                                      .cores_per_worker = 1,
                                      .memory_per_worker = 1 << 20,
                                      .duration_ns = 600 * UINT64_C(1000000000),
                                      .slots = 1,
                                      .slot_size = 4096,
                                      .inline_max = 192};
    struct rfaas_control *control;
    struct rfaas_key key;
    bool over = false;
    int gone = 0;
    if (rfaas_key_read(config->key_file, &key) != RFAAS_OK ||
        control_start(config, &key, &transports, &control) != RFAAS_OK ||
        control_acquire(control, 1, &terms, activity) != RFAAS_OK)
        return fail();
    while (!over || gone < WORKERS) {
        struct pollfd ready = {.fd = control_descriptor(control), .events = POLLIN};
        poll(&ready, 1, -1);
        struct control_event *event = control_take_event(control);
        if (!event)
            continue;
        show(event);
        over |= event->kind == CONTROL_LEASE_ENDED;
        gone += event->kind == CONTROL_WORKER_GONE && !event->replaced;
        control_event_free(event);
    }
    control_stop(control);
    return 0;
}

int main(int argc, char **argv)
{
    char address[RFAAS_CONFIG_STRING_MAX + 32], key_file[RFAAS_CONFIG_STRING_MAX + 32];
    const char *const settings[] = {address, key_file, NULL};
    struct rfaas_config config;
    if (argc != 4)
        return 2;
    alarm(PATIENCE_SECONDS);
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(address, sizeof address, "manager_address=%s", argv[2]);
    snprintf(key_file, sizeof key_file, "key_file=%s", argv[3]);
    if (rfaas_config_load(&config, NULL, settings) != RFAAS_OK)
        return fail();
    return strcmp(argv[1], "session") == 0 ? session(settings) : leases(&config);
}
