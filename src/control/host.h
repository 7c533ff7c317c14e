/* This host: how it is told from others, and by which address they reach it. */
#ifndef RFAAS_CONTROL_HOST_H
#define RFAAS_CONTROL_HOST_H

#include <sys/socket.h>

enum { RFAAS_BOOT_ID_MAX = 48 };

/* What only the processes that run on the same kernel read: they may meet on a Unix
 * socket, unless they are in different network namespaces. "" if it can't be had. */
void rfaas_host_boot_id(char text[RFAAS_BOOT_ID_MAX]);

/* The address of this host, of `family` or any (AF_UNSPEC), that others are likely to
 * reach: that of its name, if it is one of this host's and no loopback; else that of the
 * first interface that is up; else loopback. Port 0. May wait for a name server. */
void rfaas_host_address(int family, struct sockaddr_storage *address);

#endif
