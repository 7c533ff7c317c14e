/* The least that a round trip takes of which both sides are told by a completion: two
 * processes write to each other with immediate, and do nothing else. The second one polls
 * (hot), or sleeps until the completion channel says that something has come (warm). For
 * bench/rdma; a line each, whose MEMORY is `bare`. */
#include "samples.h"

#include <infiniband/verbs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage_text[] = "Usage: verbs_round_trips DEVICE GID_INDEX BYTES...\n"
                                 "Measures writes with immediate there and back, to a "
                                 "peer that polls and to one that "
                                 "sleeps.\n";

enum { DEPTH = 8, PORT = 1, INLINE_MAX = 220, TIME_LIMIT_S = 60 };

/* What each side tells the other; in memory that they share. */
struct side {
    uint32_t queue_pair, key;
    uint64_t address;
    union ibv_gid gid;
    _Atomic int step;
};

static struct {
    struct side *own, *peer;
    struct ibv_comp_channel *channel;
    struct ibv_cq *queue;
    struct ibv_qp *pair;
    struct ibv_mr *region;
    unsigned sent, received;
} with;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "verbs_round_trips: %s: %m\n", what);
    exit(1);
}

/* ---- connecting ------------------------------------------------------------------ */

static void step(int number)
{
    /* Release and acquire: what was written before the step is seen after it. */
    atomic_store_explicit(&with.own->step, number, memory_order_release);
    while (atomic_load_explicit(&with.peer->step, memory_order_acquire) < number)
        sched_yield();
}

static struct ibv_context *device_open(const char *name)
{
    int count;
    struct ibv_device **devices = ibv_get_device_list(&count);
    check(devices != NULL, "listing devices");
    for (int i = 0; i < count; i++)
        if (strcmp(ibv_get_device_name(devices[i]), name) == 0)
            return ibv_open_device(devices[i]);
    return NULL;
}

static void create(const char *device, int gid_index, size_t size)
{
    struct ibv_context *context = device_open(device);
    check(context != NULL, device);
    struct ibv_pd *domain = ibv_alloc_pd(context);
    check(domain != NULL, "ibv_alloc_pd");
    void *memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    check(memory != MAP_FAILED, "mmap");
    with.region = ibv_reg_mr(domain, memory, 2 * size,
                             IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    check(with.region != NULL, "ibv_reg_mr");
    with.channel = ibv_create_comp_channel(context);
    check(with.channel != NULL, "ibv_create_comp_channel");
    with.queue = ibv_create_cq(context, 4 * DEPTH, NULL, with.channel, 0);
    check(with.queue != NULL, "ibv_create_cq");
    struct ibv_qp_init_attr attributes = {
        .send_cq = with.queue,
        .recv_cq = with.queue,
        .qp_type = IBV_QPT_RC,
        .cap = {2 * DEPTH, 2 * DEPTH, 1, 1, INLINE_MAX},
    };
    with.pair = ibv_create_qp(domain, &attributes);
    check(with.pair != NULL, "ibv_create_qp");
    with.own->queue_pair = with.pair->qp_num;
    with.own->key = with.region->rkey;
    with.own->address = (uintptr_t)memory;
    check(ibv_query_gid(context, PORT, gid_index, &with.own->gid) == 0,
          "ibv_query_gid");
}

static void connect_pair(int gid_index)
{
    struct ibv_port_attr port;
    check(ibv_query_port(with.pair->context, PORT, &port) == 0, "ibv_query_port");
    struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT,
                               .port_num = PORT,
                               .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    struct ibv_qp_attr receive = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = port.active_mtu,
        .dest_qp_num = with.peer->queue_pair,
        .min_rnr_timer = 12,
        .ah_attr = {.port_num = PORT,
                    .is_global = 1,
                    .grh = {.dgid = with.peer->gid,
                            .sgid_index = (uint8_t)gid_index,
                            .hop_limit = 64}},
    };
    struct ibv_qp_attr send = {
        .qp_state = IBV_QPS_RTS, .timeout = 16, .retry_cnt = 6, .rnr_retry = 7};
    check(ibv_modify_qp(with.pair, &init,
                        IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
                            IBV_QP_ACCESS_FLAGS) == 0,
          "to init");
    check(ibv_modify_qp(with.pair, &receive,
                        IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                            IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                            IBV_QP_MIN_RNR_TIMER) == 0,
          "to receive");
    check(ibv_modify_qp(with.pair, &send,
                        IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                            IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                            IBV_QP_MAX_QP_RD_ATOMIC) == 0,
          "to send");
}

/* ---- messages -------------------------------------------------------------------- */

static void receives_post(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct ibv_recv_wr request = {0}, *bad;
        check(ibv_post_recv(with.pair, &request, &bad) == 0, "ibv_post_recv");
    }
}

