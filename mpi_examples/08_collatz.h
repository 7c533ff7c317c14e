/* The work of 08_openmp, as its threads and its function do it. */
#ifndef EXAMPLE_COLLATZ_H
#define EXAMPLE_COLLATZ_H

#include <stdint.h>

/* How many steps it takes from n to 1, where an even n is followed by n / 2 and an odd
 * one by 3 n + 1. */
static inline int collatz(int64_t n)
{
    int steps = 0;
    for (; n > 1; steps++)
        n = n % 2 ? 3 * n + 1 : n / 2;
    return steps;
}

#endif
