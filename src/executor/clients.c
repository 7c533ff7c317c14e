/* Clients and what they tell: leases they open, memories, functions. */
#include "executor/executor.h"

#include "base/error.h"
#include "base/log.h"
#include "control/invocation.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* A client says what it refuses to take back; more than this is no client of ours. */
enum { CLIENT_FUNCTIONS_MAX = 65536, CLIENT_MEMORIES_MAX = 65536 };

/* ---- to the workers -------------------------------------------------------------- */

/* Calls `send` for each worker of the client that can be talked to. */
static void for_each_worker(struct rfaas_client *client,
                            void (*send)(struct hosted_worker *worker, void *what),
                            void *what)
{
    struct hosted_lease *lease, *next;
    HASH_ITER(hh, client->executor->leases, lease, next) {
        if (lease->client != client)
            continue;
        for (unsigned i = 0; i < lease->worker_count; i++)
            if (lease->workers[i].connection)
                send(&lease->workers[i], what);
    }
}

static void send_memory(struct hosted_worker *worker, void *what)
{
    struct client_memory *memory = what;
    Rfaas__MemoryAdd add = RFAAS__MEMORY_ADD__INIT;
    add.memory = (ProtobufCBinaryData){memory->blob.size, memory->blob.bytes};
    add.key = memory->key;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_MEMORY_ADD;
    message.memory_add = &add;
    rfaas_connection_send(worker->connection, &message, memory->blob.fds,
                          memory->blob.fd_count);
}

static void send_memory_remove(struct hosted_worker *worker, void *what)
{
    rfaas_connection_send(worker->connection, what, NULL, 0);
}

struct function_and_library {
    struct client_function *function;
    struct rfaas_library *library;
};

static void send_function(struct hosted_worker *worker, void *what)
{
    struct function_and_library *f = what;
    Rfaas__FunctionAdd add = RFAAS__FUNCTION_ADD__INIT;
    add.function = f->function->number;
    add.name = f->function->name;
    add.shipped = !f->library->path;
    if (!add.shipped)
        add.path = f->library->path;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_FUNCTION_ADD;
    message.function_add = &add;
    rfaas_connection_send(worker->connection, &message, &f->library->fd, 1);
}

/* Finds the function's library or asks the client for it; true if it is here. */
static bool library_ready(struct rfaas_client *client, struct client_function *function,
                          struct function_and_library *found)
{
    found->function = function;
    found->library = rfaas_library_find(&client->executor->libraries, function->sha256,
                                        function->path);
    if (found->library)
        return true;
    if (!function->wanted) {
        function->wanted = true;
        Rfaas__LibraryWanted wanted = RFAAS__LIBRARY_WANTED__INIT;
        wanted.sha256 =
            (ProtobufCBinaryData){sizeof function->sha256, function->sha256};
        Rfaas__Message message = RFAAS__MESSAGE__INIT;
        message.body_case = RFAAS__MESSAGE__BODY_LIBRARY_WANTED;
        message.library_wanted = &wanted;
        rfaas_connection_send(client->connection, &message, NULL, 0);
    }
    return false;
}

void rfaas_client_introduce(struct rfaas_client *client, struct hosted_worker *worker)
{
    struct client_memory *memory;
    struct client_function *function;
    struct function_and_library found;
    LL_FOREACH(client->memories, memory)
        send_memory(worker, memory);
    LL_FOREACH(client->functions, function)
        if (library_ready(client, function, &found))
            send_function(worker, &found);
}

/* ---- to the client --------------------------------------------------------------- */

void rfaas_client_retire(struct rfaas_client *client, uint64_t lease, uint64_t part,
                         unsigned keep)
{
    Rfaas__WorkersRetire retire = RFAAS__WORKERS_RETIRE__INIT;
    retire.lease = lease;
    retire.part = part;
    retire.keep = keep;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_WORKERS_RETIRE;
    message.workers_retire = &retire;
    rfaas_connection_send(client->connection, &message, NULL, 0);
}

/* ---- from the client ------------------------------------------------------------- */

