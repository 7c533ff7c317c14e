#include "base/callable.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool rfaas_callable_find(void *library, const char *name,
                         struct rfaas_callable *callable)
{
    char mark[512];
    void *symbol = dlsym(library, name);
    if (!symbol)
        return false;
    *callable = (struct rfaas_callable){0};
    int length = snprintf(mark, sizeof mark, "rfaas_mark_%s", name);
    if (length >= 0 && (size_t)length < sizeof mark && dlsym(library, mark))
        memcpy(&callable->function, &symbol, sizeof symbol);
    else
        memcpy(&callable->classic, &symbol, sizeof symbol);
    return true;
}
