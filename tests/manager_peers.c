#include "manager_peers.h"

#include "control/dial.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE_MS = 10000 };

struct rfaas_manager *manager;
struct rfaas_key key;
uint64_t calls;
static struct rfaas_received heard;

void begin(void)
{
    begin_listening("");
}

void begin_listening(const char *listen)
{
    rfaas_manager_stop(manager);
    manager = NULL;
    CHECK_FATAL(rfaas_key_create(&key) == RFAAS_OK);
    CHECK_FATAL(rfaas_manager_start("", listen, &key, &manager) == RFAAS_OK);
}

static void forget_heard(void)
{
    if (heard.message)
        rfaas_received_free(&heard);
    memset(&heard, 0, sizeof heard);
}

int peers_end(int status)
{
    forget_heard();
    rfaas_manager_stop(manager);
    return status;
}

struct rfaas_stream *peer(Rfaas__Role role)
{
    struct rfaas_stream *stream = NULL;
    CHECK_FATAL(rfaas_connect(rfaas_manager_address(manager), "manager", &key, role,
                              "by hand", 65536, NULL, &stream) == RFAAS_OK);
    return stream;
}

const Rfaas__Message *hear(struct rfaas_stream *stream, Rfaas__Message__BodyCase body)
{
    forget_heard();
    CHECK_EQUAL(rfaas_stream_receive(stream, &heard, PATIENCE_MS), RFAAS_OK);
    CHECK_FATAL(heard.message != NULL);
    CHECK_EQUAL(heard.message->body_case, body);
    CHECK_FATAL(heard.message->body_case == body);
    return heard.message;
}

void say(struct rfaas_stream *stream, Rfaas__Message *message)
{
    message->call = ++calls;
    CHECK_EQUAL(rfaas_stream_send(stream, message, NULL, 0, PATIENCE_MS), RFAAS_OK);
}

void say_register_node(struct rfaas_stream *stream, const char *address,
                       const char *node, uint32_t cores)
{
    Rfaas__ExecutorRegister body = RFAAS__EXECUTOR_REGISTER__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.address = (char *)address;
    body.node = (char *)node;
    body.cores = cores;
    body.memory = UINT64_C(1) << 30;
    message.body_case = BODY(EXECUTOR_REGISTER);
    message.executor_register = &body;
    say(stream, &message);
}

void say_register(struct rfaas_stream *stream, const char *address, uint32_t cores)
{
    say_register_node(stream, address, "node", cores);
}

void say_request(struct rfaas_stream *stream, uint32_t workers, uint64_t duration,
                 uint64_t wait)
{
    Rfaas__LeaseRequest body = RFAAS__LEASE_REQUEST__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.workers = workers;
    body.cores_per_worker = 1;
    body.memory_per_worker = 1 << 20;
    body.duration_ns = duration;
    body.wait_ns = wait;
    message.body_case = BODY(LEASE_REQUEST);
    message.lease_request = &body;
    say(stream, &message);
}

void say_renew(struct rfaas_stream *stream, uint64_t lease, uint64_t duration)
{
    Rfaas__LeaseRenew body = RFAAS__LEASE_RENEW__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.lease = lease;
    body.duration_ns = duration;
    message.body_case = BODY(LEASE_RENEW);
    message.lease_renew = &body;
    say(stream, &message);
}

void say_release(struct rfaas_stream *stream, uint64_t lease)
{
    Rfaas__LeaseRelease body = RFAAS__LEASE_RELEASE__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.lease = lease;
    message.body_case = BODY(LEASE_RELEASE);
    message.lease_release = &body;
    say(stream, &message);
}

void say_freed(struct rfaas_stream *stream, uint64_t part)
{
    Rfaas__LeaseFreed body = RFAAS__LEASE_FREED__INIT;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    body.part = part;
    message.body_case = BODY(LEASE_FREED);
    message.lease_freed = &body;
    say(stream, &message);
}

struct rfaas_stream *executor(uint32_t cores)
{
    struct rfaas_stream *stream = peer(EXECUTOR);
    say_register(stream, "unix:@executor", cores);
    CHECK_EQUAL(hear(stream, BODY(EXECUTOR_REGISTERED))->call, calls);
    return stream;
}

uint64_t hear_grant(struct rfaas_stream *stream, uint64_t call)
{
    const Rfaas__Message *message = hear(stream, BODY(LEASE_GRANT));
    CHECK_EQUAL(message->call, call);
    return message->lease_grant->lease;
}

uint64_t lease_from(struct rfaas_stream *client, struct rfaas_stream *from,
                    uint32_t workers, uint64_t duration)
{
    say_request(client, workers, duration, 0);
    uint64_t lease = hear_grant(client, calls);
    CHECK_EQUAL(hear(from, BODY(LEASE_ASSIGN))->lease_assign->lease, lease);
    return lease;
}

uint64_t hear_refusal(struct rfaas_stream *stream, int status, const char *text)
{
    const Rfaas__Message *message = hear(stream, BODY(LEASE_REFUSED));
    CHECK_EQUAL(message->lease_refused->status, status);
    if (!strstr(message->lease_refused->reason, text)) {
        printf("\n    \"%s\" lacks \"%s\"\n", message->lease_refused->reason, text);
        CHECK(false);
    }
    return message->call;
}

void hear_end(struct rfaas_stream *stream, uint64_t lease, Rfaas__LeaseEnd reason)
{
    const Rfaas__LeaseEnded *ended = hear(stream, BODY(LEASE_ENDED))->lease_ended;
    CHECK_EQUAL(ended->lease, lease);
    CHECK_EQUAL(ended->reason, reason);
}

void hear_withdraw(struct rfaas_stream *stream, uint64_t lease, Rfaas__LeaseEnd reason)
{
    const Rfaas__LeaseWithdraw *body =
        hear(stream, BODY(LEASE_WITHDRAW))->lease_withdraw;
    CHECK_EQUAL(body->lease, lease);
    CHECK_EQUAL(body->reason, reason);
}

void hear_silence(struct rfaas_stream *stream)
{
    struct rfaas_received received;
    CHECK_EQUAL(rfaas_stream_receive(stream, &received, PATIENCE_MS), RFAAS_ERR_IO);
    rfaas_stream_free(stream);
}
