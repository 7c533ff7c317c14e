#include "executor/function.h"

#include "base/error.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static struct rfaas_loaded_function *entry(struct rfaas_functions *functions,
                                           uint32_t number)
{
    if (number >= functions->size) {
        size_t size = number + 64;
        void *table = realloc(functions->table, size * sizeof *functions->table);
        if (!table)
            return NULL;
        functions->table = table;
        memset(functions->table + functions->size, 0,
               (size - functions->size) * sizeof *functions->table);
        functions->size = size;
    }
    return &functions->table[number];
}

/* The library stays loaded as long as the worker lives: nothing tells whether it has
 * left threads or handlers behind. */
int rfaas_functions_load(struct rfaas_functions *functions, uint32_t number,
                         const char *path, const char *name)
{
    if (number == 0 || number >= RFAAS_FUNCTIONS_MAX)
        return rfaas_fail(RFAAS_ERR_PROTOCOL, "function '%s': number %u", name, number);
    struct rfaas_loaded_function *f = entry(functions, number);
    if (!f)
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "function '%s': out of memory", name);
    f->state = RFAAS_FUNCTION_BROKEN;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return rfaas_fail(RFAAS_ERR_FUNCTION, "function '%s': %s", name, dlerror());
    if (!rfaas_callable_find(library, name, &f->callable))
        return rfaas_fail(RFAAS_ERR_FUNCTION, "function '%s': %s", name, dlerror());
    f->state = RFAAS_FUNCTION_LOADED;
    return RFAAS_OK;
}
