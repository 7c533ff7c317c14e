/* Functions that write to their client behind their worker's back. They find its ring
 * in the memory of their process, as any code there could, and never return: what they
 * have written stays the newest. */
#define _GNU_SOURCE
#include <rfaas_function.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As in src/transport/shm.c, with the default inline_max. */
struct entry {
    uint32_t sequence, immediate;
    uint64_t address, length;
    uint32_t key, inline_length;
    unsigned char data[224];
};
struct ring {
    char head[64];
    struct entry entries[];
};
struct header { /* as in src/control/invocation.h */
    uint64_t out_address, out_capacity;
    uint32_t out_key, function;
};

/* The worker's two rings: where `input` has come, and where answers go. */
struct rings {
    const struct entry *call;
    struct ring *answers;
    uint32_t size; /* entries in the latter */
};

static const struct entry *entry_with(const struct ring *ring, uint32_t size,
                                      const void *input, size_t input_size)
{
    for (uint32_t i = 0; i < size; i++)
        if (memcmp(ring->entries[i].data + sizeof(struct header), input, input_size) ==
            0)
            return &ring->entries[i];
    return NULL;
}

static int rings_find(const struct rfaas_call *call, struct rings *found)
{
    char line[512];
    unsigned long begin, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    *found = (struct rings){0};
    while (maps && fgets(line, sizeof line, maps)) {
        if (!strstr(line, "rfaas-ring") || sscanf(line, "%lx-%lx", &begin, &end) != 2)
            continue;
        struct ring *ring = (struct ring *)begin;
        uint32_t size =
            (uint32_t)((end - begin - sizeof *ring) / sizeof *ring->entries);
        const struct entry *e = entry_with(ring, size, call->in, call->in_size);
        if (e) {
            found->call = e;
        } else {
            found->answers = ring;
            found->size = size;
        }
    }
    if (maps)
        fclose(maps);
    return found->call && found->answers;
}

/* How many answers were sent. */
static uint32_t answers_sent(const struct rings *rings)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < rings->size; i++)
        if (rings->answers->entries[i].sequence > last)
            last = rings->answers->entries[i].sequence;
    return last;
}

/* Writes an answer of 8 bytes that would be in order, were it not for `change`. */
static int answer(struct rfaas_call *call, void (*change)(struct entry *next))
{
    struct rings rings;
    struct header header;
    if (!rings_find(call, &rings))
        return 1;
    uint32_t sent = answers_sent(&rings);
    struct entry *next = &rings.answers->entries[sent % rings.size];
    memcpy(&header, rings.call->data, sizeof header);
    next->immediate = rings.call->immediate & 0xffff;
    next->address = header.out_address;
    next->key = header.out_key;
    next->length = next->inline_length = 8;
    change(next);
    __atomic_store_n(&next->sequence, sent + 1, __ATOMIC_RELEASE);
    for (;;)
        pause();
}

#define ROGUE(name, change)                                                            \
    static void change_##name(struct entry *next)                                      \
    {                                                                                  \
        change;                                                                        \
    }                                                                                  \
    RFAAS_FUNCTION(name)                                                               \
    {                                                                                  \
        return answer(call, change_##name);                                            \
    }

ROGUE(answers_for_no_slot, next->immediate |= 0xff)
ROGUE(answers_for_another, next->immediate = (next->immediate ^ 1) + 0x700)
ROGUE(answers_with_wrong_count, next->immediate ^= 0x100)
ROGUE(answers_elsewhere, next->key += 1000)
ROGUE(answers_before_its_place, next->address -= 1ull << 30)
ROGUE(answers_behind_its_place, next->address += 1ull << 30)
ROGUE(answers_with_false_length, next->length = 16)
ROGUE(answers_with_too_much, next->length = next->inline_length = 4096)
