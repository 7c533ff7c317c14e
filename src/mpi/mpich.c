/* What MPICH (4.0) doesn't do for generalized requests, and Open MPI does:
 *   - an error that a query function returns reaches the program as it is; MPICH makes
 *     one of its own from it, MPI_ERR_OTHER
 *   - MPI_Waitall completes all requests; MPICH's stops at the first error and leaves
 *     the others as MPI_ERR_PENDING
 *   - MPI_Request_get_status makes progress
 * (MPI_Testall tells of an error before all have completed: that stays.)
 * So in programs with this library the calls that complete requests come by here, as
 * they would come by a profiling tool. */
#include "mpi/mpix.h"

#if !defined(MPICH_VERSION)

int mpix_query_result(int code)
{
    return code;
}

#else

#define DEFINE(name, parameters)                                                       \
    MPIX_RFAAS_API int MPI_##name parameters;                                          \
    int MPI_##name parameters

/* Errors that query functions of this thread have returned during the call, in order.
 * Those beyond stay as MPICH made them. */
enum { ERRORS_MAX = 1024 };
static _Thread_local struct {
    int codes[ERRORS_MAX];
    int count, taken;
} errors;

int mpix_query_result(int code)
{
    if (code != MPI_SUCCESS && errors.count < ERRORS_MAX)
        errors.codes[errors.count++] = code;
    return code;
}

static void begin(void)
{
    errors.count = errors.taken = 0;
}

/* The code that MPICH made one of its own from. */
static int original(int code)
{
    int class;
    if (code == MPI_SUCCESS || errors.taken == errors.count ||
        PMPI_Error_class(code, &class) != MPI_SUCCESS || class != MPI_ERR_OTHER)
        return code;
    return errors.codes[errors.taken++];
}

static void originals(int code, int count, MPI_Status statuses[])
{
    if (code == MPI_SUCCESS || statuses == MPI_STATUSES_IGNORE)
        return;
    for (int i = 0; i < count; i++)
        statuses[i].MPI_ERROR = original(statuses[i].MPI_ERROR);
}

DEFINE(Wait, (MPI_Request * request, MPI_Status *status))
{
    begin();
    return original(PMPI_Wait(request, status));
}

DEFINE(Test, (MPI_Request * request, int *flag, MPI_Status *status))
{
    begin();
    return original(PMPI_Test(request, flag, status));
}

DEFINE(Waitany, (int count, MPI_Request requests[], int *index, MPI_Status *status))
{
    begin();
    return original(PMPI_Waitany(count, requests, index, status));
}

DEFINE(Testany,
       (int count, MPI_Request requests[], int *index, int *flag, MPI_Status *status))
{
    begin();
    return original(PMPI_Testany(count, requests, index, flag, status));
}

DEFINE(Waitsome, (int count, MPI_Request requests[], int *completed, int indices[],
                  MPI_Status statuses[]))
{
    begin();
    int code = PMPI_Waitsome(count, requests, completed, indices, statuses);
    originals(code, *completed, statuses);
    return code;
}

DEFINE(Testsome, (int count, MPI_Request requests[], int *completed, int indices[],
                  MPI_Status statuses[]))
{
    begin();
    int code = PMPI_Testsome(count, requests, completed, indices, statuses);
    originals(code, *completed, statuses);
    return code;
}

DEFINE(Testall, (int count, MPI_Request requests[], int *flag, MPI_Status statuses[]))
{
    begin();
    int code = PMPI_Testall(count, requests, flag, statuses);
    originals(code, count, statuses);
    return code;
}

DEFINE(Waitall, (int count, MPI_Request requests[], MPI_Status statuses[]))
{
    begin();
    int code = PMPI_Waitall(count, requests, statuses);
    originals(code, count, statuses);
    for (int i = 0; code != MPI_SUCCESS && i < count; i++)
        if (statuses == MPI_STATUSES_IGNORE)
            MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
        else if (statuses[i].MPI_ERROR == MPI_ERR_PENDING)
            statuses[i].MPI_ERROR = MPI_Wait(&requests[i], &statuses[i]);
    return code;
}

DEFINE(Request_get_status, (MPI_Request request, int *flag, MPI_Status *status))
{
    begin();
    mpix_progress_poll();
    return original(PMPI_Request_get_status(request, flag, status));
}

#endif
