/* What the executor says to a worker. */
#include "executor/worker_state.h"

#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "control/invocation.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void blob_take(struct rfaas_blob *blob, ProtobufCBinaryData bytes,
                      struct rfaas_received *received)
{
    blob->size = bytes.len < sizeof blob->bytes ? bytes.len : sizeof blob->bytes;
    memcpy(blob->bytes, bytes.data, blob->size);
    blob->fd_count = 0;
    for (int i = 0; i < received->fd_count && i < RFAAS_BLOB_FDS_MAX; i++)
        blob->fds[blob->fd_count++] = received->fds[i];
}

static int set_up(const Rfaas__WorkerSetup *setup)
{
    const Rfaas__LeaseOpen *lease = setup->lease;
    if (rfaas_worker.device || !lease || lease->slots < 1 ||
        lease->slots > RFAAS_SLOTS_MAX || lease->slot_size <= RFAAS_SLOT_OVERHEAD ||
        lease->slot_size % 64 != 0 || lease->slot_size > SIZE_MAX / lease->slots)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "worker: malformed set-up");
    rfaas_log_start("worker", lease->log_level);
    rfaas_worker.lease = lease->lease;
    rfaas_worker.slot_count = lease->slots;
    rfaas_worker.slot_size = lease->slot_size;
    rfaas_worker.index = (int)(lease->first_worker + setup->worker);
    rfaas_worker.workers = (int)lease->workers_in_lease;
    rfaas_worker.hot_timeout_ns =
        lease->hot_timeout_us > INT64_MAX / 1000 ? -1 : lease->hot_timeout_us * 1000;
    rfaas_worker.transport = rfaas_transport_find(lease->transport);
    if (!rfaas_worker.transport)
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED,
                          "worker: no transport '%s' on this node", lease->transport);
    struct rfaas_endpoint_options options = {.depth = lease->slots,
                                             .inline_max = lease->inline_max};
    struct rfaas_config config; /* of this node: the environment and the file */
    int status = rfaas_config_load(&config, NULL, NULL);
    if (status != RFAAS_OK)
        return status;
    const struct rfaas_device_options device = {
        .device = config.verbs_device,
        .port = (int)config.verbs_port,
        .gid_index = (int)config.verbs_gid_index,
    };
    status = rfaas_worker.transport->device_open(&device, &rfaas_worker.device);
    if (status == RFAAS_OK)
        status = rfaas_worker.transport->memory_alloc(
            rfaas_worker.device, rfaas_worker.slot_count * rfaas_worker.slot_size,
            &rfaas_worker.slots);
    if (status == RFAAS_OK)
        status = rfaas_worker.transport->endpoint_open(rfaas_worker.device, &options,
                                                       &rfaas_worker.client);
    if (status != RFAAS_OK || rfaas_worker.transport->common_memory)
        return status;
    rfaas_worker.kept = calloc(rfaas_worker.slot_count, sizeof *rfaas_worker.kept);
    return rfaas_worker.kept ? RFAAS_OK
                             : rfaas_fail(RFAAS_ERR_NO_MEMORY, "worker: out of memory");
}

/* A descriptor for others that is readable when this process has ended: one of the
 * process, by which they can also end it, or, where the kernel has none, of a pipe. */
static int alive_create(void)
{
    int ends[2];
    int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (process >= 0) {
        rfaas_worker.alive_fd = process;
        return process;
    }
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    rfaas_worker.alive_fd = ends[1];
    return ends[0];
}

