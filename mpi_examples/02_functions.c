/* The function of 02_overlap. */
#include "02_stencil.h"
#include <rfaas_function.h>

/* Input: some rows with one more above and one more below, read where the caller has
 * them. Output: the rows after one step. */
RFAAS_FUNCTION(step)
{
    size_t row = COLUMNS * sizeof(double), rows = call->in_size / row;
    if (rows < 3 || call->in_size % row != 0 || call->out_capacity < (rows - 2) * row)
        return 1;
    stencil(call->in, call->out, (int)rows - 2);
    call->out_size = (rows - 2) * row;
    return 0;
}
