/* Addresses of control sockets. */
#include "control/address.h"
#include "base/error.h"
#include "base/random.h"
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const char unix_scheme[] = "unix:", tcp_scheme[] = "tcp:";

static int refuse(const char *text, const char *why)
{
    return rfaas_fail(RFAAS_ERR_ARGUMENT, "address \"%.200s\": %s", text, why);
}

static bool has_scheme(const char *text, const char *scheme)
{
    return strncmp(text, scheme, strlen(scheme)) == 0;
}

bool rfaas_address_is_tcp(const char *text)
{
    return !has_scheme(text, unix_scheme);
}

/* ---- Unix sockets ---------------------------------------------------------------- */

static int parse_unix(const char *text, struct sockaddr_storage *address,
                      socklen_t *length)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t scheme = sizeof unix_scheme - 1;

    if ((text[scheme] != '@' && text[scheme] != '/') || text[scheme + 1] == '\0')
        return refuse(text, "takes unix:@NAME or unix:/PATH");
    const char *name = text + scheme;
    size_t size = strlen(name);
    /* A path needs its final 0 too; one limit for both keeps the rule simple. */
    if (size >= sizeof un.sun_path)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "address \"%.200s\": longer than the system's %zu bytes",
                          text, scheme + sizeof un.sun_path - 1);
    memcpy(un.sun_path, name, size);
    if (name[0] == '@')
        un.sun_path[0] = '\0';
    memset(address, 0, sizeof *address);
    memcpy(address, &un, sizeof un);
    /* The length ends an abstract name, a 0 ends a path. */
    *length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (name[0] == '/'));
    return RFAAS_OK;
}

int rfaas_address_random(const char *role, char *text, size_t size)
{
    uint64_t random[2];
    int status = rfaas_random(random, sizeof random);
    if (status != RFAAS_OK)
        return status;
    int length = snprintf(text, size, "%s@rfaas-%s-%016llx%016llx", unix_scheme, role,
                          (unsigned long long)random[0], (unsigned long long)random[1]);
    if (length < 0 || (size_t)length >= size)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "address of a %s: needs more than %zu bytes", role, size);
    return RFAAS_OK;
}

/* ---- TCP ------------------------------------------------------------------------- */

static bool is_port(const char *text)
{
    unsigned value = 0;
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 5 && text[digits] == '\0' &&
           sscanf(text, "%u", &value) == 1 && value <= UINT16_MAX;
}

/* Takes HOST:PORT apart; `port` points into the text. */
static int split(const char *text, char host[NI_MAXHOST], const char **port)
{
    const char *begin =
        text + (has_scheme(text, tcp_scheme) ? sizeof tcp_scheme - 1 : 0);
    const char *end = strrchr(begin, ':');
    if (!end || !is_port(end + 1))
        return refuse(text, "takes unix:@NAME, unix:/PATH or tcp:HOST:PORT");
    *port = end + 1;
    bool brackets = *begin == '[' && end[-1] == ']';
    if (brackets) {
        begin++;
        end--;
    }
    if (!brackets && memchr(begin, ':', (size_t)(end - begin)))
        return refuse(text, "an IPv6 address stands in brackets: tcp:[ADDRESS]:PORT");
    if (begin >= end || end - begin >= NI_MAXHOST)
        return refuse(text, "no host");
    snprintf(host, NI_MAXHOST, "%.*s", (int)(end - begin), begin);
    return RFAAS_OK;
}

static int look_up(const char *text, int flags, struct addrinfo **found)
{
    char host[NI_MAXHOST];
    const char *port = NULL;
    int status = split(text, host, &port);
    if (status != RFAAS_OK)
        return status;
    const struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | flags,
                                   .ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM};
    int error = getaddrinfo(host, port, &hints, found);
    if (error)
        return refuse(text, flags & AI_NUMERICHOST ? "a number is wanted for the host"
                                                   : gai_strerror(error));
    return RFAAS_OK;
}

int rfaas_address_format(const struct sockaddr_storage *address,
                         char text[RFAAS_ADDRESS_MAX])
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    bool v6 = address->ss_family == AF_INET6;
    socklen_t length = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int error = getnameinfo((const struct sockaddr *)address, length, host, sizeof host,
                            port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    if (error)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "an address of TCP: %s",
                          gai_strerror(error));
    snprintf(text, RFAAS_ADDRESS_MAX, v6 ? "%s[%.80s]:%.5s" : "%s%.80s:%.5s",
             tcp_scheme, host, port);
    return RFAAS_OK;
}

/* ---- both ------------------------------------------------------------------------ */

int rfaas_address_parse(const char *text, struct sockaddr_storage *address,
                        socklen_t *length)
{
    struct addrinfo *found;
    if (!rfaas_address_is_tcp(text))
        return parse_unix(text, address, length);
    int status = look_up(text, AI_NUMERICHOST, &found);
    if (status != RFAAS_OK)
        return status;
    memset(address, 0, sizeof *address);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *length = found->ai_addrlen;
    freeaddrinfo(found);
    return RFAAS_OK;
}

int rfaas_address_resolve(const char *text,
                          char addresses[RFAAS_ADDRESSES_MAX][RFAAS_ADDRESS_MAX],
                          int *count)
{
    struct sockaddr_storage address;
    socklen_t length;
    struct addrinfo *found;
    int status, n = 0;
    if (!rfaas_address_is_tcp(text)) {
        status = parse_unix(text, &address, &length);
        if (status == RFAAS_OK)
            snprintf(addresses[0], RFAAS_ADDRESS_MAX, "%s", text);
        *count = 1;
        return status;
    }
    status = look_up(text, 0, &found);
    if (status != RFAAS_OK)
        return status;
    for (const struct addrinfo *a = found;
         a && n < RFAAS_ADDRESSES_MAX && status == RFAAS_OK; a = a->ai_next) {
        memset(&address, 0, sizeof address);
        memcpy(&address, a->ai_addr, a->ai_addrlen);
        status = rfaas_address_format(&address, addresses[n++]);
    }
    freeaddrinfo(found);
    *count = n;
    return status;
}
