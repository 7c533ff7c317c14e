/* For tests of the transport `verbs` alone: its insides, and machines that lack it. */
#ifndef RFAAS_TEST_VERBS_ONLY_H
#define RFAAS_TEST_VERBS_ONLY_H

#include "rfaas.h"
#include "transport/transport.h"
#include <stdio.h>

#if RFAAS_HAVE_VERBS
#include "transport/verbs.h"

/* The queue pair fails, as it does by a cable or a peer; whoever uses the endpoint finds
 * that out by itself. */
static inline int pair_break(struct rfaas_endpoint *endpoint)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    return ibv_modify_qp(((struct verbs_endpoint *)endpoint)->pair, &attributes,
                         IBV_QP_STATE);
}

/* Whether there is a device; if not, that is said. */
static inline bool verbs_are_there(void)
{
    static const struct rfaas_device_options any = {.gid_index = -1};
    struct rfaas_device *device;
    if (rfaas_transport_verbs.device_open(&any, &device) != RFAAS_OK) {
        printf("SKIPPED: %s\n", rfaas_last_error());
        return false;
    }
    rfaas_transport_verbs.device_close(device);
    return true;
}
#endif

#endif
