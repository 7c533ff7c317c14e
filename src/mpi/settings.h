/* Info objects as settings of the library. */
#ifndef RFAAS_MPI_SETTINGS_H
#define RFAAS_MPI_SETTINGS_H

#include <mpi.h>

/* "key=value" strings ended by NULL, for the keys that are the library's; others are
 * left out, as MPI wants it. */
struct mpix_settings {
    char **owned;
    const char *const *list; /* the same */
};

int mpix_settings_read(MPI_Info info, struct mpix_settings *settings);
void mpix_settings_free(struct mpix_settings *settings);

#endif
