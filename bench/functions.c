/* What the benchmarks invoke. */
#include <rfaas_function.h>
#include <string.h>

/* Gives its input back. */
RFAAS_FUNCTION(echo)
{
    memcpy(call->out, call->in, call->in_size);
    call->out_size = call->in_size;
    return 0;
}

/* As many bytes back as came, of which only the first is its input's: the way there and
 * back without the time that copying takes. */
RFAAS_FUNCTION(bounce)
{
    if (call->in_size > 0)
        memcpy(call->out, call->in, 1);
    call->out_size = call->in_size;
    return 0;
}

/* Each float times two plus one: about the least that a loop can do. */
RFAAS_FUNCTION(twice_plus_one)
{
    const float *in = call->in;
    float *out = call->out;
    size_t n = call->in_size / sizeof *in;
    if (n * sizeof *out > call->out_capacity)
        return 1;
    for (size_t i = 0; i < n; i++)
        out[i] = 2 * in[i] + 1;
    call->out_size = n * sizeof *out;
    return 0;
}
