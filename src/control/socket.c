/* Sockets of control. */
#include "control/socket.h"
#include "base/error.h"
#include "control/host.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    /* A node that loses its power or its network sends no end of its connections. Those
     * who wait for it are to know within 5 seconds, so it may be silent for 4: a second
     * is left for the timers' grain and what has to be told then. */
    SILENCE_MS = 4000,
    /* Without traffic the peer's kernel, not the peer, is asked each second: a process
     * that is stopped or busy goes on being there, and one answer may get lost. */
    PROBE_SECONDS = 1,
};

/* ---- files of Unix sockets ------------------------------------------------------- */

/* The file of a listener that was killed stays; it is nobody's if nobody answers. */
static bool remove_stale(const struct sockaddr_storage *storage, socklen_t length)
{
    struct sockaddr_un address;
    struct stat stat;
    memcpy(&address, storage, sizeof address);
    if (!address.sun_path[0] || lstat(address.sun_path, &stat) != 0 ||
        !S_ISSOCK(stat.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)storage, length) != 0 &&
                 errno == ECONNREFUSED;
    close(fd);
    return stale && unlink(address.sun_path) == 0;
}

static void note_file(const struct sockaddr_storage *storage,
                      struct rfaas_listening *listening)
{
    struct sockaddr_un address;
    struct stat stat;
    memcpy(&address, storage, sizeof address);
    if (!address.sun_path[0] || lstat(address.sun_path, &stat) != 0)
        return;
    snprintf(listening->path, sizeof listening->path, "%s", address.sun_path);
    listening->device = stat.st_dev;
    listening->inode = stat.st_ino;
}

/* Removes the socket's file, if it is still the one that was made. */
static void remove_file(const struct rfaas_listening *listening)
{
    struct stat stat;
    if (listening->path[0] && lstat(listening->path, &stat) == 0 &&
        stat.st_dev == listening->device && stat.st_ino == listening->inode)
        unlink(listening->path);
}

/* ---- listening ------------------------------------------------------------------- */

static bool is_any(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr ==
               htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void set_port(struct sockaddr_storage *address, in_port_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = port;
    else
        ((struct sockaddr_in6 *)address)->sin6_port = port;
}

static in_port_t port_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET
               ? ((const struct sockaddr_in *)address)->sin_port
               : ((const struct sockaddr_in6 *)address)->sin6_port;
}

/* How others reach it: a socket of IPv6 for all addresses takes IPv4 as well. */
static int find_address(struct rfaas_listening *listening)
{
    struct sockaddr_storage bound, host;
    socklen_t length = sizeof bound;
    if (getsockname(listening->fd, (struct sockaddr *)&bound, &length) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "listener: getsockname: %m");
    if (!is_any(&bound))
        return rfaas_address_format(&bound, listening->address);
    rfaas_host_address(bound.ss_family == AF_INET ? AF_INET : AF_UNSPEC, &host);
    set_port(&host, port_of(&bound));
    return rfaas_address_format(&host, listening->address);
}

static int bind_to(int fd, const struct sockaddr_storage *address, socklen_t length)
{
    const struct sockaddr *generic = (const struct sockaddr *)address;
    int on = 1, off = 0;
    if (address->ss_family != AF_UNIX) /* a port whose last user has just ended */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    int failed = bind(fd, generic, length);
    if (failed && errno == EADDRINUSE && address->ss_family == AF_UNIX &&
        remove_stale(address, length))
        failed = bind(fd, generic, length);
    return failed;
}

static int listen_at(const char *text, struct rfaas_listening *listening)
{
    struct sockaddr_storage address;
    socklen_t length;
    int status = rfaas_address_parse(text, &address, &length);
    if (status != RFAAS_OK)
        return status;
    int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    listening->fd = socket(address.ss_family, kind, 0);
    if (listening->fd < 0)
        return rfaas_fail(RFAAS_ERR_IO, "listener at %s: socket: %m", text);
    if (bind_to(listening->fd, &address, length) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "listener at %s: %m", text);
    bool local = address.ss_family == AF_UNIX;
    if (local)
        note_file(&address, listening);
    if (listen(listening->fd, SOMAXCONN) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "listener at %s: listen: %m", text);
    snprintf(listening->address, sizeof listening->address, "%.127s", text);
    return local ? RFAAS_OK : find_address(listening);
}

int rfaas_socket_listen(const char *text, struct rfaas_listening *listening)
{
    char addresses[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX] = {"tcp:[::]:0",
                                                              "tcp:0.0.0.0:0"};
    int count = 2, status = RFAAS_OK;
    *listening = (struct rfaas_listening){.fd = -1};
    if (strcmp(text, "tcp") != 0)
        status = rfaas_address_resolve(text, addresses, &count);
    for (int i = 0; i < count && listening->fd < 0 && status != RFAAS_ERR_ARGUMENT;
         i++) {
        status = listen_at(addresses[i], listening);
        if (status != RFAAS_OK)
            rfaas_socket_close(listening);
    }
    return status;
}

void rfaas_socket_close(struct rfaas_listening *listening)
{
    remove_file(listening);
    if (listening->fd >= 0)
        close(listening->fd);
    *listening = (struct rfaas_listening){.fd = -1};
}

void rfaas_socket_listen_beside(int fd, char address[RFAAS_ADDRESS_MAX])
{
    struct sockaddr_storage own, peer;
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    address[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&own, &own_length) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_length) != 0 ||
        own.ss_family == AF_UNIX)
        return;
    /* From one address to the same: the packets don't leave the host. */
    set_port(&own, 0);
    set_port(&peer, 0);
    if (own_length == peer_length && memcmp(&own, &peer, own_length) == 0)
        return;
    rfaas_address_format(&own, address);
}

/* ---- connections ----------------------------------------------------------------- */

bool rfaas_socket_is_local(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
           domain == AF_UNIX;
}

int rfaas_socket_watch(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1}, /* messages are short, and waited for */
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, PROBE_SECONDS},
        {IPPROTO_TCP, TCP_KEEPINTVL, PROBE_SECONDS},
        /* For probes and for data; the number of probes doesn't count then. */
        {IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE_MS},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value) != 0)
            return rfaas_fail(RFAAS_ERR_IO, "control socket %d: setsockopt: %m", fd);
    return RFAAS_OK;
}

void rfaas_socket_peer(int fd, char *text, size_t size)
{
    struct ucred who;
    struct sockaddr_storage address;
    char name[RFAAS_ADDRESS_MAX];
    socklen_t length = sizeof who;
    if (rfaas_socket_is_local(fd)) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0)
            snprintf(text, size, "process %ld of user %lu", (long)who.pid,
                     (unsigned long)who.uid);
        else
            snprintf(text, size, "a stranger");
        return;
    }
    length = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &length) == 0 &&
        rfaas_address_format(&address, name) == RFAAS_OK)
        snprintf(text, size, "a peer at %s", name);
    else
        snprintf(text, size, "a peer that has gone");
}
