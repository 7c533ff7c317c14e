/* Which device, port and address the transport `verbs` uses, and why some can't be. */
#include "transport/verbs.h"

#include "base/error.h"
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Text that grows up to its room. */
struct text {
    char *end;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text->end, text->left, format, arguments);
    va_end(arguments);
    size_t taken = n < 0 ? 0 : (size_t)n < text->left ? (size_t)n : text->left - 1;
    text->end += taken;
    text->left -= taken;
}

/* ---- what a process lacks -------------------------------------------------------- */

const char *verbs_memory_hint(void)
{
    static _Thread_local char hint[160];
    struct rlimit limit;
    hint[0] = '\0';
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        geteuid() != 0)
        snprintf(hint, sizeof hint,
                 ": this process may lock %llu KiB of memory (ulimit -l): raise "
                 "memlock in /etc/security/limits.conf",
                 (unsigned long long)limit.rlim_cur / 1024);
    return hint;
}

/* Device files that are there and can't be opened, as in containers. */
static void describe_files(struct text *text)
{
    DIR *directory = opendir("/dev/infiniband");
    if (!directory) {
        add(text, "; /dev/infiniband: %s", strerror(errno));
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(directory))) {
        char path[300];
        if (strncmp(entry->d_name, "uverbs", 6) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/infiniband/%s", entry->d_name);
        if (access(path, R_OK | W_OK) != 0)
            add(text, "; %s: %s", path, strerror(errno));
    }
    closedir(directory);
}

/* ---- addresses ------------------------------------------------------------------- */

static bool is_link_local(const union ibv_gid *gid)
{
    return gid->raw[0] == 0xfe && (gid->raw[1] & 0xc0) == 0x80;
}

/* The better, the higher; 0: not to be used. RoCE v2 passes routers, v1 doesn't. */
static int gid_score(const struct ibv_gid_entry *entry)
{
    static const unsigned char ip_v4[12] = {[10] = 0xff, [11] = 0xff};
    int score = 1;
    if (entry->gid_type == IBV_GID_TYPE_ROCE_V2)
        score += 4;
    if (!is_link_local(&entry->gid))
        score += 2;
    /* Both ends have to choose one of a kind. */
    if (memcmp(entry->gid.raw, ip_v4, sizeof ip_v4) == 0)
        score += 1;
    return score;
}

static bool gid_choose(struct ibv_context *context,
                       const struct rfaas_device_options *options,
                       struct verbs_port *port, int *score)
{
    enum { ENTRIES = 256 };
    static _Thread_local struct ibv_gid_entry entries[ENTRIES];
    ssize_t count = ibv_query_gid_table(context, entries, ENTRIES, 0);
    *score = 0;
    for (ssize_t i = 0; i < count; i++) {
        int of_this = gid_score(&entries[i]);
        if (entries[i].port_num != port->number ||
            (options->gid_index >= 0 &&
             entries[i].gid_index != (uint32_t)options->gid_index) ||
            of_this <= *score)
            continue;
        *score = of_this;
        port->gid = entries[i].gid;
        port->gid_index = (int)entries[i].gid_index;
    }
    return *score > 0;
}

/* ---- ports ----------------------------------------------------------------------- */

/* Fills `port` and says how good it is; 0: it can't be used, `why` tells the reason. */
static int port_score(struct ibv_context *context, const char *device, uint8_t number,
                      const struct rfaas_device_options *options,
                      struct verbs_port *port, const char **why)
{
    struct ibv_port_attr attributes;
    int score = 0;
    *port = (struct verbs_port){.number = number};
    snprintf(port->device, sizeof port->device, "%s", device);
    *why = "can't be queried";
    if (ibv_query_port(context, number, &attributes) != 0)
        return 0;
    port->lid = attributes.lid;
    port->mtu = (uint8_t)attributes.active_mtu;
    port->message_max = attributes.max_msg_sz ? attributes.max_msg_sz : 1u << 30;
    port->ethernet = attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
    *why = "is not active";
    if (attributes.state != IBV_PORT_ACTIVE)
        return 0;
    *why = options->gid_index >= 0 ? "has no such verbs_gid_index" : "has no address";
    if (!gid_choose(context, options, port, &score) && port->ethernet)
        return 0;
    return score + (port->ethernet ? 1 : 16);
}

static bool is_wanted(const struct rfaas_device_options *options, const char *device,
                      uint8_t port)
{
    return (!options->device || !options->device[0] ||
            strcmp(options->device, device) == 0) &&
           (options->port == 0 || options->port == port);
}