static int check_terms(const Rfaas__LeaseOpen *terms)
{
    if (strlen(terms->transport) < TRANSPORT_NAME_MAX && terms->slots >= 1 &&
        terms->slots <= RFAAS_SLOTS_MAX)
        return RFAAS_OK;
    return rfaas_fail(RFAAS_ERR_PROTOCOL, "malformed terms for lease %llu",
                      (unsigned long long)terms->lease);
}

static int on_lease_open(struct rfaas_client *client, const Rfaas__LeaseOpen *terms)
{
    struct rfaas_executor *executor = client->executor;
    int status = check_terms(terms);
    if (status != RFAAS_OK)
        return status;
    struct hosted_lease *lease = rfaas_hosted_find(executor, terms->part);
    if (!lease && terms->part <= executor->last_part) {
        rfaas_client_retire(client, terms->lease, terms->part, 0);
        return RFAAS_OK; /* it has come and gone before its client did */
    }
    if (!lease)
        lease = rfaas_hosted_add(executor, terms->lease, terms->part);
    if (!lease)
        return RFAAS_ERR_NO_MEMORY;
    if (lease->opened)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "lease %llu is open already",
                          (unsigned long long)terms->lease);
    if (lease->assigned && (lease->token != terms->token || lease->id != terms->lease))
        return rfaas_fail(RFAAS_ERR_REFUSED, "wrong token for lease %llu",
                          (unsigned long long)terms->lease);
    strcpy(lease->transport, terms->transport);
    lease->terms = *terms;
    /* What a later protocol added belongs to the message, which goes. */
    lease->terms.base.n_unknown_fields = 0;
    lease->terms.base.unknown_fields = NULL;
    lease->terms.transport = lease->transport;
    lease->terms.token = 0; /* none of the workers' business */
    lease->token = terms->token;
    lease->client = client;
    lease->opened = true;
    if (lease->ended != RFAAS__LEASE_END__LEASE_END_NONE)
        return RFAAS_OK; /* the manager has withdrawn it meanwhile and told the client */
    if (lease->assigned)
        rfaas_hosted_start(executor, lease);
    return RFAAS_OK;
}

/* The process, if it is the client's and still there. */
static struct hosted_worker *worker_of(const struct rfaas_client *client, uint64_t part,
                                       uint32_t number, uint32_t pid)
{
    struct hosted_lease *lease = rfaas_hosted_find(client->executor, part);
    if (!lease || lease->client != client)
        return NULL;
    number -= lease->terms.first_worker;
    if (number >= lease->worker_count || lease->workers[number].pid <= 0 ||
        lease->workers[number].pid != (pid_t)pid)
        return NULL;
    return &lease->workers[number];
}

static int on_worker_connect(struct rfaas_client *client, Rfaas__Message *m,
                             struct rfaas_received *received)
{
    const Rfaas__WorkerConnect *body = m->worker_connect;
    struct hosted_worker *worker =
        worker_of(client, body->part, body->worker, body->pid);
    if (worker && worker->connection)
        rfaas_connection_send(worker->connection, m, received->fds, received->fd_count);
    return RFAAS_OK;
}

/* The worker may have found out by itself; if not, a function that runs may end first:
 * there are some seconds for that. */
static int on_worker_cut_off(struct rfaas_client *client, Rfaas__Message *m)
{
    const Rfaas__WorkerCutOff *body = m->worker_cut_off;
    struct hosted_worker *worker =
        worker_of(client, body->part, body->worker, body->pid);
    if (worker && worker->connection && body->connection == worker->moves) {
        rfaas_worker_limit(client->executor, worker);
        rfaas_connection_send(worker->connection, m, NULL, 0);
    }
    return RFAAS_OK;
}

/* What it can't say of a worker that isn't its own, or has gone meanwhile. */
static int on_worker_kill(struct rfaas_client *client, const Rfaas__WorkerKill *body)
{
    struct hosted_worker *worker =
        worker_of(client, body->part, body->worker, body->pid);
    if (worker)
        rfaas_worker_kill(worker);
    return RFAAS_OK;
}

static void blob_free(struct rfaas_blob *blob)
{
    for (int i = 0; i < blob->fd_count; i++)
        close(blob->fds[i]);
}

