/* What peers ask of the manager. Belongs to the manager's thread. */
#ifndef RFAAS_MANAGER_REQUESTS_H
#define RFAAS_MANAGER_REQUESTS_H

#include "manager/messages.h"

/* What requests read and change. */
struct rfaas_books {
    struct rfaas_peers *peers;
    struct rfaas_leases *leases;
};

/* Does what the message of this peer asks for, and answers. An error: the message makes
 * no sense. */
int rfaas_peer_handle(struct rfaas_books *books, struct rfaas_peer *peer,
                      const Rfaas__Message *message);

#endif
