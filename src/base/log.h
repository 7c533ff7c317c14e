/* Log lines on stderr: "rfaas <role> <pid>: <level>: <text>", one write each.
 *
 * error  something is lost that the user asked for
 * warn   something went wrong and was mended, or somebody was refused
 * info   one line for each start, end and change of hands
 * debug  what happens between them
 * The level is per process; nothing is printed before rfaas_log_start. */
#ifndef RFAAS_BASE_LOG_H
#define RFAAS_BASE_LOG_H

#include "base/export.h"

enum rfaas_log_level {
    RFAAS_LOG_NONE,
    RFAAS_LOG_ERROR,
    RFAAS_LOG_WARN,
    RFAAS_LOG_INFO,
    RFAAS_LOG_DEBUG,
};

/* `role` (a literal, e.g. "executor") names this process in its lines; NULL keeps
 * the one that is set. */
RFAAS_PRIVATE_API void rfaas_log_start(const char *role, enum rfaas_log_level level);

/* Arguments are not evaluated when the level is off. Keeps errno; %m works. */
#define rfaas_error(...) rfaas_log_at(RFAAS_LOG_ERROR, __VA_ARGS__)
#define rfaas_warn(...) rfaas_log_at(RFAAS_LOG_WARN, __VA_ARGS__)
#define rfaas_info(...) rfaas_log_at(RFAAS_LOG_INFO, __VA_ARGS__)
#define rfaas_debug(...) rfaas_log_at(RFAAS_LOG_DEBUG, __VA_ARGS__)

#define rfaas_log_at(level, ...)                                                       \
    do {                                                                               \
        if (rfaas_log_enabled(level))                                                  \
            rfaas_log_write(level, __VA_ARGS__);                                       \
    } while (0)

RFAAS_PRIVATE_API int rfaas_log_enabled(enum rfaas_log_level level);
RFAAS_PRIVATE_API void rfaas_log_write(enum rfaas_log_level level, const char *format,
                                       ...) __attribute__((format(printf, 2, 3)));

#endif
