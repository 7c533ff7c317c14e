/* Addresses of control sockets. */
#include "control/address.h"
#include "base/error.h"
#include "base/random.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const char unix_scheme[] = "unix:";

int rfaas_address_parse(const char *text, struct sockaddr_storage *address,
                        socklen_t *length)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t scheme = sizeof unix_scheme - 1;

    if (strncmp(text, unix_scheme, scheme) != 0 ||
        (text[scheme] != '@' && text[scheme] != '/') || text[scheme + 1] == '\0')
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "address \"%.200s\": takes unix:@NAME or unix:/PATH", text);
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
