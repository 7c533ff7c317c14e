/* Samples of round trips, and the line that bench/rdma reads:
 *     MODE MEMORY BYTES MEDIAN P99
 * in ns. How many are taken, and how long a peer is given to fall asleep. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    SAMPLES_MAX = 2000,
    SAMPLES_MIN = 40,
    SAMPLES_WARM_MAX = 300,
    BYTES_PER_SIZE = 16 << 20, /* that are sent, as far as these allow */
    WARM_PAUSE_US = 50,        /* in which a peer falls asleep */
};

static inline double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static inline size_t samples_of(size_t size, bool warm)
{
    size_t most = warm ? SAMPLES_WARM_MAX : SAMPLES_MAX,
           samples = BYTES_PER_SIZE / size;
    return samples > most ? most : samples < SAMPLES_MIN ? SAMPLES_MIN : samples;
}

/* It is the peer that is to wake up, not this process. */
static inline void pause_awake(void)
{
    double end = now_ns() + 1e3 * WARM_PAUSE_US;
    while (now_ns() < end)
        continue;
}

static inline int samples_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Without the first tenth, which warmed up. */
static inline void samples_print(const char *mode, const char *memory, size_t size,
                                 double *times, size_t samples)
{
    size_t skip = samples / 10, n = samples - skip;
    qsort(times + skip, n, sizeof *times, samples_compare);
    printf("%s %s %zu %.0f %.0f\n", mode, memory, size, times[skip + n / 2],
           times[skip + (size_t)(0.99 * (double)n)]);
    fflush(stdout);
}

#endif
