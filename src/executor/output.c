#include "executor/output.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

/* What fills the last ALIGNMENT bytes before the guard: those of it that lie behind the
 * buffer have to stay. */
static const unsigned char PATTERN[ALIGNMENT] =
    "\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f"
    "\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f"
    "\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f"
    "\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f\xa5\x5a\xc3\x3c\x96\x69\xf0";

static const size_t AREA_MIN = 1 << 20;
/* Address space only; wide enough that a write with a wrong index lands in it too. */
static const size_t GUARD = 64 << 20;

static bool area_grow(struct rfaas_output *output, size_t capacity)
{
    size_t usable = AREA_MIN;
    while (usable < capacity) {
        if (usable > SIZE_MAX / 4)
            return false;
        usable *= 2;
    }
    unsigned char *area = mmap(NULL, usable + GUARD, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return false;
    if (mprotect(area, usable, PROT_READ | PROT_WRITE) < 0) {
        munmap(area, usable + GUARD);
        return false;
    }
    if (output->area)
        munmap(output->area, output->usable + GUARD);
    output->area = area;
    output->usable = usable;
    return true;
}

static unsigned char *guard(const struct rfaas_output *output)
{
    return output->area + output->usable;
}

void *rfaas_output_prepare(struct rfaas_output *output, size_t capacity)
{
    if (capacity > output->usable || !output->area)
        if (capacity > SIZE_MAX / 4 || !area_grow(output, capacity))
            return NULL;
    size_t room = (capacity + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    output->start = guard(output) - room;
    output->capacity = capacity;
    memcpy(guard(output) - ALIGNMENT, PATTERN, ALIGNMENT);
    return output->start;
}

bool rfaas_output_intact(const struct rfaas_output *output)
{
    const unsigned char *end = output->start + output->capacity;
    size_t behind = (size_t)(guard(output) - end);
    return memcmp(end, PATTERN + ALIGNMENT - behind, behind) == 0;
}

bool rfaas_output_guards(const struct rfaas_output *output, const void *address)
{
    const unsigned char *p = address;
    return output->area && p >= guard(output) && p < guard(output) + GUARD;
}
