/* The worker's loop: see an invocation, run it on the input where it lies, write the
 * output back. Control messages are looked at when there is nothing to run, and when
 * an invocation refers to something that they have still to bring. */
#include "executor/worker_state.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/invocation.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    /* Polls between looks at clock and control socket while spinning. Some 10 us. */
    SPINS_PER_LOOK = 512,
    /* Invocations after which the control socket is looked at in any case. */
    BUSY_LOOK = 4096,
    /* How long an invocation waits for its function, whose library the executor may still
     * have to get: 255 MiB at most, and from another node. */
    FUNCTION_TIMEOUT_MS = 30000,
};

struct rfaas_worker rfaas_worker;

/* ---- faults ---------------------------------------------------------------------- */

/* A function that runs into the guard behind its output gets the error of a result
 * that is too large; this process, whose state is anybody's guess then, ends, and the
 * executor starts another. The fault is in the function, so the transport is in order
 * and may be used here. Every other fault takes its usual course. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    if (rfaas_worker.running &&
        rfaas_output_guards(&rfaas_worker.output, info->si_addr)) {
        rfaas_worker.transport->write(
            rfaas_worker.client, NULL, 0, NULL, 0, 0,
            rfaas_answer(rfaas_worker.tag, RFAAS_ERR_TRUNCATE));
        rfaas_worker.transport->flush(rfaas_worker.client, true);
        atomic_store_explicit(&rfaas_worker.page->executing, 0, memory_order_relaxed);
        _exit(0);
    }
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(signal, &standard, NULL);
}

static int faults_catch(void)
{
    /* A stack of its own: the fault may be a stack overflow. */
    static unsigned char stack[64 * 1024];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaltstack(&alternate, NULL) < 0 || sigaction(SIGSEGV, &action, NULL) < 0 ||
        sigaction(SIGBUS, &action, NULL) < 0)
        return rfaas_fail(RFAAS_ERR_IO, "worker: catching faults: %m");
    return RFAAS_OK;
}

/* ---- invocations ----------------------------------------------------------------- */

/* A function or memory that is not known yet may be in a control message that the
 * client sent before the invocation, but by another way. */
static const struct rfaas_loaded_function *function_await(uint32_t number)
{
    const struct rfaas_loaded_function *f;
    uint64_t end = rfaas_clock_ns() + FUNCTION_TIMEOUT_MS * 1000000ull;
    while (!(f = rfaas_functions_find(&rfaas_worker.functions, number)) &&
           rfaas_clock_ns() < end)
        rfaas_worker_control(1000);
    return f;
}

static const void *memory_await(const struct rfaas_input_reference *r)
{
    const void *input;
    uint64_t end = rfaas_clock_ns() + RFAAS_CONTROL_TIMEOUT_MS * 1000000ull;
    while (!(input = rfaas_worker.transport->map(rfaas_worker.client, r->address,
                                                 r->size, r->key)) &&
           rfaas_clock_ns() < end)
        rfaas_worker_control(100);
    return input;
}

/* Room for input that has to be fetched; kept for the next. */
static void *fetch_room(size_t size)
{
    struct rfaas_memory **room = &rfaas_worker.fetched;
    if (*room && (*room)->size >= size)
        return (*room)->base;
    if (*room)
        rfaas_worker.transport->memory_free(rfaas_worker.device, *room);
    *room = NULL;
    if (rfaas_worker.transport->memory_alloc(rfaas_worker.device, size, room) !=
        RFAAS_OK)
        return NULL;
    return (*room)->base;
}

static int input_fetch(const struct rfaas_input_reference *r, const void **input)
{
    void *room = fetch_room(r->size);
    uint64_t end = rfaas_clock_ns() + RFAAS_CONTROL_TIMEOUT_MS * 1000000ull;
    int status;
    *input = room;
    if (!room)
        return RFAAS_ERR_NO_MEMORY;
    while ((status = rfaas_worker.transport->read(rfaas_worker.client, room, r->size,
                                                  r->address, r->key)) ==
               RFAAS_ERR_ARGUMENT &&
           rfaas_clock_ns() < end)
        rfaas_worker_control(100);
    return status == RFAAS_ERR_ARGUMENT ? RFAAS_ERR_PROTOCOL : status;
}

/* Classic functions may write to their input: not to the caller's own, then. */
static const void *input_copy(const void *input, size_t size)
{
    if (size > rfaas_worker.copy_size) {
        unsigned char *copy = realloc(rfaas_worker.copy, size);
        if (!copy)
            return NULL;
        rfaas_worker.copy = copy;
        rfaas_worker.copy_size = size;
    }
    return memcpy(rfaas_worker.copy, input, size);
}

