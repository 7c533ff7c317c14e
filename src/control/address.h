/* Addresses of control sockets.
 *
 * unix:@NAME      a Unix socket in the abstract name space: it has no file, so nothing
 *                 of it can stay behind
 * unix:/PATH      a Unix socket with a file
 * tcp:HOST:PORT   TCP; HOST is a name, an IPv4 address, or an IPv6 address in brackets.
 *                 "tcp:" may be left out by people; the project itself writes it, and
 *                 always numbers, so that nobody has to ask a name server in a loop.
 */
#ifndef RFAAS_CONTROL_ADDRESS_H
#define RFAAS_CONTROL_ADDRESS_H

#include "base/export.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
    RFAAS_ADDRESS_MAX = 128,
    RFAAS_ADDRESSES_MAX = 8, /* of one host that are tried */
};

/* Without asking anybody: a host has to be numeric. RFAAS_ERR_ARGUMENT says what is
 * wrong with the text. */
int rfaas_address_parse(const char *text, struct sockaddr_storage *address,
                        socklen_t *length);

/* The addresses that the text stands for, as rfaas_address_parse takes them; may wait
 * for a name server. RFAAS_ERR_ARGUMENT: no address, or a host that nobody knows. */
int rfaas_address_resolve(const char *text,
                          char addresses[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX],
                          int *count);

/* Whether it is one of TCP, if it is one at all. */
bool rfaas_address_is_tcp(const char *text);

/* The text of a socket's address of TCP. */
int rfaas_address_format(const struct sockaddr_storage *address,
                         char text[RFAAS_ADDRESS_MAX]);

/* A fresh "unix:@rfaas-<role>-<random>" nobody else can guess or has. */
int rfaas_address_random(const char *role, char *text, size_t size);

#endif