static void memory_remove(struct rfaas_client *client, uint32_t key)
{
    struct client_memory *memory;
    LL_SEARCH_SCALAR(client->memories, memory, key, key);
    if (!memory)
        return;
    LL_DELETE(client->memories, memory);
    blob_free(&memory->blob);
    free(memory);
}

static int on_memory_add(struct rfaas_client *client, const Rfaas__MemoryAdd *body,
                         struct rfaas_received *received)
{
    struct client_memory *known;
    int count;
    LL_SEARCH_SCALAR(client->memories, known, key, body->key);
    LL_COUNT(client->memories, known, count);
    if (body->memory.len > RFAAS_BLOB_SIZE_MAX ||
        received->fd_count > RFAAS_BLOB_FDS_MAX || count >= CLIENT_MEMORIES_MAX)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "malformed memory");
    LL_SEARCH_SCALAR(client->memories, known, key, body->key);
    if (known)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "memory key %u is in use", body->key);
    struct client_memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "out of memory for a client's memory");
    memory->key = body->key;
    memory->blob.size = body->memory.len;
    if (body->memory.len > 0)
        memcpy(memory->blob.bytes, body->memory.data, body->memory.len);
    for (int i = 0; i < received->fd_count; i++) {
        memory->blob.fds[memory->blob.fd_count++] = received->fds[i];
        received->fds[i] = -1;
    }
    LL_APPEND(client->memories, memory);
    for_each_worker(client, send_memory, memory);
    return RFAAS_OK;
}

static int on_function_add(struct rfaas_client *client, const Rfaas__FunctionAdd *body)
{
    if (body->sha256.len != RFAAS_SHA256_SIZE || body->function == 0 ||
        body->function >= CLIENT_FUNCTIONS_MAX)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "malformed function");
    struct client_function *function = calloc(1, sizeof *function);
    if (!function)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "out of memory for a function");
    function->number = body->function;
    function->name = strdup(body->name);
    function->path = strdup(body->path);
    memcpy(function->sha256, body->sha256.data, RFAAS_SHA256_SIZE);
    if (!function->name || !function->path) {
        free(function->name);
        free(function->path);
        free(function);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "out of memory for a function");
    }
    LL_APPEND(client->functions, function);
    struct function_and_library found;
    if (library_ready(client, function, &found))
        for_each_worker(client, send_function, &found);
    return RFAAS_OK;
}

static int on_library_bytes(struct rfaas_client *client,
                            const Rfaas__LibraryBytes *body)
{
    if (body->sha256.len != RFAAS_SHA256_SIZE)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "malformed library");
    int status = rfaas_library_keep(&client->executor->libraries, body->sha256.data,
                                    body->content.data, body->content.len);
    if (status != RFAAS_OK) {
        rfaas_warn("%s", rfaas_last_error());
        Rfaas__LibraryRefused refused = RFAAS__LIBRARY_REFUSED__INIT;
        refused.sha256 = body->sha256;
        refused.reason = (char *)(uintptr_t)rfaas_last_error();
        Rfaas__Message message = RFAAS__MESSAGE__INIT;
        message.body_case = RFAAS__MESSAGE__BODY_LIBRARY_REFUSED;
        message.library_refused = &refused;
        rfaas_connection_send(client->connection, &message, NULL, 0);
        return RFAAS_OK;
    }
    struct client_function *function;
    struct function_and_library found;
    LL_FOREACH(client->functions, function)
        if (function->wanted &&
            memcmp(function->sha256, body->sha256.data, RFAAS_SHA256_SIZE) == 0 &&
            library_ready(client, function, &found)) {
            function->wanted = false;
            for_each_worker(client, send_function, &found);
        }
    return RFAAS_OK;
}

static int on_usage_query(struct rfaas_client *client, const Rfaas__Message *m)
{
    Rfaas__UsageReport report = RFAAS__USAGE_REPORT__INIT;
    report.lease = m->usage_query->lease;
    struct hosted_lease *lease, *next;
    HASH_ITER(hh, client->executor->leases, lease, next)
        if (lease->id == report.lease && lease->client == client)
            rfaas_hosted_usage(client->executor, lease, &report.execute_ns,
                               &report.hot_ns);
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.call = m->call;
    message.body_case = RFAAS__MESSAGE__BODY_USAGE_REPORT;
    message.usage_report = &report;
    rfaas_connection_send(client->connection, &message, NULL, 0);
    return RFAAS_OK;
}

