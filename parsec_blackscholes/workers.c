#include "workers.h"

#include "kernel.h"
#include "shipped.h"

#include <stdlib.h>

/* Keeps the first warning: what follows is mostly its consequence. */
static void warn(struct workers *w, const char *what, int code)
{
    if (w->warning[0] == '\0')
        problem_set_mpi(w->warning, what, code);
}

void workers_start(struct workers *w)
{
    mpi_check(MPI_Type_contiguous(sizeof(struct stock_option), MPI_BYTE, &w->option),
              "MPI_Type_contiguous");
    mpi_check(MPI_Type_commit(&w->option), "MPI_Type_commit");
    int code = MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &w->pool);
    if (code != MPI_SUCCESS) {
        w->pool = MPIX_POOL_NULL;
        warn(w, "no workers", code);
    }
}

/* What is free now, be it fewer than wanted: the rank would only spend the time that it
 * waits for more. */
static int acquire(struct workers *w, int wanted)
{
    MPI_Info info;
    mpi_check(MPI_Info_create(&info), "MPI_Info_create");
    mpi_check(MPI_Info_set(info, "min_workers", "1"), "MPI_Info_set");
    mpi_check(MPI_Info_set(info, "wait_seconds", "0"), "MPI_Info_set");
    int code = MPIX_Lease_acquire(w->pool, wanted, info, &w->lease);
    mpi_check(MPI_Info_free(&info), "MPI_Info_free");
    return code;
}

static bool load_functions(struct workers *w, bool transfer)
{
    char path[PATH_MAX], problem[PROBLEM_SIZE];
    if (!shipped_find(path, "libblackscholes.so", problem)) {
        problem_set(w->warning, "no function for the workers: %s", problem);
        return false;
    }
    int code = MPIX_Function_load(w->pool, path, "blackscholes_price", &w->price);
    if (code == MPI_SUCCESS && transfer)
        code = MPIX_Function_load(w->pool, path, "blackscholes_nothing", &w->nothing);
    if (code != MPI_SUCCESS)
        warn(w, "no function for the workers", code);
    return code == MPI_SUCCESS;
}

void workers_lease(struct workers *w, int wanted, bool transfer)
{
    if (w->pool == MPIX_POOL_NULL || !load_functions(w, transfer))
        return;
    int code = acquire(w, wanted);
    if (code == MPI_SUCCESS)
        code = MPIX_Lease_get_workers(w->lease, &w->count);
    if (code != MPI_SUCCESS) {
        warn(w, "no worker", code);
        w->count = 0;
    } else if (w->count < wanted) {
        problem_set(w->warning, "only %d of %d workers are free", w->count, wanted);
    }
}

void *workers_allocate(struct workers *w, size_t size, char *problem)
{
    void *memory = NULL;
    if (size == 0) /* a rank may be left without options */
        size = 1;
    if (w->pool == MPIX_POOL_NULL) {
        memory = malloc(size);
        if (memory == NULL)
            problem_set(problem, "no memory for the options: %zu bytes", size);
        return memory;
    }
    int code = MPIX_Pool_alloc_mem((MPI_Aint)size, w->pool, &memory);
    if (code == MPI_SUCCESS)
        return memory;
    problem_set_mpi(problem, "no memory for the options", code);
    return NULL;
}

void workers_free_memory(struct workers *w, void *memory)
{
    if (memory == NULL)
        return;
    if (w->pool == MPIX_POOL_NULL)
        free(memory);
    else
        MPIX_Pool_free_mem(w->pool, memory);
}

/* A call that fails here leaves nothing to be done about it. */
void workers_end(struct workers *w)
{
    if (w->lease != MPIX_LEASE_NULL)
        MPIX_Lease_release(&w->lease);
    if (w->price != MPIX_FUNCTION_NULL)
        MPIX_Function_free(&w->price);
    if (w->nothing != MPIX_FUNCTION_NULL)
        MPIX_Function_free(&w->nothing);
    if (w->pool != MPIX_POOL_NULL)
        MPIX_Pool_free(&w->pool);
    if (w->option != MPI_DATATYPE_NULL)
        MPI_Type_free(&w->option);
}
