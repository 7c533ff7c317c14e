/* A worker's answers. A connection may fail while answers are on it of which nobody knows
 * whether they have arrived. So each is kept until its slot is used again, to be given
 * once more on the next connection. Short output is copied for that, behind the answer, which
 * doesn't wait for it. Longer output stays where the function wrote it, and no other
 * function is run before the client has it. */
#include "executor/worker_state.h"

#include "base/clock.h"
#include <string.h>

/* ---- keeping --------------------------------------------------------------------- */

/* The output area of another invocation may still be kept: only who has waited for its
 * arrival says that it isn't. */
static void keep(uint32_t tag, const struct rfaas_answer *answer)
{
    struct rfaas_kept_answer *kept = &rfaas_worker.kept[rfaas_tag_slot(tag)];
    kept->answer = *answer;
    if (answer->size > sizeof kept->copy)
        rfaas_worker.output_kept = true;
    else if (answer->size > 0)
        kept->answer.output = memcpy(kept->copy, answer->output, answer->size);
}

int rfaas_output_delivered(void)
{
    int status = rfaas_worker.transport->flush(rfaas_worker.client, false);
    if (status == RFAAS_OK && rfaas_worker.output_kept)
        status = rfaas_worker.transport->flush(rfaas_worker.client, true);
    if (status == RFAAS_OK)
        rfaas_worker.output_kept = false;
    return status;
}

/* ---- sending --------------------------------------------------------------------- */

/* The output may go to memory of which a control message has still to tell. */
static int output_write(const void *output, size_t size, uint64_t address, uint32_t key,
                        uint32_t immediate)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)output, .iov_len = size};
    uint64_t end = 0;
    int status;
    while ((status = rfaas_worker.transport->write(
                rfaas_worker.client, &part, size > 0, rfaas_worker.output_memory,
                address, key, immediate)) == RFAAS_ERR_ARGUMENT) {
        uint64_t now = rfaas_clock_ns();
        if (end == 0)
            end = now + RFAAS_CONTROL_TIMEOUT_MS * 1000000ull;
        if (now >= end)
            break;
        rfaas_worker_control(100);
    }
    return status;
}

static void say(uint32_t immediate)
{
    rfaas_worker.transport->write(rfaas_worker.client, NULL, 0, NULL, 0, 0, immediate);
}

/* In parts, as long as messages can be. */
static void send(uint32_t tag, struct rfaas_answer *answer)
{
    const struct rfaas_invocation_header *header = &answer->header;
    const unsigned char *output = answer->output;
    size_t most = rfaas_worker.client->message_max, size = answer->size, done = 0;
    int status = RFAAS_OK;
    for (; size - done > most && status == RFAAS_OK; done += most)
        status = output_write(output + done, most, header->out_address + done,
                              header->out_key, rfaas_answer(tag, RFAAS_ANSWER_PART));
    if (status == RFAAS_OK)
        status = output_write(size > 0 ? output + done : NULL, size - done,
                              header->out_address + done, header->out_key,
                              rfaas_answer(tag, answer->status));
    if (status == RFAAS_OK || status == RFAAS_ERR_IO)
        return;
    /* The client gave a place that isn't its own: answer without the output. */
    answer->status = RFAAS_ERR_PROTOCOL;
    answer->size = 0;
    say(rfaas_answer(tag, answer->status));
}

void rfaas_answer_send(uint32_t tag, int status, const void *output, size_t size,
                       const struct rfaas_invocation_header *header)
{
    struct rfaas_answer answer = {
        .status = status, .size = size, .output = output, .header = *header};
    send(tag, &answer);
    if (rfaas_worker.kept)
        keep(tag, &answer);
}

void rfaas_answer_again(uint32_t tag)
{
    unsigned number = rfaas_tag_slot(tag);
    if (number < rfaas_worker.slot_count &&
        atomic_load_explicit(&rfaas_worker.page->begun[number], memory_order_relaxed) ==
            rfaas_tag_use(tag) + 1)
        send(tag, &rfaas_worker.kept[number].answer);
    else
        say(rfaas_answer(tag, RFAAS_ANSWER_NOT_BEGUN));
}
