#include "transport/transport.h"
#include <string.h>

static const struct rfaas_transport *const transports[] = {
    &rfaas_transport_shm,
#if RFAAS_HAVE_VERBS
    &rfaas_transport_verbs,
#endif
};

const struct rfaas_transport *const *rfaas_transports(size_t *count)
{
    *count = sizeof transports / sizeof transports[0];
    return transports;
}

const struct rfaas_transport *rfaas_transport_find(const char *name)
{
    for (size_t i = 0; i < sizeof transports / sizeof transports[0]; i++)
        if (strcmp(transports[i]->name, name) == 0)
            return transports[i];
    return NULL;
}
