/* Pools: a manager in rank 0, executors on the nodes, a session in every rank. */
#include "mpi/mpix.h"
#include "mpi/settings.h"

#include "base/error.h"
#include "base/log.h"
#include "control/dial.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pools that are left when MPI is finalized are freed then, by an attribute of
 * MPI_COMM_SELF: its delete function is the first thing that MPI_Finalize calls. */
static int finalize_key = MPI_KEYVAL_INVALID;
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;
static MPIX_Pool pools; /* of this process */

static int on_finalize(MPI_Comm comm, int key, void *value, void *state)
{
    (void)comm;
    (void)key;
    (void)value;
    (void)state;
    while (pools) {
        MPIX_Pool pool = pools;
        PMPIX_Pool_free(&pool);
    }
    return MPI_SUCCESS;
}

static int finalize_hook(void)
{
    int code = MPI_SUCCESS;
    pthread_mutex_lock(&pools_mutex);
    if (finalize_key == MPI_KEYVAL_INVALID) {
        code = MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, on_finalize, &finalize_key,
                                      NULL);
        if (code == MPI_SUCCESS)
            code = MPI_Comm_set_attr(MPI_COMM_SELF, finalize_key, NULL);
    }
    pthread_mutex_unlock(&pools_mutex);
    return code;
}

static void pools_add(MPIX_Pool pool)
{
    pthread_mutex_lock(&pools_mutex);
    pool->next_pool = pools;
    pools = pool;
    pthread_mutex_unlock(&pools_mutex);
}

static void pools_remove(MPIX_Pool pool)
{
    pthread_mutex_lock(&pools_mutex);
    for (MPIX_Pool *other = &pools; *other; other = &(*other)->next_pool)
        if (*other == pool) {
            *other = pool->next_pool;
            break;
        }
    pthread_mutex_unlock(&pools_mutex);
}

/* ---- creating -------------------------------------------------------------------- */

/* Where this rank is. */
struct place {
    MPI_Comm node;   /* the ranks of its node */
    bool others;     /* there are other nodes */
    bool of_manager; /* rank 0 is on this one */
};

/* What rank 0 tells the others. */
struct invitation {
    int status;
    char address[RFAAS_CONFIG_STRING_MAX];
    char network_address[RFAAS_CONFIG_STRING_MAX]; /* for other nodes; "": the same */
    char key_file[RFAAS_CONFIG_STRING_MAX];
    struct rfaas_key key;
    int executors; /* whether they are to be started */
};

/* The key that a manager elsewhere offers to its user. */
static int key_learn(const char *address, struct rfaas_key *key)
{
    struct rfaas_stream *stream;
    int status = rfaas_connect(address, "manager", NULL, RFAAS__ROLE__ROLE_CLIENT,
                               "rank 0", RFAAS_HANDSHAKE_MESSAGE_MAX, key, &stream);
    if (status == RFAAS_OK)
        rfaas_stream_free(stream);
    return status;
}

/* In rank 0: starts the manager, for other nodes too if there are some or the user wants
 * it. */
static int manager_start(MPIX_Pool pool, bool others, struct invitation *invitation)
{
    struct rfaas_config *config = &pool->config;
    const char *listen = config->listen;
    if (strcmp(listen, "auto") == 0)
        listen = others ? "tcp" : "";
    int status = rfaas_manager_start("", listen, &pool->key, &pool->manager);
    if (status != RFAAS_OK)
        return status;
    snprintf(config->manager_address, sizeof config->manager_address, "%s",
             rfaas_manager_address(pool->manager));
    if (config->key_file[0] == '\0')
        snprintf(config->key_file, sizeof config->key_file, "%s",
                 rfaas_manager_key_file(pool->manager));
    snprintf(invitation->network_address, sizeof invitation->network_address, "%s",
             rfaas_manager_network_address(pool->manager));
    return RFAAS_OK;
}

