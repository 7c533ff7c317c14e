/* Settings: every key once, in the table of config.c, with its default, its limits
 * and its help line. A value comes from the first of: settings given in a call, the
 * environment (RFAAS_ + key in capitals), the configuration file, the program's own
 * defaults, the table.
 *
 * The file is $RFAAS_CONFIG_FILE, else $XDG_CONFIG_HOME/rfaas.conf (default
 * ~/.config), else SYSCONFDIR/rfaas.conf; keys stand in its section [rfaas]. */
#ifndef RFAAS_BASE_CONFIG_H
#define RFAAS_BASE_CONFIG_H

#include "base/export.h"
#include "rfaas.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RFAAS_CONFIG_STRING_MAX = 512 }; /* bytes of a text value, its end included */

struct rfaas_config {
    char transport[16];                            /* auto, shm, verbs */
    char manager_address[RFAAS_CONFIG_STRING_MAX]; /* "" = start one */
    char listen[RFAAS_CONFIG_STRING_MAX];          /* auto, tcp, or an address of TCP */
    char key_file[RFAAS_CONFIG_STRING_MAX];        /* "" = a new key, or the one the
                                                      manager of this user offers */
    char executors[16];                            /* auto, none */
    char threads[16];                              /* multiple, single */
    int64_t cores;                                 /* of an executor; 0 = auto */
    int64_t cores_per_worker;                      /* >= 1 */
    int64_t memory_per_worker;                     /* bytes of a worker's input slots */
    int64_t slots;                                 /* of a worker, 1..256 */
    int64_t inline_max;                            /* bytes, header included */
    int64_t hot_timeout_us;                        /* -1 always hot, 0 always warm */
    int64_t min_workers;                           /* 0 = all that are asked for */
    double lease_seconds;
    double wait_seconds;
    char verbs_device[RFAAS_CONFIG_STRING_MAX]; /* "" = the best */
    int64_t verbs_port;                         /* 0 = the best */
    int64_t verbs_gid_index;                    /* -1 = the best */
    int64_t log_level;                          /* enum rfaas_log_level; by name */
};

/* A line of the table, for rfaas-info and MPI info objects. */
struct rfaas_config_key {
    const char *name;
    const char *initial; /* default, as text */
    const char *values;  /* what it takes, as text: "1..256", "auto|shm", "bytes" … */
    const char *help;
};
RFAAS_PRIVATE_API size_t rfaas_config_key_count(void);
RFAAS_PRIVATE_API const struct rfaas_config_key *rfaas_config_key_at(size_t index);

/* The whole ladder. `initial` and `settings` are arrays of "key=value" ended by NULL,
 * or NULL: `initial` ranks just above the table (a program's own defaults),
 * `settings` above all. RFAAS_ERR_ARGUMENT names key, value, where it came from and
 * what it takes. */
RFAAS_PRIVATE_API int rfaas_config_load(struct rfaas_config *config,
                                        const char *const initial[],
                                        const char *const settings[]);

/* Changes `config` by more settings, e.g. those of one lease; all or none. */
RFAAS_PRIVATE_API int rfaas_config_apply(struct rfaas_config *config,
                                         const char *const settings[]);

/* Whether there is such a key. */
bool rfaas_config_known(const char *name);

/* Effective value of key `index` as text, as it could be set again. */
RFAAS_PRIVATE_API void rfaas_config_format(const struct rfaas_config *config,
                                           size_t index, char *text, size_t size);

#endif
