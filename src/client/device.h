/* A session's devices, and who is told of the memories that they have. */
#ifndef RFAAS_CLIENT_DEVICE_H
#define RFAAS_CLIENT_DEVICE_H

#include "transport/transport.h"

/* A transport that the session uses, and its device. */
struct client_device {
    const struct rfaas_transport *transport;
    struct rfaas_device *device;
    int endpoints; /* that are open: without one nothing comes */
};

enum { CLIENT_DEVICES_MAX = 2 };

/* Told, for workers' sake, when a memory comes to a device and before it goes. */
struct memory_calls {
    int (*added)(const struct rfaas_memory *memory, int device, void *arg);
    void (*removed)(uint32_t key, int device, void *arg);
};

#endif
