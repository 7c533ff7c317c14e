/* Settings. */
#include "base/config.h"
#include "base/config_value.h"
#include "base/error.h"
#include "base/log.h"
#include <ctype.h>
#include <errno.h>
#include <iniparser/iniparser.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the table ---------------------------------------------------------------- */

#define FIELD(name)                                                                    \
    offsetof(struct rfaas_config, name), sizeof((struct rfaas_config *)0)->name
#define RANGE(least, most) .min = (least), .max = (most)

struct key {
    struct rfaas_config_key shown;
    size_t offset, size; /* of the field in struct rfaas_config */
    struct rfaas_value_kind kind;
};

/* Extra arguments are designated initializers of the kind. */
#define KEY(field, value_type, initial_text, values_text, help_text, ...)              \
    {                                                                                  \
        {#field, initial_text, values_text, help_text}, FIELD(field),                  \
        {                                                                              \
            .type = RFAAS_VALUE_##value_type, __VA_ARGS__                              \
        }                                                                              \
    }

static const struct key keys[] = {
    KEY(transport, CHOICE, "auto", "auto|shm|verbs",
        "how bytes reach a worker; auto: shm to those of this node, else verbs"),
    KEY(manager_address, TEXT, "", "unix:@NAME, unix:/PATH or HOST:PORT",
        "where the manager is; empty: a new one is started"),
    KEY(listen, TEXT, "auto", "auto, tcp or HOST:PORT",
        "where other nodes reach manager and executors; auto: by TCP when the job has "
        "several nodes, or an executor's manager is reached by TCP; tcp: at any free "
        "port"),
    KEY(key_file, TEXT, "", "path of a file, at most 511 bytes",
        "the job's key; empty: a new one, or the one that the manager offers to "
        "processes of its user"),
    KEY(executors, CHOICE, "auto", "auto|none",
        "auto: the first rank of each node starts an executor"),
    KEY(threads, CHOICE, "multiple", "multiple|single",
        "whether several threads use a session at once"),
    KEY(cores, COUNT, "auto", "auto or 1..4096",
        "cores that an executor offers; auto: those that no rank is bound to",
        RANGE(1, 4096), .zero = "auto"),
    KEY(cores_per_worker, COUNT, "1", "1..4096", "cores of each worker",
        RANGE(1, 4096)),
    /* The least makes room for the largest inline_max in each of 256 slots. */
    KEY(memory_per_worker, BYTES, "16M", "1M..1024G bytes, with K, M or G",
        "memory for the inputs in a worker's slots; larger inputs are fetched",
        RANGE(1 << 20, (double)(INT64_C(1) << 40))),
    KEY(slots, COUNT, "8", "1..256", "invocations that a worker can hold at a time",
        RANGE(1, 256)),
    KEY(inline_max, BYTES, "192", "64..4096 bytes, with K",
        "bytes of header and input that travel in one go", RANGE(64, 4096)),
    KEY(hot_timeout_us, COUNT, "2000", "-1..1000000000 microseconds",
        "how long an idle worker polls before it sleeps; -1: for ever, 0: never",
        RANGE(-1, 1e9)),
    KEY(min_workers, COUNT, "0", "0..65536",
        "workers to be content with when not all are free; 0: all", RANGE(0, 65536)),
    KEY(lease_seconds, REAL, "600", "more than 0, at most 1000000000 seconds",
        "duration of a lease; it is renewed while its client lives", RANGE(1e-9, 1e9)),
    KEY(wait_seconds, REAL, "0", "0..1000000000 seconds",
        "how long a lease may wait for free cores", RANGE(0, 1e9)),
    KEY(schedule, INDEX, "model", "model|dynamic|static",
        "who does which elements of a loop; model: by what both sides take for an "
        "element; dynamic: chunks as they come; static: workers the part that offload "
        "says"),
    KEY(offload, REAL, "0.5", "0..1",
        "with schedule static: the workers' part of a loop", RANGE(0, 1)),
    KEY(local_threads, COUNT, "1", "0..1024",
        "threads of the rank that do their part of a loop; 0: workers do it all",
        RANGE(0, 1024)),
    KEY(chunk, COUNT, "auto", "auto or 1..1000000000 elements",
        "elements of a loop that a worker gets at a time; auto: by their cost and size",
        RANGE(1, 1e9), .zero = "auto"),
    KEY(verbs_device, TEXT, "", "name of an RDMA device",
        "device of the transport verbs; empty: the best"),
    KEY(verbs_port, COUNT, "auto", "auto or 1..255", "its port; auto: the best",
        RANGE(1, 255), .zero = "auto"),
    KEY(verbs_gid_index, COUNT, "-1", "-1..65535",
        "its address among those of the port; -1: the best, RoCE v2 before v1",
        RANGE(-1, 65535)),
    KEY(log_level, INDEX, "none", "none|error|warn|info|debug",
        "what is written to standard error"),
};
enum { KEYS = sizeof keys / sizeof keys[0] };

size_t rfaas_config_key_count(void)
{
    return KEYS;
}

const struct rfaas_config_key *rfaas_config_key_at(size_t index)
{
    return index < KEYS ? &keys[index].shown : NULL;
}

static const struct key *key_find(const char *name, size_t length)
{
    for (size_t i = 0; i < KEYS; i++) {
        const char *known = keys[i].shown.name;
        if (strncmp(known, name, length) == 0 && known[length] == '\0')
            return &keys[i];
    }
    return NULL;
}

bool rfaas_config_known(const char *name)
{
    return key_find(name, strlen(name)) != NULL;
}

static int key_set(const struct key *key, struct rfaas_config *config, const char *text,
                   const char *source)
{
    void *field = (char *)config + key->offset;
    if (rfaas_value_parse(&key->kind, key->shown.values, text, field, key->size))
        return RFAAS_OK;
    return rfaas_fail(RFAAS_ERR_ARGUMENT, "config: %s=%.128s (%s): takes %s",
                      key->shown.name, text, source, key->shown.values);
}

void rfaas_config_format(const struct rfaas_config *config, size_t index, char *text,
                         size_t size)
{
    if (index >= KEYS) {
        snprintf(text, size, "%s", "");
        return;
    }
    const struct key *key = &keys[index];
    rfaas_value_format(&key->kind, key->shown.values,
                       (const char *)config + key->offset, text, size);
}

/* ---- settings and environment ------------------------------------------------- */

static int apply_list(struct rfaas_config *config, const char *const list[],
                      const char *source)
{
    for (; list && *list; list++) {
        const char *equals = strchr(*list, '=');
        if (!equals)
            return rfaas_fail(RFAAS_ERR_ARGUMENT,
                              "config: \"%.128s\" (%s): not key=value", *list, source);
        size_t length = (size_t)(equals - *list);
        const struct key *key = key_find(*list, length);
        if (!key)
            return rfaas_fail(RFAAS_ERR_ARGUMENT, "config: unknown key \"%.*s\" (%s)",
                              length < 128 ? (int)length : 128, *list, source);
        int status = key_set(key, config, equals + 1, source);
        if (status != RFAAS_OK)
            return status;
    }
    return RFAAS_OK;
}

static int apply_environment(struct rfaas_config *config)
{
    for (size_t i = 0; i < KEYS; i++) {
        char variable[64];
        snprintf(variable, sizeof variable, "RFAAS_%s", keys[i].shown.name);
        for (char *c = variable; *c; c++)
            *c = (char)toupper((unsigned char)*c);
        const char *text = getenv(variable);
        if (!text)
            continue;
        int status = key_set(&keys[i], config, text, variable);
        if (status != RFAAS_OK)
            return status;
    }
    return RFAAS_OK;
}

/* ---- the file ----------------------------------------------------------------- */

/* iniparser tells what is wrong through one function for the whole process. */
static pthread_mutex_t parser_lock = PTHREAD_MUTEX_INITIALIZER;
static char parser_text[256];

__attribute__((format(printf, 1, 2))) static int parser_complain(const char *format,
                                                                 ...)
{
    if (parser_text[0])
        return 0; /* the first complaint is the one to look at */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(parser_text, sizeof parser_text, format, arguments);
    va_end(arguments);
    for (char *c = parser_text; *c; c++) {
        if (*c == '\n')
            *c = c[1] ? ' ' : '\0';
    }
    return length;
}

static int parse_file(const char *path, dictionary **file)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0 || access(path, R_OK) != 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "config: %s: %m", path);
    if (S_ISDIR(stat_of.st_mode))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "config: %s: is a directory", path);
    pthread_mutex_lock(&parser_lock);
    parser_text[0] = '\0';
    iniparser_set_error_callback(parser_complain);
    *file = iniparser_load(path);
    iniparser_set_error_callback(NULL);
    int status = RFAAS_OK;
    if (!*file)
        status = rfaas_fail(RFAAS_ERR_ARGUMENT, "config: %s: %s", path,
                            parser_text[0] ? parser_text : "can't be read");
    pthread_mutex_unlock(&parser_lock);
    return status;
}

