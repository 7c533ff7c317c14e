/* The functions of 05_jacobi. */
#include "05_sweeps.h"
#include <rfaas_function.h>
#include <stdlib.h>

/* Input: some rows with DEPTH more above and below. Output: the rows after DEPTH
 * sweeps. How long a row is follows from how much more comes in than goes out. Returns
 * 1 when that isn't so, 2 when there is no memory. */
RFAAS_FUNCTION(jacobi)
{
    static double *scratch; /* stays from one invocation to the next */
    static size_t scratch_size;
    size_t more = call->in_size - call->out_capacity, row = more / (2 * DEPTH);
    if (call->in_size <= call->out_capacity || row < 3 * sizeof(double) ||
        row % sizeof(double) != 0 || more != 2 * DEPTH * row ||
        call->out_capacity % row != 0)
        return 1;
    if (scratch_size < 3 * DEPTH * row) {
        free(scratch);
        scratch = malloc(3 * DEPTH * row);
        scratch_size = scratch ? 3 * DEPTH * row : 0;
        if (!scratch)
            return 2;
    }
    sweeps(call->in, call->out, (int)(call->out_capacity / row),
           (int)(row / sizeof(double)), scratch);
    call->out_size = call->out_capacity;
    return 0;
}

/* Sends as much back and computes nothing: what a transfer takes. */
RFAAS_FUNCTION(nothing)
{
    call->out_size = call->out_capacity;
    return 0;
}
