/* The reason of the last failure of this thread, for rfaas_last_error(). */
#ifndef RFAAS_BASE_ERROR_H
#define RFAAS_BASE_ERROR_H

#include "base/export.h"
#include "rfaas.h"

/* Remembers the sentence and returns `status`, so that the place that decides an
 * error reads `return rfaas_fail(RFAAS_ERR_…, "who: why", …)`. Places above it pass
 * the status up as it is. Keeps errno; %m works. */
RFAAS_PRIVATE_API int rfaas_fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
