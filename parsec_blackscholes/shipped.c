#include "shipped.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The directory in which this program lies; "." where that can't be told. */
static void own_directory(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        *slash = '\0';
    else
        strcpy(path, ".");
}

bool shipped_find(char path[PATH_MAX], const char *name, char *problem)
{
    char own[PATH_MAX];
    own_directory(own);
    const char *const places[] = {own, BLACKSCHOLES_SOURCE};
    for (int i = 0; i < 2; i++) {
        int n = snprintf(path, PATH_MAX, "%s/%s", places[i], name);
        if (n < PATH_MAX && access(path, R_OK) == 0)
            return true;
    }
    return problem_set(problem, "%s: found neither in %s nor in %s", name, places[0],
                       places[1]);
}
