/* The function of 08_openmp. */
#include "08_collatz.h"
#include <rfaas_function.h>

/* Input: int64 numbers. Output: an int for each. */
RFAAS_FUNCTION(count_steps)
{
    const int64_t *in = call->in;
    int *out = call->out;
    size_t n = call->in_size / sizeof *in;
    if (call->out_capacity < n * sizeof *out)
        return 1;
    for (size_t i = 0; i < n; i++)
        out[i] = collatz(in[i]);
    call->out_size = n * sizeof *out;
    return 0;
}
