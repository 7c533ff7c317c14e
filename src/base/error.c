/* The last failure of each thread. */
#include "base/error.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_TEXT = 512 };

static _Thread_local char error_text[ERROR_TEXT];

int rfaas_fail(int status, const char *format, ...)
{
    int saved = errno;
    /* Not written in place: the arguments may contain rfaas_last_error() itself. */
    char text[ERROR_TEXT] = ""; /* ends somewhere even if formatting fails */
    va_list arguments;
    va_start(arguments, format);
    errno = saved;
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(error_text, text, sizeof text);
    errno = saved;
    return status;
}

const char *rfaas_last_error(void)
{
    return error_text;
}
