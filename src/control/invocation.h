/* What client and worker write to each other for one invocation.
 *
 * A worker has `slots` slots of slot_size bytes. Slot i begins at slots_address +
 * i * slot_size + RFAAS_SLOT_LEAD, where the client writes {header, input}; so the
 * input is aligned to a cache line. Input that doesn't fit, or lies in memory that
 * the worker can map, stays where it is, and a reference is written in its place.
 *
 * The worker writes the output to out_address and completes with the tag and the
 * status. A slot is free again when its invocation has completed. */
#ifndef RFAAS_CONTROL_INVOCATION_H
#define RFAAS_CONTROL_INVOCATION_H

#include <assert.h>
#include <stdint.h>

enum {
    RFAAS_SLOTS_MAX = 256,
    RFAAS_SLOT_LEAD = 40,
    RFAAS_SLOT_OVERHEAD = 64, /* of slot_size: lead and header */
};

/* In `function`: a struct rfaas_input_reference follows instead of the input. */
#define RFAAS_INPUT_BY_REFERENCE 0x80000000u

struct rfaas_invocation_header {
    uint64_t out_address;
    uint64_t out_capacity;
    uint32_t out_key;
    uint32_t function;
};
static_assert(sizeof(struct rfaas_invocation_header) == 24, "wire format");
static_assert(RFAAS_SLOT_LEAD + sizeof(struct rfaas_invocation_header) ==
                  RFAAS_SLOT_OVERHEAD,
              "the input begins a cache line");

struct rfaas_input_reference {
    uint64_t address;
    uint64_t size;
    uint32_t key;
    uint32_t reserved; /* 0 */
};
static_assert(sizeof(struct rfaas_input_reference) == 24, "wire format");

/* The tag, immediate of the client's write: the slot, and a count of the slot's uses
 * by which a stray answer is told from the awaited one. */
static inline uint32_t rfaas_tag(unsigned slot, unsigned use)
{
    return (use & 0xffu) << 8 | (slot & 0xffu);
}

static inline unsigned rfaas_tag_slot(uint32_t tag)
{
    return tag & 0xffu;
}

static inline unsigned rfaas_tag_use(uint32_t tag)
{
    return tag >> 8 & 0xffu;
}

/* The worker's immediate: the tag below, the status above: what the function returned
 * (0..32767), or a negative rfaas_status. */
static inline uint32_t rfaas_answer(uint32_t tag, int status)
{
    return (uint32_t)(uint16_t)(int16_t)status << 16 | (tag & 0xffffu);
}

/* The answer's status while more of the output follows: it is longer than a message of
 * the transport can be. */
enum { RFAAS_ANSWER_PART = INT16_MIN };

/* The first message of a worker, without a tag: from now on it gets what is sent to it.
 * (A queue pair that isn't connected yet drops messages.) */
enum { RFAAS_ANSWER_CONNECTED = INT16_MIN + 1 };

/* After a connection has failed: the invocation never began, and is to be sent again. */
enum { RFAAS_ANSWER_NOT_BEGUN = INT16_MIN + 2 };

/* The worker couldn't load the function: nothing ran. */
enum { RFAAS_ANSWER_NOT_LOADED = INT16_MIN + 3 };

static inline uint32_t rfaas_answer_tag(uint32_t immediate)
{
    return immediate & 0xffffu;
}

static inline int rfaas_answer_status(uint32_t immediate)
{
    return (int16_t)(immediate >> 16);
}

#endif
