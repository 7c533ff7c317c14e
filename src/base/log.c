/* Log lines. Level and role are atomics: any thread logs while another changes them. */
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LINE = 1024 };

static _Atomic(const char *) log_role;
static atomic_int log_level = RFAAS_LOG_NONE;

static const char *const level_names[] = {
    [RFAAS_LOG_NONE] = "none", [RFAAS_LOG_ERROR] = "error", [RFAAS_LOG_WARN] = "warn",
    [RFAAS_LOG_INFO] = "info", [RFAAS_LOG_DEBUG] = "debug",
};

void rfaas_log_start(const char *role, enum rfaas_log_level level)
{
    if (role)
        atomic_store(&log_role, role);
    atomic_store(&log_level, (int)level);
}

int rfaas_log_enabled(enum rfaas_log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* Texts come from peers too: none of them shall start a line of its own or steer the
 * reader's terminal. */
static void make_printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < ' ' || *c == 127)
            *c = '?';
    }
}

static void write_all(const char *line, size_t size)
{
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, line, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere left to complain */
        line += n;
        size -= (size_t)n;
    }
}

void rfaas_log_write(enum rfaas_log_level level, const char *format, ...)
{
    int saved = errno;
    const char *role = atomic_load(&log_role);
    char line[LOG_LINE] = ""; /* ends somewhere even if formatting fails */
    /* Always fits: role is a short literal. */
    int used = snprintf(line, sizeof line, "rfaas%s%.64s %ld: %s: ", role ? " " : "",
                        role ? role : "", (long)getpid(), level_names[level]);
    va_list arguments;
    va_start(arguments, format);
    errno = saved;
    vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    make_printable(line);
    size_t length = strnlen(line, sizeof line - 1);
    line[length++] = '\n'; /* in place of the final 0 */
    write_all(line, length);
    errno = saved;
}