/* A line as iniparser keeps it: "section:key" and a value, or a section alone. */
static int apply_line(struct rfaas_config *config, const char *path, const char *name,
                      const char *value)
{
    static const char section[] = "rfaas";
    size_t length = sizeof section - 1;
    bool ours = strncmp(name, section, length) == 0;
    if (!value && ours && name[length] == '\0')
        return RFAAS_OK;
    if (!value || !ours || name[length] != ':')
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "config: %s: \"%s\" is not in section [%s]", path,
                          name[0] == ':' ? name + 1 : name, section);
    name += length + 1;
    const struct key *key = key_find(name, strlen(name));
    if (!key)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "config: unknown key \"%s\" (%s)", name,
                          path);
    return key_set(key, config, value, path);
}

static int apply_file(struct rfaas_config *config, const char *path)
{
    dictionary *file = NULL;
    int status = parse_file(path, &file);
    if (status != RFAAS_OK)
        return status;
    for (ssize_t i = 0; i < file->size && status == RFAAS_OK; i++) {
        if (file->key[i])
            status = apply_line(config, path, file->key[i], file->val[i]);
    }
    iniparser_freedict(file);
    return status;
}

/* The first of the places that has a file. One named by RFAAS_CONFIG_FILE has to be
 * there. Empty: there is none. */
