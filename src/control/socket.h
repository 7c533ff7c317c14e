/* Sockets of control: what is different with Unix sockets and with TCP. */
#ifndef RFAAS_CONTROL_SOCKET_H
#define RFAAS_CONTROL_SOCKET_H

#include "control/address.h"
#include <stdbool.h>
#include <sys/types.h>

/* A socket that listens. */
struct rfaas_listening {
    int fd;                          /* -1: none */
    char address[RFAAS_ADDRESS_MAX]; /* by which others reach it */
    char path[RFAAS_ADDRESS_MAX];    /* of a Unix socket's file; "": none */
    dev_t device;
    ino_t inode;
};

/* Listens at the address (rfaas_address_resolve). Port 0 is any that is free; "tcp" is
 * one for all addresses that this host has. A socket's file that was left by somebody
 * killed is replaced. RFAAS_ERR_ARGUMENT, RFAAS_ERR_IO. */
int rfaas_socket_listen(const char *address, struct rfaas_listening *listening);
void rfaas_socket_close(struct rfaas_listening *listening);

/* What to listen at to be reached by those who reach the peer. "": it is on this host. */
void rfaas_socket_listen_beside(int fd, char address[RFAAS_ADDRESS_MAX]);

/* Whether it is a Unix socket: it takes descriptors, and the kernel knows the peer. */
bool rfaas_socket_is_local(int fd);

/* Has the end of a TCP peer noticed that goes without a word. */
int rfaas_socket_watch(int fd);

/* Who is there, as the kernel knows. */
void rfaas_socket_peer(int fd, char *text, size_t size);

#endif
