/* The functions of 06_matmul. */
#include "06_multiply.h"
#include <rfaas_function.h>

/* Input: some rows of a, then all of b, which is square. Output: as many rows of a b.
 * So what comes in is larger by just b than what goes out. Returns 1 when that isn't
 * so. */
RFAAS_FUNCTION(matmul)
{
    size_t n = 0, row;
    if (call->in_size <= call->out_capacity)
        return 1;
    while (n * n * sizeof(double) < call->in_size - call->out_capacity)
        n += TILE;
    row = n * sizeof(double);
    if (n * row != call->in_size - call->out_capacity ||
        call->out_capacity % (TILE * row) != 0)
        return 1;
    size_t rows = call->out_capacity / row;
    const double *a = call->in;
    multiply(a, a + rows * n, call->out, (int)rows, (int)n);
    call->out_size = call->out_capacity;
    return 0;
}

/* Sends as much back and computes nothing: what a transfer takes. */
RFAAS_FUNCTION(nothing)
{
    call->out_size = call->out_capacity;
    return 0;
}