/* In rank 0: starts the manager, or takes the one that is named. */
static int invite(MPIX_Pool pool, bool others, struct invitation *invitation)
{
    struct rfaas_config *config = &pool->config;
    int status;
    invitation->executors = strcmp(config->executors, "auto") == 0;
    if (config->key_file[0] != '\0')
        status = rfaas_key_read(config->key_file, &pool->key);
    else if (config->manager_address[0] == '\0')
        status = rfaas_key_create(&pool->key);
    else
        status = key_learn(config->manager_address, &pool->key);
    if (status == RFAAS_OK && config->manager_address[0] == '\0')
        status = manager_start(pool, others, invitation);
    invitation->key = pool->key;
    snprintf(invitation->address, sizeof invitation->address, "%s",
             config->manager_address);
    snprintf(invitation->key_file, sizeof invitation->key_file, "%s", config->key_file);
    return status;
}

/* Whether all ranks are well; otherwise the first error that one of them has met is
 * the error of all. */
static int agree(MPI_Comm comm, int status)
{
    struct {
        int bad, rank;
    } mine = {.bad = status != RFAAS_OK}, worst;
    char text[256];
    MPI_Comm_rank(comm, &mine.rank);
    int code = MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, comm);
    if (code != MPI_SUCCESS)
        return rfaas_fail(RFAAS_ERR_IO, "pool: agreeing with the other ranks failed");
    if (!worst.bad)
        return RFAAS_OK;
    if (mine.rank == worst.rank)
        snprintf(text, sizeof text, "rank %d: %s", mine.rank, rfaas_last_error());
    MPI_Bcast(&status, 1, MPI_INT, worst.rank, comm);
    MPI_Bcast(text, sizeof text, MPI_CHAR, worst.rank, comm);
    return rfaas_fail(status, "%s", text);
}

static int find_place(MPI_Comm comm, struct place *place)
{
    int rank, size, node_size, status = RFAAS_OK;
    if (MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                            &place->node) != MPI_SUCCESS) {
        place->node = MPI_COMM_NULL;
        status = rfaas_fail(RFAAS_ERR_IO, "pool: finding the ranks of a node failed");
    }
    status = agree(comm, status);
    if (status != RFAAS_OK)
        return status;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    MPI_Comm_size(place->node, &node_size);
    MPI_Bcast(&rank, 1, MPI_INT, 0, place->node); /* its first is the lowest */
    place->others = node_size < size;
    place->of_manager = rank == 0;
    return RFAAS_OK;
}

/* What this node's executor is to listen at. Where others reach the manager, they reach
 * the executor beside it; on other nodes the executor finds out itself (auto). */
static void choose_listen(MPIX_Pool pool, const struct place *place,
                          const char *network_address)
{
    const char *port = strrchr(network_address, ':');
    if (!port)
        strcpy(pool->listen, pool->config.listen);
    else if (place->of_manager)
        snprintf(pool->listen, sizeof pool->listen, "%.*s:0",
                 (int)(port - network_address), network_address);
    else
        strcpy(pool->listen, "auto");
}

static int set_up_manager(MPIX_Pool pool, const struct place *place,
                          struct invitation *invitation)
{
    int rank;
    MPI_Comm_rank(pool->comm, &rank);
    if (rank == 0)
        invitation->status = invite(pool, place->others, invitation);
    int status = agree(pool->comm, invitation->status);
    if (status != RFAAS_OK)
        return status;
    MPI_Bcast(invitation, sizeof *invitation, MPI_BYTE, 0, pool->comm);
    bool by_network = invitation->network_address[0] != '\0' && !place->of_manager;
    pool->key = invitation->key;
    strcpy(pool->config.manager_address,
           by_network ? invitation->network_address : invitation->address);
    strcpy(pool->config.key_file, invitation->key_file);
    choose_listen(pool, place, invitation->network_address);
    return RFAAS_OK;
}