static void message_send(size_t size)
{
    struct ibv_sge piece = {.addr = (uintptr_t)with.region->addr + size,
                            .length = (uint32_t)size,
                            .lkey = with.region->lkey};
    struct ibv_send_wr *bad,
        request = {
            .sg_list = &piece,
            .num_sge = 1,
            .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
            .send_flags = (size <= INLINE_MAX ? IBV_SEND_INLINE : 0) |
                          (++with.sent % DEPTH == 0 ? IBV_SEND_SIGNALED : 0),
            .wr.rdma = {.remote_addr = with.peer->address, .rkey = with.peer->key},
        };
    check(ibv_post_send(with.pair, &request, &bad) == 0, "ibv_post_send");
}

/* Whether a message has come; if not, the queue is empty. */
static bool message_poll(void)
{
    struct ibv_wc entry;
    int n;
    do {
        n = ibv_poll_cq(with.queue, 1, &entry);
        check(n >= 0 && (n == 0 || entry.status == IBV_WC_SUCCESS),
              "a completion failed");
    } while (n > 0 && !(entry.opcode & IBV_WC_RECV));
    if (n == 0)
        return false;
    if (++with.received % DEPTH == 0)
        receives_post(DEPTH);
    return true;
}

/* As a worker does it: asks to be told, looks once more, sleeps. */
static void message_sleep(void)
{
    struct ibv_cq *queue;
    void *context;
    struct pollfd fd = {.fd = with.channel->fd, .events = POLLIN};
    check(ibv_req_notify_cq(with.queue, 0) == 0, "ibv_req_notify_cq");
    while (!message_poll()) {
        check(poll(&fd, 1, -1) == 1, "poll");
        if (message_poll())
            break;
        check(ibv_get_cq_event(with.channel, &queue, &context) == 0, "an event");
        ibv_ack_cq_events(queue, 1);
        check(ibv_req_notify_cq(with.queue, 0) == 0, "ibv_req_notify_cq");
    }
}

/* ---- both sides ------------------------------------------------------------------ */

/* Events that came behind the message that they told of. */
static void events_take(void)
{
    struct pollfd fd = {.fd = with.channel->fd, .events = POLLIN};
    struct ibv_cq *queue;
    void *context;
    while (poll(&fd, 1, 0) == 1 &&
           ibv_get_cq_event(with.channel, &queue, &context) == 0)
        ibv_ack_cq_events(queue, 1);
}

static void answer(size_t size, size_t samples, bool warm)
{
    for (size_t i = 0; i < samples; i++) {
        if (warm)
            message_sleep();
        else
            while (!message_poll())
                continue;
        message_send(size);
        if (warm)
            events_take();
    }
}

static void ask(size_t size, size_t samples, bool warm)
{
    static double times[SAMPLES_MAX];
    for (size_t i = 0; i < samples; i++) {
        if (warm)
            pause_awake();
        double start = now_ns();
        message_send(size);
        while (!message_poll())
            continue;
        times[i] = now_ns() - start;
    }
    samples_print(warm ? "warm" : "hot", "bare", size, times, samples);
}

static void bind(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    check(sched_setaffinity(0, sizeof set, &set) == 0, "binding to a CPU");
}

/* One process asks, on CPU 0, the other answers, on CPU 1, as in bench/rdma. */
static void measure(const char *device, int gid_index, size_t size, bool warm)
{
    struct side *sides = mmap(NULL, 2 * sizeof *sides, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(sides != MAP_FAILED, "mmap");
    pid_t parent = getpid(), child = fork();
    check(child >= 0, "fork");
    if (child == 0) /* who is waited for in vain ends the other */
        check(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent, "prctl");
    alarm(TIME_LIMIT_S); /* the end of all waits, should the other one be lost */
    bind(child == 0);
    with.own = &sides[child == 0];
    with.peer = &sides[child != 0];
    create(device, gid_index, size);
    step(1);
    connect_pair(gid_index);
    receives_post(2 * DEPTH);
    step(2);
    size_t samples = samples_of(size, warm);
    if (child == 0) {
        answer(size, samples, warm);
        step(3);
        _exit(0);
    }
    ask(size, samples, warm);
    step(3);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs(usage_text, stderr);
        return 2;
    }
    for (int warm = 0; warm < 2; warm++)
        for (int i = 3; i < argc; i++) {
            /* A process of its own for each, so that nothing is left of the last. */
            pid_t child = fork();
            check(child >= 0, "fork");
            if (child == 0) {
                measure(argv[1], atoi(argv[2]), strtoul(argv[i], NULL, 0), warm);
                exit(0);
            }
            int status;
            check(waitpid(child, &status, 0) == child, "waitpid");
            if (WIFSIGNALED(status))
                fprintf(stderr, "verbs_round_trips: %s bytes: signal %d\n", argv[i],
                        WTERMSIG(status));
            if (status != 0)
                return 1;
        }
    return 0;
}
