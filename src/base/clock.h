/* Monotonic time in nanoseconds; and a counter that is cheaper to read. */
#ifndef RFAAS_BASE_CLOCK_H
#define RFAAS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t rfaas_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* For differences that are summed up: a third of the clock's cost. The unit is the
 * processor's; rfaas_ticks_to_ns finds it out. On processors older than 2008 it may
 * vary with the frequency, and the sums with it. */
static inline uint64_t rfaas_ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#else
    return rfaas_clock_ns();
#endif
}

/* Both clocks at one moment: the longer ago, the better the unit is known. */
struct rfaas_tick_origin {
    uint64_t ns, ticks;
};

static inline struct rfaas_tick_origin rfaas_tick_origin_now(void)
{
    return (struct rfaas_tick_origin){rfaas_clock_ns(), rfaas_ticks()};
}

static inline uint64_t rfaas_ticks_to_ns(const struct rfaas_tick_origin *origin,
                                         uint64_t ticks)
{
    struct rfaas_tick_origin now = rfaas_tick_origin_now();
    if (now.ticks <= origin->ticks)
        return 0;
    return (uint64_t)((double)ticks * (double)(now.ns - origin->ns) /
                      (double)(now.ticks - origin->ticks));
}

static inline uint64_t rfaas_seconds_to_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

#endif
