/* Functions as a worker has them: loaded by number, called in one of two forms. */
#ifndef RFAAS_EXECUTOR_FUNCTION_H
#define RFAAS_EXECUTOR_FUNCTION_H

#include "base/callable.h"
#include <stddef.h>
#include <stdint.h>

struct rfaas_loaded_function {
    struct rfaas_callable callable;
    enum {
        RFAAS_FUNCTION_UNKNOWN, /* nothing was heard of it yet */
        RFAAS_FUNCTION_LOADED,
        RFAAS_FUNCTION_BROKEN, /* it couldn't be loaded */
    } state;
};

struct rfaas_functions {
    struct rfaas_loaded_function *table; /* by number */
    size_t size;
};

/* Clients number functions from 1; this many may be loaded in a session. */
enum { RFAAS_FUNCTIONS_MAX = 65536 };

/* Loads symbol `name` of the library at `path`. On failure the number is marked
 * broken, and rfaas_last_error() tells why. */
int rfaas_functions_load(struct rfaas_functions *functions, uint32_t number,
                         const char *path, const char *name);

/* NULL: nothing was heard of it yet. */
static inline const struct rfaas_loaded_function *
rfaas_functions_find(const struct rfaas_functions *functions, uint32_t number)
{
    if (number >= functions->size)
        return NULL;
    const struct rfaas_loaded_function *f = &functions->table[number];
    return f->state != RFAAS_FUNCTION_UNKNOWN ? f : NULL;
}

#endif