static int set_up_session(MPIX_Pool pool)
{
    int level, status;
    MPI_Query_thread(&level);
    strcpy(pool->config.threads, level == MPI_THREAD_MULTIPLE ? "multiple" : "single");
    status = rfaas_session_open_config(&pool->config, &pool->key, &pool->session);
    status = agree(pool->comm, status);
    if (status != RFAAS_OK)
        return status;
    if (pool->session->device_count == 1) /* what `auto` came to */
        snprintf(pool->config.transport, sizeof pool->config.transport, "%s",
                 pool->session->devices[0].transport->name);
    return agree(pool->comm, mpix_progress_add(pool));
}

static void tear_down(MPIX_Pool pool)
{
    mpix_progress_remove(pool);
    rfaas_session_close(pool->session);
    /* Nobody may find the manager gone who doesn't expect it. */
    MPI_Barrier(pool->comm);
    rfaas_manager_stop(pool->manager);
    mpix_loans_end(pool);
    mpix_launch_end(pool);
    MPI_Barrier(pool->comm);
    MPI_Comm_free(&pool->comm);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

static int settings_load(MPI_Info info, struct rfaas_config *config)
{
    struct mpix_settings settings;
    if (mpix_settings_read(info, &settings) != MPI_SUCCESS)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "pool: the info object can't be read");
    int status = rfaas_config_load(config, NULL, settings.list);
    mpix_settings_free(&settings);
    if (status == RFAAS_OK)
        rfaas_log_start("client", (enum rfaas_log_level)config->log_level);
    return status;
}

static int create(MPIX_Pool pool, MPI_Info info)
{
    struct place place = {.node = MPI_COMM_NULL};
    struct invitation invitation = {.status = RFAAS_OK};
    int status = agree(pool->comm, settings_load(info, &pool->config));
    if (status == RFAAS_OK)
        status = find_place(pool->comm, &place);
    if (status == RFAAS_OK)
        status = set_up_manager(pool, &place, &invitation);
    if (status == RFAAS_OK && invitation.executors)
        status = agree(pool->comm, mpix_launch(pool, place.node));
    if (status == RFAAS_OK)
        status = set_up_session(pool);
    if (place.node != MPI_COMM_NULL)
        MPI_Comm_free(&place.node);
    /* What is told to others has to be right for them. */
    if (status == RFAAS_OK && invitation.network_address[0] != '\0')
        strcpy(pool->config.manager_address, invitation.network_address);
    explicit_bzero(&invitation.key, sizeof invitation.key);
    return status;
}

MPIX_DEFINE(Pool_create, (MPI_Comm comm, MPI_Info info, MPIX_Pool *pool))
{
    int inter = 1;
    if (comm == MPI_COMM_NULL || MPI_Comm_test_inter(comm, &inter) != MPI_SUCCESS ||
        inter)
        return mpix_refuse(NULL, MPI_ERR_COMM,
                           "MPIX_Pool_create: not an intracommunicator");
    if (!pool)
        return mpix_raise(comm, mpix_code(MPI_ERR_ARG, "MPIX_Pool_create: where to put "
                                                       "the handle is null"));
    MPIX_Pool p = calloc(1, sizeof *p);
    if (!p)
        return mpix_raise(comm,
                          mpix_code(MPI_ERR_NO_MEM, "MPIX_Pool_create: out of memory"));
    pthread_mutex_init(&p->mutex, NULL);
    int code = mpix_errors_start();
    if (code == MPI_SUCCESS)
        code = finalize_hook();
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(comm, &p->comm);
    if (code != MPI_SUCCESS) {
        free(p);
        return mpix_raise(comm, code);
    }
    int status = create(p, info);
    if (status != RFAAS_OK) {
        code = status == RFAAS_ERR_ARGUMENT /* one of the settings */
                   ? mpix_code(MPI_ERR_INFO_VALUE, "%s", rfaas_last_error())
                   : mpix_error_code(status, rfaas_last_error());
        tear_down(p);
        return mpix_raise(comm, code);
    }
    p->origin = rfaas_tick_origin_now();
    pools_add(p);
    *pool = p;
    return MPI_SUCCESS;
}

