/* The function of 01_hello. A function library is an ordinary shared object:
 *
 *     cc -shared -fPIC -o 01_functions.so 01_functions.c
 */
#include <rfaas_function.h>
#include <stdio.h>

/* Input: a name, without a final 0. Output: a greeting, without one either. */
RFAAS_FUNCTION(greet)
{
    /* What was written is given by call->out_size, what there is room for by
     * call->out_capacity. The function's own verdict is its return value, 0..32767:
     * the caller gets it as MPI_TAG. */
    int length = snprintf(call->out, call->out_capacity,
                          "hello %.*s, this is worker %d of %d", (int)call->in_size,
                          (const char *)call->in, call->worker, call->workers);
    if (length < 0 || (size_t)length >= call->out_capacity)
        return 1;
    call->out_size = (size_t)length;
    return 0;
}
