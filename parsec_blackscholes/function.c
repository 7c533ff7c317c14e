/* The functions that workers run: `options in, prices out`. */
#include "kernel.h"

#include <rfaas_function.h>

/* Returns 1 when the input isn't a whole number of options, 2 when the output doesn't
 * hold a price for each. */
RFAAS_FUNCTION(blackscholes_price)
{
    size_t n = call->in_size / sizeof(struct stock_option);
    if (n * sizeof(struct stock_option) != call->in_size)
        return 1;
    if (n * sizeof(float) > call->out_capacity)
        return 2;
    price_options(call->in, call->out, n);
    call->out_size = n * sizeof(float);
    return 0;
}

/* Sends as many bytes back and computes nothing: what a transfer takes. */
RFAAS_FUNCTION(blackscholes_nothing)
{
    call->out_size = call->out_capacity;
    return 0;
}
