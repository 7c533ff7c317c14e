/* This host. */
#include "control/host.h"
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void rfaas_host_boot_id(char text[RFAAS_BOOT_ID_MAX])
{
    ssize_t n = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, RFAAS_BOOT_ID_MAX - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* ---- addresses ------------------------------------------------------------------- */

static socklen_t size_of(int family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static bool is_of(int family, const struct sockaddr *address)
{
    return address &&
           (address->sa_family == AF_INET || address->sa_family == AF_INET6) &&
           (family == AF_UNSPEC || address->sa_family == family);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

/* Those for one link only need its number besides, which differs between hosts. */
static bool for_one_link(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* The first interface that others can reach, `wanted` or any (NULL). */
static bool find_interface(const struct ifaddrs *interfaces, int family,
                           const struct sockaddr *wanted,
                           struct sockaddr_storage *address)
{
    for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        if (!is_of(family, i->ifa_addr) || !(i->ifa_flags & IFF_UP) ||
            (i->ifa_flags & IFF_LOOPBACK) || for_one_link(i->ifa_addr) ||
            (wanted && !same_host(i->ifa_addr, wanted)))
            continue;
        memcpy(address, i->ifa_addr, size_of(i->ifa_addr->sa_family));
        return true;
    }
    return false;
}

static bool find_by_name(const struct ifaddrs *interfaces, int family,
                         struct sockaddr_storage *address)
{
    char name[256] = "";
    struct addrinfo *found;
    const struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    gethostname(name, sizeof name - 1);
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return false;
    bool ours = false;
    for (const struct addrinfo *a = found; a && !ours; a = a->ai_next)
        ours = find_interface(interfaces, family, a->ai_addr, address);
    freeaddrinfo(found);
    return ours;
}

static void loopback(int family, struct sockaddr_storage *address)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (family == AF_INET6)
        memcpy(address, &v6, sizeof v6);
    else
        memcpy(address, &v4, sizeof v4);
}

void rfaas_host_address(int family, struct sockaddr_storage *address)
{
    struct ifaddrs *interfaces = NULL;
    memset(address, 0, sizeof *address);
    if (getifaddrs(&interfaces) != 0 ||
        (!find_by_name(interfaces, family, address) &&
         !find_interface(interfaces, family, NULL, address)))
        loopback(family, address);
    freeifaddrs(interfaces);
}