/* Finds the input of the invocation in a slot. */
static int input_find(unsigned char *slot, size_t length, uint32_t function,
                      struct rfaas_call *call)
{
    size_t header = sizeof(struct rfaas_invocation_header);
    if (!(function & RFAAS_INPUT_BY_REFERENCE)) {
        call->in = slot + header;
        call->in_size = length - header;
        return RFAAS_OK;
    }
    struct rfaas_input_reference reference;
    if (length != header + sizeof reference)
        return RFAAS_ERR_PROTOCOL;
    memcpy(&reference, slot + header, sizeof reference);
    call->in_size = reference.size;
    if (!rfaas_worker.transport->common_memory)
        return input_fetch(&reference, &call->in);
    call->in = memory_await(&reference);
    return call->in ? RFAAS_OK : RFAAS_ERR_PROTOCOL;
}

/* Where the function writes. A device sends the output from there, if it can: then the
 * last one has to be gone. */
static int output_place(size_t capacity, void **place)
{
    const struct rfaas_transport *transport = rfaas_worker.transport;
    struct rfaas_output *output = &rfaas_worker.output;
    struct rfaas_memory **sent_from = &rfaas_worker.output_memory;
    int status = transport->common_memory ? RFAAS_OK : rfaas_output_delivered();
    if (status != RFAAS_OK)
        return status;
    *place = rfaas_output_prepare(output, capacity);
    if (!*place)
        return RFAAS_ERR_NO_MEMORY;
    if (transport->common_memory || (*sent_from && (*sent_from)->base == output->area &&
                                     (*sent_from)->size == output->usable))
        return RFAAS_OK;
    if (*sent_from)
        transport->memory_free(rfaas_worker.device, *sent_from);
    *sent_from = NULL;
    status = transport->memory_register(rfaas_worker.device, output->area,
                                        output->usable, RFAAS_ACCESS_READ, sent_from);
    return status == RFAAS_OK ? RFAAS_OK : RFAAS_ERR_NO_MEMORY;
}

/* Calls the function; its answer, or why there is none. */
static int run(const struct rfaas_loaded_function *f, struct rfaas_call *call,
               bool referenced)
{
    bool classic = f->callable.classic != NULL;
    if (classic && call->in_size > UINT32_MAX)
        return RFAAS_ERR_ARGUMENT;
    if (classic && referenced && rfaas_worker.transport->common_memory) {
        call->in = input_copy(call->in, call->in_size);
        if (!call->in)
            return RFAAS_ERR_NO_MEMORY;
    }
    rfaas_worker.running = 1;
    int status = rfaas_callable_call(&f->callable, call);
    rfaas_worker.running = 0;
    if (call->out_size > rfaas_worker.output.capacity ||
        !rfaas_output_intact(&rfaas_worker.output))
        return RFAAS_ERR_TRUNCATE;
    return status >= 0 && status <= INT16_MAX ? status : RFAAS_ERR_FUNCTION;
}

/* RFAAS_ERR_IO: the connection has failed, and the function hasn't begun. */
static int execute(unsigned char *slot, size_t length,
                   const struct rfaas_invocation_header *header,
                   struct rfaas_call *call)
{
    uint32_t number = header->function & ~RFAAS_INPUT_BY_REFERENCE;
    const struct rfaas_loaded_function *found =
        rfaas_functions_find(&rfaas_worker.functions, number);
    if (!found)
        found = function_await(number);
    if (!found || found->state == RFAAS_FUNCTION_BROKEN)
        return RFAAS_ANSWER_NOT_LOADED;
    struct rfaas_loaded_function f = *found; /* the table may move below */
    int status = input_find(slot, length, header->function, call);
    if (status != RFAAS_OK)
        return status;
    status = output_place(header->out_capacity, &call->out);
    if (status != RFAAS_OK)
        return status;
    return run(&f, call, header->function & RFAAS_INPUT_BY_REFERENCE);
}

