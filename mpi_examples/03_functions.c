/* The function of 03_many_workers. */
#include "03_mandelbrot.h"
#include <rfaas_function.h>

/* Input: a struct task. Output: TILE ints. */
RFAAS_FUNCTION(mandelbrot)
{
    if (call->in_size != sizeof(struct task) || call->out_capacity < TILE * sizeof(int))
        return 1;
    tile(call->in, call->out);
    call->out_size = TILE * sizeof(int);
    return 0;
}
