/* The Black-Scholes formula for many options, in single precision. Knows nothing of
 * MPI or files: the program and its function library compile the same source. */
#ifndef BLACKSCHOLES_KERNEL_H
#define BLACKSCHOLES_KERNEL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* An option as it travels to a worker.
 *
 * spot        price of the share now, > 0
 * strike      price at which it may be bought or sold, > 0
 * rate        riskless interest a year, 0.05 is 5 %
 * volatility  of the share, a year, >= 0
 * time        until the option ends, in years, >= 0
 * type        'C' (call: to buy) or 'P' (put: to sell)
 */
struct stock_option {
    float spot, strike, rate, volatility, time;
    int32_t type;
};

static_assert(sizeof(struct stock_option) == 24, "the input of the function");

/* Writes the prices of n options. Each price depends on its option alone, to the last
 * bit: however options are split into calls, the prices are the same. */
void price_options(const struct stock_option *options, float *prices, size_t n);

#endif
