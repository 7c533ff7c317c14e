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
