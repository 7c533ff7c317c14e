/* The manager as a thread: listens, knows its peers, keeps leases (leases.h) and
 * tells everybody what becomes of them. It is never on the way of an invocation.
 *
 * Whatever a peer sends, the thread goes on. What can be answered is refused with an
 * error; a message that makes no sense (wrong role, a second ExecutorRegister, a lease
 * that isn't the sender's) is answered with Refused, logged (warn), and ends the
 * sender's connection: nobody else is disturbed. The end of a connection is the end
 * of the client's leases, or of the executor's parts.
 *
 * The thread calls nothing of MPI and takes no signals. */
#ifndef RFAAS_MANAGER_SERVER_H
#define RFAAS_MANAGER_SERVER_H

#include "base/export.h"
#include "control/handshake.h"
#include "rfaas.h"

struct rfaas_manager;

/* Starts a manager at `address`, a Unix socket ("": rfaas_address_random), and for other
 * nodes at `listen`, of TCP ("": nowhere; else see rfaas_socket_listen). It serves when
 * this returns. Errors: RFAAS_ERR_ARGUMENT, RFAAS_ERR_IO (e.g. address in use),
 * RFAAS_ERR_NO_MEMORY. */
RFAAS_PRIVATE_API int rfaas_manager_start(const char *address, const char *listen,
                                          const struct rfaas_key *key,
                                          struct rfaas_manager **manager);

/* Where it listens on this node and for others ("": not), and a key file for processes
 * of the same user on this node (rfaas_key_offer). Valid until rfaas_manager_stop. */
RFAAS_PRIVATE_API const char *
rfaas_manager_address(const struct rfaas_manager *manager);
RFAAS_PRIVATE_API const char *
rfaas_manager_network_address(const struct rfaas_manager *manager);
RFAAS_PRIVATE_API const char *
rfaas_manager_key_file(const struct rfaas_manager *manager);

/* Revokes all leases, closes all connections, joins the thread and frees the manager.
 * Executors see the end of their connection and end themselves. NULL is ignored. */
RFAAS_PRIVATE_API void rfaas_manager_stop(struct rfaas_manager *manager);

#endif