static int handle(struct rfaas_client *client, struct rfaas_received *received)
{
    Rfaas__Message *m = received->message;
    switch (m->body_case) {
    case RFAAS__MESSAGE__BODY_LEASE_OPEN:
        return on_lease_open(client, m->lease_open);
    case RFAAS__MESSAGE__BODY_WORKER_CONNECT:
        return on_worker_connect(client, m, received);
    case RFAAS__MESSAGE__BODY_WORKER_CUT_OFF:
        return on_worker_cut_off(client, m);
    case RFAAS__MESSAGE__BODY_WORKER_KILL:
        return on_worker_kill(client, m->worker_kill);
    case RFAAS__MESSAGE__BODY_MEMORY_ADD:
        return on_memory_add(client, m->memory_add, received);
    case RFAAS__MESSAGE__BODY_MEMORY_REMOVE:
        memory_remove(client, m->memory_remove->key);
        for_each_worker(client, send_memory_remove, m);
        return RFAAS_OK;
    case RFAAS__MESSAGE__BODY_FUNCTION_ADD:
        return on_function_add(client, m->function_add);
    case RFAAS__MESSAGE__BODY_LIBRARY_BYTES:
        return on_library_bytes(client, m->library_bytes);
    case RFAAS__MESSAGE__BODY_USAGE_QUERY:
        return on_usage_query(client, m);
    default:
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "a message that clients don't send");
    }
}

/* ---- connections ----------------------------------------------------------------- */

void rfaas_client_free(struct rfaas_client *client)
{
    struct rfaas_executor *executor = client->executor;
    DL_DELETE(executor->clients, client);
    struct hosted_lease *lease, *next_lease;
    HASH_ITER(hh, executor->leases, lease, next_lease) {
        if (lease->client != client)
            continue;
        lease->client = NULL;
        rfaas_hosted_end(executor, lease, RFAAS__LEASE_END__LEASE_END_CLIENT_LOST);
    }
    while (client->memories)
        memory_remove(client, client->memories->key);
    struct client_function *function, *next;
    LL_FOREACH_SAFE(client->functions, function, next) {
        free(function->name);
        free(function->path);
        free(function);
    }
    rfaas_connection_free(client->connection);
    free(client);
}

static void on_message(struct rfaas_connection *connection,
                       struct rfaas_received *received, void *arg)
{
    struct rfaas_client *client = arg;
    if (handle(client, received) == RFAAS_OK)
        return;
    rfaas_warn("%s: %s: connection closed", rfaas_connection_name(connection),
               rfaas_last_error());
    rfaas_client_free(client);
}

static void on_closed(struct rfaas_connection *connection, int status, void *arg)
{
    (void)status;
    rfaas_info("%s has gone", rfaas_connection_name(connection));
    rfaas_client_free(arg);
}

static const struct rfaas_connection_calls client_calls = {
    .message = on_message,
    .closed = on_closed,
};

void rfaas_clients_accept(struct rfaas_stream *stream, Rfaas__Role role,
                          const char *name, void *arg)
{
    struct rfaas_executor *executor = arg;
    struct rfaas_client *client = NULL;
    if (role != RFAAS__ROLE__ROLE_CLIENT) {
        rfaas_warn("%s comes as no client: refused", name);
        goto refuse;
    }
    client = calloc(1, sizeof *client);
    if (!client || rfaas_connection_new(executor->base, stream, name, &client_calls,
                                        client, &client->connection) != RFAAS_OK) {
        rfaas_error("%s: out of memory", name);
        goto refuse;
    }
    client->executor = executor;
    rfaas_stream_limit(stream, RFAAS_MESSAGE_MAX);
    DL_APPEND(executor->clients, client);
    return;
refuse:
    free(client);
    rfaas_stream_free(stream);
}
