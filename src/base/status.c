/* Texts of the statuses, and the version. */
#include "rfaas.h"

const char *rfaas_status_string(int status)
{
    switch (status) {
#define RFAAS_STATUS_TEXT(name, value, text)                                           \
    case name:                                                                         \
        return text;
        RFAAS_STATUS_MAP(RFAAS_STATUS_TEXT)
#undef RFAAS_STATUS_TEXT
    default:
        return "unknown status";
    }
}

#define TEXT_OF(value) #value
#define DOTTED(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *rfaas_version(void)
{
    return DOTTED(RFAAS_VERSION_MAJOR, RFAAS_VERSION_MINOR, RFAAS_VERSION_PATCH);
}
