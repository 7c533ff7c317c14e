/* Functions as they are called: in one of two forms, which the library's symbols tell. */
#ifndef RFAAS_BASE_CALLABLE_H
#define RFAAS_BASE_CALLABLE_H

#include "rfaas_function.h"
#include <stdbool.h>
#include <stdint.h>

/* One of the two is set. */
struct rfaas_callable {
    int (*function)(struct rfaas_call *call);
    uint32_t (*classic)(void *args, uint32_t size, void *res);
};

/* Finds symbol `name` in `library`, a handle of dlopen. False: there is none, and
 * dlerror() tells why. */
bool rfaas_callable_find(void *library, const char *name,
                         struct rfaas_callable *callable);

/* Calls it and returns what it returned; a classic function's status is 0. These take
 * no input of 4 GiB or more. */
static inline int rfaas_callable_call(const struct rfaas_callable *callable,
                                      struct rfaas_call *call)
{
    if (callable->function)
        return callable->function(call);
    call->out_size = callable->classic((void *)(uintptr_t)call->in,
                                       (uint32_t)call->in_size, call->out);
    return 0;
}

#endif