static int say_ready(void)
{
    struct rfaas_blob endpoint, memory;
    if (!rfaas_worker.device || rfaas_worker.alive_fd >= 0)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "worker: started out of turn");
    int alive = alive_create();
    if (alive < 0)
        return rfaas_fail(RFAAS_ERR_IO, "worker: pipe: %m");
    rfaas_worker.transport->endpoint_export(rfaas_worker.client, &endpoint);
    rfaas_worker.transport->memory_export(rfaas_worker.slots, &memory);

    Rfaas__WorkerReady ready = RFAAS__WORKER_READY__INIT;
    ready.lease = rfaas_worker.lease;
    ready.worker = (uint32_t)rfaas_worker.index;
    ready.pid = (uint32_t)getpid();
    ready.endpoint = (ProtobufCBinaryData){endpoint.size, endpoint.bytes};
    ready.memory = (ProtobufCBinaryData){memory.size, memory.bytes};
    ready.slots_address = (uintptr_t)rfaas_worker.slots->base;
    ready.endpoint_descriptors = (uint32_t)endpoint.fd_count;
    int fds[2 * RFAAS_BLOB_FDS_MAX + 1], count = 0;
    for (int i = 0; i < endpoint.fd_count; i++)
        fds[count++] = endpoint.fds[i];
    for (int i = 0; i < memory.fd_count; i++)
        fds[count++] = memory.fds[i];
    fds[count++] = alive;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_READY;
    message.worker_ready = &ready;
    int status = rfaas_stream_send(rfaas_worker.control, &message, fds, count, -1);
    if (alive != rfaas_worker.alive_fd)
        close(alive);
    return status;
}

static int connect_client(const Rfaas__WorkerConnect *body,
                          struct rfaas_received *received)
{
    if (body->connection < rfaas_worker.connection)
        return RFAAS_OK; /* that one has failed meanwhile */
    if (!rfaas_worker.device || rfaas_worker.connected ||
        body->connection > rfaas_worker.connection ||
        body->n_outstanding > (rfaas_worker.kept ? rfaas_worker.slot_count : 0))
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "worker: connected out of turn");
    struct rfaas_blob blob;
    blob_take(&blob, body->endpoint, received);
    int status = rfaas_worker.transport->endpoint_connect(rfaas_worker.client, &blob);
    if (status != RFAAS_OK)
        return status;
    rfaas_worker.connected = true;
    for (size_t i = 0; i < body->n_outstanding; i++)
        rfaas_answer_again(body->outstanding[i]);
    /* Should it have failed already, a completion says so. */
    status = rfaas_worker.transport->write(rfaas_worker.client, NULL, 0, NULL, 0, 0,
                                           rfaas_answer(0, RFAAS_ANSWER_CONNECTED));
    return status == RFAAS_ERR_IO ? RFAAS_OK : status;
}

/* Not at once: an invocation may be at the endpoint. */
static void cut_off(const Rfaas__WorkerCutOff *body)
{
    if (body->connection == rfaas_worker.connection && rfaas_worker.connected)
        rfaas_worker.cut_off = true;
}

static int say_moved(void)
{
    struct rfaas_blob endpoint;
    rfaas_worker.transport->endpoint_export(rfaas_worker.client, &endpoint);
    Rfaas__WorkerMoved moved = RFAAS__WORKER_MOVED__INIT;
    moved.lease = rfaas_worker.lease;
    moved.worker = (uint32_t)rfaas_worker.index;
    moved.pid = (uint32_t)getpid();
    moved.connection = rfaas_worker.connection;
    moved.endpoint = (ProtobufCBinaryData){endpoint.size, endpoint.bytes};
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKER_MOVED;
    message.worker_moved = &moved;
    return rfaas_stream_send(rfaas_worker.control, &message, NULL, 0, -1);
}

void rfaas_worker_reconnect(void)
{
    rfaas_worker.cut_off = false;
    rfaas_worker.connected = false;
    rfaas_worker.connection++;
    int status = rfaas_worker.transport->endpoint_reset(rfaas_worker.client);
    if (status == RFAAS_OK)
        status = say_moved();
    if (status != RFAAS_OK) {
        rfaas_error("worker %d: no other connection: %s", rfaas_worker.index,
                    rfaas_last_error());
        exit(1);
    }
    while (!rfaas_worker.connected)
        rfaas_worker_control(1000);
}

