/* Addresses of control sockets.
 *
 * unix:@NAME   a Unix socket in the abstract name space: it has no file, so nothing
 *              of it can stay behind
 * unix:/PATH   a Unix socket with a file
 */
#ifndef RFAAS_CONTROL_ADDRESS_H
#define RFAAS_CONTROL_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

enum { RFAAS_ADDRESS_MAX = 128 };

/* RFAAS_ERR_ARGUMENT says what is wrong with the text. */
int rfaas_address_parse(const char *text, struct sockaddr_storage *address,
                        socklen_t *length);

/* A fresh "unix:@rfaas-<role>-<random>" nobody else can guess or has. */
int rfaas_address_random(const char *role, char *text, size_t size);

#endif