static void find_file(char *path, size_t size)
{
    const char *named = getenv("RFAAS_CONFIG_FILE");
    if (named && named[0]) {
        snprintf(path, size, "%s", named);
        return;
    }
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    path[0] = '\0';
    if (xdg && xdg[0])
        snprintf(path, size, "%s/rfaas.conf", xdg);
    else if (home && home[0])
        snprintf(path, size, "%s/.config/rfaas.conf", home);
    if (path[0] && access(path, F_OK) == 0)
        return;
    snprintf(path, size, "%s/rfaas.conf", RFAAS_SYSCONFDIR);
    if (access(path, F_OK) != 0)
        path[0] = '\0';
}

/* ---- the ladder --------------------------------------------------------------- */

int rfaas_config_load(struct rfaas_config *config, const char *const initial[],
                      const char *const settings[])
{
    struct rfaas_config loaded;
    char path[4096];
    memset(&loaded, 0, sizeof loaded);
    int status = RFAAS_OK;
    for (size_t i = 0; i < KEYS && status == RFAAS_OK; i++)
        status = key_set(&keys[i], &loaded, keys[i].shown.initial, "the table");
    if (status == RFAAS_OK)
        status = apply_list(&loaded, initial, "the program's defaults");
    find_file(path, sizeof path);
    if (status == RFAAS_OK && path[0])
        status = apply_file(&loaded, path);
    if (status == RFAAS_OK)
        status = apply_environment(&loaded);
    if (status == RFAAS_OK)
        status = apply_list(&loaded, settings, "the settings");
    if (status == RFAAS_OK)
        *config = loaded;
    return status;
}

int rfaas_config_apply(struct rfaas_config *config, const char *const settings[])
{
    struct rfaas_config changed = *config;
    int status = apply_list(&changed, settings, "the settings");
    if (status == RFAAS_OK)
        *config = changed;
    return status;
}