static int add_memory(const Rfaas__MemoryAdd *body, struct rfaas_received *received)
{
    if (!rfaas_worker.device)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "worker: memory before the set-up");
    struct rfaas_blob blob;
    uint32_t key;
    blob_take(&blob, body->memory, received);
    return rfaas_worker.transport->memory_import(rfaas_worker.client, &blob, &key);
}

/* Whether the file at `path` is the one that is open. */
static bool is_file(const char *path, int fd)
{
    struct stat there, opened;
    return stat(path, &there) == 0 && fstat(fd, &opened) == 0 &&
           there.st_dev == opened.st_dev && there.st_ino == opened.st_ino;
}

/* Loads it from its path, as long as that is the library which the executor has seen
 * there, or else from the bytes that came along. */
static int load_function(const Rfaas__FunctionAdd *body,
                         struct rfaas_received *received)
{
    struct rfaas_functions *functions = &rfaas_worker.functions;
    char path[64];
    if (!body->shipped && is_file(body->path, received->fds[0]) &&
        rfaas_functions_load(functions, body->function, body->path, body->name) ==
            RFAAS_OK)
        return RFAAS_OK;
    /* The descriptor stays open: the loader knows libraries by name, so another one
     * must not come by the same. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", received->fds[0]);
    received->fds[0] = -1;
    return rfaas_functions_load(functions, body->function, path, body->name);
}

static int add_function(const Rfaas__FunctionAdd *body, struct rfaas_received *received)
{
    if (received->fd_count != 1)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "worker: library without its bytes");
    if (load_function(body, received) == RFAAS_OK)
        return RFAAS_OK;
    Rfaas__FunctionBroken broken = RFAAS__FUNCTION_BROKEN__INIT;
    broken.function = body->function;
    broken.reason = (char *)(uintptr_t)rfaas_last_error();
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_FUNCTION_BROKEN;
    message.function_broken = &broken;
    return rfaas_stream_send(rfaas_worker.control, &message, NULL, 0, -1);
}

static int control_handle(struct rfaas_received *received)
{
    const Rfaas__Message *m = received->message;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_WORKER_SETUP:
        return set_up(m->worker_setup);
    case RFAAS__MESSAGE__BODY_WORKER_START:
        return say_ready();
    case RFAAS__MESSAGE__BODY_WORKER_CONNECT:
        return connect_client(m->worker_connect, received);
    case RFAAS__MESSAGE__BODY_WORKER_CUT_OFF:
        cut_off(m->worker_cut_off);
        return RFAAS_OK;
    case RFAAS__MESSAGE__BODY_WORKERS_RETIRE:
        rfaas_worker.retiring = true;
        return RFAAS_OK;
    case RFAAS__MESSAGE__BODY_MEMORY_ADD:
        return add_memory(m->memory_add, received);
    case RFAAS__MESSAGE__BODY_MEMORY_REMOVE:
        if (rfaas_worker.device)
            rfaas_worker.transport->memory_forget(rfaas_worker.client,
                                                  m->memory_remove->key);
        return RFAAS_OK;
    case RFAAS__MESSAGE__BODY_FUNCTION_ADD:
        return add_function(m->function_add, received);
    default:
        return rfaas_fail(RFAAS_ERR_PROTOCOL,
                          "worker: message of kind %d from the executor",
                          (int)m->body_case);
    }
}

void rfaas_worker_control(int timeout_ms)
{
    for (;;) {
        struct rfaas_received received;
        int status = rfaas_stream_receive(rfaas_worker.control, &received, timeout_ms);
        if (status == RFAAS_ERR_TIMEOUT)
            return;
        if (status == RFAAS_OK) {
            status = control_handle(&received);
            rfaas_received_free(&received);
        }
        if (status == RFAAS_ERR_IO)
            exit(0); /* the executor has gone */
        if (status != RFAAS_OK) {
            rfaas_error("worker %d: %s", rfaas_worker.index, rfaas_last_error());
            exit(1);
        }
        if (timeout_ms > 0)
            return;
    }
}