/* iWARP and others, whose connections are made in other ways. */
static const char foreign[] = "is neither InfiniBand nor RoCE";

/* The best port of one device; keeps the device open if it has one. */
static struct ibv_context *device_try(struct ibv_device *device,
                                      const struct rfaas_device_options *options,
                                      struct verbs_port *best, int *best_score,
                                      struct text *why)
{
    const char *name = ibv_get_device_name(device);
    struct ibv_device_attr attributes;
    struct ibv_context *context = ibv_open_device(device);
    bool better = false;
    if (!context) {
        add(why, "; %s: %s", name, strerror(errno));
        return NULL;
    }
    if (device->transport_type != IBV_TRANSPORT_IB) {
        add(why, "; %s %s", name, foreign);
        ibv_close_device(context);
        return NULL;
    }
    if (ibv_query_device(context, &attributes) != 0)
        attributes.phys_port_cnt = 0;
    for (uint8_t n = 1; n <= attributes.phys_port_cnt; n++) {
        struct verbs_port port;
        const char *reason;
        if (!is_wanted(options, name, n))
            continue;
        int score = port_score(context, name, n, options, &port, &reason);
        if (score == 0)
            add(why, "; port %u of %s %s", n, name, reason);
        if (score > *best_score) {
            *best_score = score;
            *best = port;
            better = true;
        }
    }
    if (better)
        return context;
    ibv_close_device(context);
    return NULL;
}

static int no_port(const struct rfaas_device_options *options, int devices,
                   struct text *why, const char *reasons)
{
    if (devices == 0)
        describe_files(why);
    if (options->device && options->device[0])
        return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "verbs: no device %s%s",
                          options->device, reasons);
    return rfaas_fail(RFAAS_ERR_UNSUPPORTED, "verbs: no %s%s",
                      devices == 0 ? "RDMA device" : "usable port", reasons);
}

int verbs_port_open(const struct rfaas_device_options *options, struct verbs_port *port,
                    struct ibv_context **context)
{
    char reasons[320] = "";
    struct text why = {reasons, sizeof reasons};
    int count = 0, score = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    *context = NULL;
    for (int i = 0; devices && i < count; i++) {
        struct ibv_context *better =
            device_try(devices[i], options, port, &score, &why);
        if (!better)
            continue;
        if (*context)
            ibv_close_device(*context);
        *context = better;
    }
    if (devices)
        ibv_free_device_list(devices);
    return *context ? RFAAS_OK : no_port(options, count, &why, reasons);
}

/* ---- for people ------------------------------------------------------------------ */

static void describe_device(struct ibv_device *device, struct text *text)
{
    struct ibv_device_attr limits;
    struct ibv_context *context = ibv_open_device(device);
    add(text, "  %s", ibv_get_device_name(device));
    if (!context) {
        add(text, ": %s\n", strerror(errno));
        return;
    }
    if (device->transport_type != IBV_TRANSPORT_IB) {
        add(text, " %s\n", foreign);
    } else if (ibv_query_device(context, &limits) == 0) {
        add(text, ": %d queue pairs, %d bytes a piece in %d regions\n", limits.max_qp,
            (int)(limits.max_mr_size > INT32_MAX ? INT32_MAX : limits.max_mr_size),
            limits.max_mr);
        for (uint8_t n = 1; n <= limits.phys_port_cnt; n++) {
            const struct rfaas_device_options any = {.gid_index = -1};
            struct verbs_port port;
            const char *why;
            bool usable = port_score(context, ibv_get_device_name(device), n, &any,
                                     &port, &why) > 0;
            add(text, "    port %u, %s: %s", n,
                port.ethernet ? "Ethernet" : "InfiniBand", usable ? "usable" : why);
            if (usable)
                add(text, ", GID index %d, MTU %d", port.gid_index, 128 << port.mtu);
            add(text, "\n");
        }
    }
    ibv_close_device(context);
}

void verbs_describe(char *room, size_t size)
{
    struct text text = {room, size};
    int count = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    add(&text, "verbs: %d device%s", count, count == 1 ? "" : "s");
    describe_files(&text);
    add(&text, "%s\n", verbs_memory_hint());
    for (int i = 0; devices && i < count; i++)
        describe_device(devices[i], &text);
    if (devices)
        ibv_free_device_list(devices);
}
