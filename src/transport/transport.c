#include "transport/transport.h"
#include <string.h>

static const struct rfaas_transport *const transports[] = {
    &rfaas_transport_shm,
};

const struct rfaas_transport *rfaas_transport_find(const char *name)
{
    for (size_t i = 0; i < sizeof transports / sizeof transports[0]; i++)
        if (strcmp(transports[i]->name, name) == 0)
            return transports[i];
    return NULL;
}
