/* The function of 07_quadrature. */
#include "07_simpson.h"
#include <rfaas_function.h>

/* Input: a struct task. Output: a struct estimate. */
RFAAS_FUNCTION(integrate)
{
    if (call->in_size != sizeof(struct task) ||
        call->out_capacity < sizeof(struct estimate))
        return 1;
    *(struct estimate *)call->out = simpson(call->in);
    call->out_size = sizeof(struct estimate);
    return 0;
}
