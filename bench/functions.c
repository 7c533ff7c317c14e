/* The function that the latency benchmark invokes: gives its input back. */
#include <rfaas_function.h>
#include <string.h>

RFAAS_FUNCTION(echo)
{
    memcpy(call->out, call->in, call->in_size);
    call->out_size = call->in_size;
    return 0;
}