/* ---- freeing --------------------------------------------------------------------- */

MPIX_DEFINE(Pool_free, (MPIX_Pool * pool))
{
    if (!pool || !*pool)
        return mpix_refuse(NULL, MPI_ERR_ARG, "MPIX_Pool_free: the pool is null");
    MPIX_Pool p = *pool;
    pools_remove(p);
    for (struct mpix_lease *lease = p->leases; lease; lease = lease->next)
        rfaas_lease_release(mpix_lease_take(lease));
    mpix_acquisitions_poll(p);
    mpix_loops_abandon(p);
    struct mpix_lease *leases = p->leases, *next_lease;
    struct mpix_function *functions = p->functions, *next_function;
    tear_down(p);
    for (; leases; leases = next_lease) {
        next_lease = leases->next;
        free(leases);
    }
    for (; functions; functions = next_function) {
        next_function = functions->next;
        pthread_mutex_destroy(&functions->mutex);
        free(functions);
    }
    *pool = MPIX_POOL_NULL;
    return MPI_SUCCESS;
}

/* ---- using ----------------------------------------------------------------------- */

MPIX_DEFINE(Pool_get_info, (MPIX_Pool pool, MPI_Info *info_used))
{
    char value[RFAAS_CONFIG_STRING_MAX];
    if (!pool || !info_used)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Pool_get_info: %s is null",
                           pool ? "where to put the info object" : "the pool");
    MPI_Info info;
    int code = MPI_Info_create(&info);
    if (code != MPI_SUCCESS)
        return mpix_raise(pool->comm, code);
    for (size_t i = 0; i < rfaas_config_key_count() && code == MPI_SUCCESS; i++) {
        rfaas_config_format(&pool->config, i, value, sizeof value);
        if (value[0] != '\0') /* MPI has no empty values */
            code = MPI_Info_set(info, rfaas_config_key_at(i)->name, value);
    }
    if (code != MPI_SUCCESS) {
        MPI_Info_free(&info);
        return mpix_raise(pool->comm, code);
    }
    *info_used = info;
    return MPI_SUCCESS;
}

MPIX_DEFINE(Pool_get_stats, (MPIX_Pool pool, MPIX_Pool_stats *stats))
{
    struct rfaas_pool_stats s;
    if (!pool || !stats)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Pool_get_stats: %s is null",
                           pool ? "where to put them" : "the pool");
    int status = rfaas_pool_stats(pool->session, &s);
    if (status != RFAAS_OK)
        return mpix_raise_status(pool, status);
    *stats = (MPIX_Pool_stats){.executors = s.executors,
                               .cores = s.cores,
                               .leased = s.leased,
                               .queued = s.queued};
    return MPI_SUCCESS;
}

MPIX_DEFINE(Pool_alloc_mem, (MPI_Aint size, MPIX_Pool pool, void *baseptr))
{
    if (!pool || !baseptr)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Pool_alloc_mem: %s is null",
                           pool ? "where to put the address" : "the pool");
    if (size < 0)
        return mpix_refuse(pool, MPI_ERR_SIZE, "MPIX_Pool_alloc_mem: %lld bytes",
                           (long long)size);
    /* As MPI_Alloc_mem, something to be freed even for nothing. */
    int status = rfaas_alloc(pool->session, size > 0 ? (size_t)size : 1, baseptr);
    return status == RFAAS_OK ? MPI_SUCCESS : mpix_raise_status(pool, status);
}

MPIX_DEFINE(Pool_free_mem, (MPIX_Pool pool, void *base))
{
    if (!pool)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Pool_free_mem: the pool is null");
    if (!base || rfaas_free(pool->session, base) != RFAAS_OK)
        return mpix_refuse(pool, MPI_ERR_BASE,
                           "MPIX_Pool_free_mem: %p is not from MPIX_Pool_alloc_mem",
                           base);
    return MPI_SUCCESS;
}
