#include "mpi/settings.h"

#include "base/config.h"
#include <stdio.h>
#include <stdlib.h>

static int read_key(MPI_Info info, const char *key, char **setting)
{
    char value[MPI_MAX_INFO_VAL + 1];
    int found = 0;
    int code = MPI_Info_get(info, key, MPI_MAX_INFO_VAL, value, &found);
    if (code != MPI_SUCCESS || !found)
        return code;
    size_t size = sizeof value + MPI_MAX_INFO_KEY + 2;
    *setting = malloc(size);
    if (!*setting)
        return MPI_ERR_NO_MEM;
    snprintf(*setting, size, "%s=%s", key, value);
    return MPI_SUCCESS;
}

int mpix_settings_read(MPI_Info info, struct mpix_settings *settings)
{
    size_t keys = rfaas_config_key_count(), count = 0;
    settings->owned = calloc(keys + 1, sizeof *settings->owned);
    settings->list = (const char *const *)settings->owned;
    if (!settings->owned)
        return MPI_ERR_NO_MEM;
    for (size_t i = 0; info != MPI_INFO_NULL && i < keys; i++) {
        int code =
            read_key(info, rfaas_config_key_at(i)->name, &settings->owned[count]);
        if (code != MPI_SUCCESS) {
            mpix_settings_free(settings);
            return code;
        }
        if (settings->owned[count])
            count++;
    }
    return MPI_SUCCESS;
}

void mpix_settings_free(struct mpix_settings *settings)
{
    for (char **setting = settings->owned; setting && *setting; setting++)
        free(*setting);
    free(settings->owned);
    settings->owned = NULL;
}
