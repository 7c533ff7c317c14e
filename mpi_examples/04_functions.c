/* The functions of 04_errors: a careful one, and two that are not. */
#include <rfaas_function.h>

/* Integer square roots. Returns 2 when there is no room for them, and 3 when a number
 * is negative: such values are the function's own, and reach the caller as MPI_TAG. */
RFAAS_FUNCTION(roots)
{
    const int *in = call->in;
    int *out = call->out;
    size_t n = call->in_size / sizeof *in;
    if (call->out_capacity < n * sizeof *out)
        return 2;
    for (size_t i = 0; i < n; i++) {
        if (in[i] < 0)
            return 3;
        for (out[i] = 0; (out[i] + 1ll) * (out[i] + 1ll) <= in[i];)
            out[i]++;
    }
    call->out_size = n * sizeof *out;
    return 0;
}

/* Follows a pointer that leads nowhere; volatile keeps the compiler from seeing it. */
RFAAS_FUNCTION(crash)
{
    volatile int *volatile nowhere = 0;
    *nowhere = (int)call->in_size;
    return 0;
}

/* Writes each number twice, without a look at how much room there is. */
RFAAS_FUNCTION(twice)
{
    const int *in = call->in;
    int *out = call->out;
    size_t n = call->in_size / sizeof *in;
    for (size_t i = 0; i < n; i++)
        out[2 * i] = out[2 * i + 1] = in[i];
    call->out_size = 2 * n * sizeof *out;
    return 0;
}