static void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    /* One writer: no read-modify-write needed. */
    atomic_store_explicit(counter,
                          atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void handle(const struct rfaas_completion *c)
{
    unsigned number = rfaas_tag_slot(c->immediate);
    struct rfaas_invocation_header header;
    if (c->status != RFAAS_OK) {
        rfaas_warn("worker %d: %s", rfaas_worker.index, rfaas_last_error());
        rfaas_worker.cut_off = true;
        return;
    }
    if (number >= rfaas_worker.slot_count || c->length < sizeof header ||
        c->length > rfaas_worker.slot_size - RFAAS_SLOT_LEAD) {
        rfaas_error("worker %d: malformed invocation", rfaas_worker.index);
        exit(1);
    }
    unsigned char *slot = (unsigned char *)rfaas_worker.slots->base +
                          number * rfaas_worker.slot_size + RFAAS_SLOT_LEAD;
    memcpy(&header, slot, sizeof header);
    struct rfaas_call call = {
        .worker = rfaas_worker.index,
        .workers = rfaas_worker.workers,
        .out_capacity = header.out_capacity,
    };
    struct rfaas_worker_page *page = rfaas_worker.page;
    unsigned use = rfaas_tag_use(c->immediate);
    rfaas_worker.tag = c->immediate;
    atomic_store_explicit(&page->begun[number], (uint16_t)(use + 1),
                          memory_order_relaxed);
    atomic_store_explicit(&page->executing, c->immediate + 1, memory_order_relaxed);
    int status = execute(slot, c->length, &header, &call);
    if (status != RFAAS_ERR_IO) {
        rfaas_answer_send(c->immediate, status, call.out,
                          status >= 0 ? call.out_size : 0, &header);
        counter_add(&page->ended, 1);
    } else {
        atomic_store_explicit(&page->begun[number], 0, memory_order_relaxed);
    }
    atomic_store_explicit(&page->executing, 0, memory_order_relaxed);
}

/* ---- the loop -------------------------------------------------------------------- */

/* Between invocations: here the connection may be replaced. */
static void control_look(void)
{
    rfaas_worker_control(0);
    if (rfaas_worker.cut_off)
        rfaas_worker_reconnect();
}

/* Sleeps until an invocation or a control message comes. */
static void sleep_until_woken(void)
{
    if (rfaas_worker.transport->arm(rfaas_worker.device) == RFAAS_OK)
        return;
    struct pollfd fds[2] = {
        {.fd = rfaas_worker.transport->descriptor(rfaas_worker.device),
         .events = POLLIN},
        {.fd = rfaas_stream_fd(rfaas_worker.control), .events = POLLIN},
    };
    /* No time limit: whatever ends this worker comes by one of the two. */
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        continue;
    rfaas_worker.transport->disarm(rfaas_worker.device);
    if (fds[1].revents)
        control_look();
}

/* All that was sent has been done, and this worker is to end. */
static void retire(void)
{
    if (!rfaas_worker.connected ||
        rfaas_worker.transport->flush(rfaas_worker.client, true) == RFAAS_OK)
        exit(0);
    rfaas_worker_reconnect(); /* answers may have been lost */
}

/* Waits for the next invocation: spins for hot_timeout, then sleeps. `idle` is when
 * the last one ended; returns when this one came; both in ticks. */
static uint64_t await(struct rfaas_completion *c, uint64_t idle)
{
    unsigned spins_per_look = rfaas_worker.hot_timeout_ns == 0 ? 1 : SPINS_PER_LOOK;
    uint64_t hot_since = 0; /* ns; at the first look */
    for (unsigned spins = 1;; spins++) {
        if (rfaas_worker.transport->poll(rfaas_worker.device, c, 1) == 1) {
            uint64_t now = rfaas_ticks();
            counter_add(&rfaas_worker.page->hot_ticks, now - idle);
            return now;
        }
        if (rfaas_worker.retiring)
            retire();
        if (spins % spins_per_look != 0)
            continue;
        uint64_t now = rfaas_clock_ns();
        if (hot_since == 0)
            hot_since = now;
        if (rfaas_worker.hot_timeout_ns >= 0 &&
            now - hot_since >= (uint64_t)rfaas_worker.hot_timeout_ns) {
            counter_add(&rfaas_worker.page->hot_ticks, rfaas_ticks() - idle);
            sleep_until_woken();
            idle = rfaas_ticks();
            hot_since = 0;
            continue;
        }
        /* Where cores are shared, whoever will send the next one must get its turn. */
        sched_yield();
        if (spins % (8 * SPINS_PER_LOOK) == 0)
            control_look();
    }
}

static void loop(void)
{
    uint64_t now = rfaas_ticks();
    for (unsigned n = 1;; n++) {
        struct rfaas_completion completion;
        uint64_t start = await(&completion, now);
        handle(&completion);
        now = rfaas_ticks();
        counter_add(&rfaas_worker.page->execute_ticks, now - start);
        if (n % BUSY_LOOK == 0 || rfaas_worker.cut_off)
            control_look();
    }
}

int rfaas_worker_main(void)
{
    rfaas_worker.alive_fd = -1;
    void *page = mmap(NULL, sizeof *rfaas_worker.page, PROT_READ | PROT_WRITE,
                      MAP_SHARED, RFAAS_WORKER_PAGE_FD, 0);
    if (page == MAP_FAILED || rfaas_stream_new(RFAAS_WORKER_CONTROL_FD, 64u << 20,
                                               &rfaas_worker.control) != RFAAS_OK) {
        fprintf(stderr,
                "rfaas worker: started by hand? It is the executor that does.\n");
        return 2;
    }
    rfaas_worker.page = page;
    close(RFAAS_WORKER_PAGE_FD);
    if (faults_catch() != RFAAS_OK)
        return 1;
    while (!rfaas_worker.connected) {
        rfaas_worker_control(1000);
        if (rfaas_worker.retiring)
            retire();
    }
    loop();
    return 0;
}
