#include "mpi/mpix.h"

#include <stdlib.h>

MPIX_DEFINE(Function_load, (MPIX_Pool pool, const char *library, const char *name,
                            MPIX_Function *function))
{
    if (!pool || !library || !name || !function)
        return mpix_refuse(pool, MPI_ERR_ARG, "MPIX_Function_load: %s is null",
                           !pool      ? "the pool"
                           : !library ? "the library's path"
                           : !name    ? "the function's name"
                                      : "where to put the handle");
    struct mpix_function *f = calloc(1, sizeof *f);
    if (!f)
        return mpix_refuse(pool, MPI_ERR_NO_MEM, "MPIX_Function_load: out of memory");
    int status = rfaas_function_load(pool->session, library, name, &f->function);
    if (status != RFAAS_OK) {
        free(f);
        return mpix_raise_status(pool, status);
    }
    f->pool = pool;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_mutex_lock(&pool->mutex);
    f->next = pool->functions;
    pool->functions = f;
    pthread_mutex_unlock(&pool->mutex);
    *function = f;
    return MPI_SUCCESS;
}

MPIX_DEFINE(Function_free, (MPIX_Function * function))
{
    if (!function || !*function)
        return mpix_refuse(NULL, MPI_ERR_ARG,
                           "MPIX_Function_free: the function is null");
    rfaas_function_free((*function)->function);
    (*function)->function = NULL;
    *function = MPIX_FUNCTION_NULL;
    return MPI_SUCCESS;
}
