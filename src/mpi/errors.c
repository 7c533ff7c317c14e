/* Statuses of the library as MPI error codes. */
#include "mpi/mpix.h"

#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int MPIX_ERR_NO_RESOURCES = MPI_ERR_OTHER;
int MPIX_ERR_LEASE = MPI_ERR_OTHER;
int MPIX_ERR_WORKER_LOST = MPI_ERR_OTHER;
int MPIX_ERR_FUNCTION = MPI_ERR_OTHER;
int MPIX_ERR_MANAGER = MPI_ERR_OTHER;

/* Codes for sentences. They can't be given back, and MPI numbers codes and classes in
 * the order in which they are made: an application may make its own later, the same on
 * all ranks, so ours are made at once, some for each class, and not when an error
 * happens on one rank. A sentence keeps its code until so many others have come. */
enum { CODES_OF_A_CLASS = 32 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool started;
static struct kind {
    int class;
    int codes[CODES_OF_A_CLASS];
    char texts[CODES_OF_A_CLASS][MPI_MAX_ERROR_STRING];
    int next; /* to be given another sentence */
} kinds[24];
static int kind_count;

/* MPICH 4.0 gives codes of its own classes strings of its own, which are nonsense. */
static bool keeps_strings(int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    return MPI_Add_error_string(code, "rFaaS") == MPI_SUCCESS &&
           MPI_Error_string(code, text, &length) == MPI_SUCCESS &&
           strcmp(text, "rFaaS") == 0;
}

/* A class without codes stands for itself. */
static int kind_create(int class)
{
    struct kind *kind = &kinds[kind_count];
    kind->class = class;
    for (int i = 0; i < CODES_OF_A_CLASS; i++) {
        int status = MPI_Add_error_code(class, &kind->codes[i]);
        if (status != MPI_SUCCESS)
            return status;
        if (i == 0 && !keeps_strings(kind->codes[0]))
            return MPI_SUCCESS;
    }
    kind_count++;
    return MPI_SUCCESS;
}

static int class_create(int *class, const char *text)
{
    int status = MPI_Add_error_class(class);
    return status == MPI_SUCCESS ? MPI_Add_error_string(*class, text) : status;
}

int mpix_errors_start(void)
{
    static const struct {
        int *class;
        const char *text;
    } classes[] = {
        {&MPIX_ERR_NO_RESOURCES, "MPIX_ERR_NO_RESOURCES: not enough free workers"},
        {&MPIX_ERR_LEASE, "MPIX_ERR_LEASE: lease expired, revoked or released"},
        {&MPIX_ERR_WORKER_LOST, "MPIX_ERR_WORKER_LOST: worker or executor gone"},
        {&MPIX_ERR_FUNCTION,
         "MPIX_ERR_FUNCTION: function missing, not loadable or crashed"},
        {&MPIX_ERR_MANAGER, "MPIX_ERR_MANAGER: manager gone or unreachable"},
    };
    static const int of_mpi[] = {
        MPI_ERR_ARG,
        MPI_ERR_BASE,
        MPI_ERR_BUFFER,
        MPI_ERR_COMM,
        MPI_ERR_COUNT,
        MPI_ERR_TYPE,
        MPI_ERR_INFO_VALUE,
        MPI_ERR_NO_MEM,
        MPI_ERR_OTHER,
        MPI_ERR_RANK,
        MPI_ERR_SIZE,
        MPI_ERR_TRUNCATE,
        MPI_ERR_UNSUPPORTED_OPERATION,
    };
    int status = MPI_SUCCESS;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; !started && i < sizeof classes / sizeof classes[0]; i++)
        if (status == MPI_SUCCESS)
            status = class_create(classes[i].class, classes[i].text);
    for (size_t i = 0; !started && i < sizeof classes / sizeof classes[0]; i++)
        if (status == MPI_SUCCESS)
            status = kind_create(*classes[i].class);
    for (size_t i = 0; !started && i < sizeof of_mpi / sizeof of_mpi[0]; i++)
        if (status == MPI_SUCCESS)
            status = kind_create(of_mpi[i]);
    started = true; /* what there is will be used */
    pthread_mutex_unlock(&mutex);
    return status;
}

static int class_of(int status)
{
    switch (status) {
    case RFAAS_ERR_ARGUMENT:
        return MPI_ERR_ARG;
    case RFAAS_ERR_NO_MEMORY:
        return MPI_ERR_NO_MEM;
    case RFAAS_ERR_TRUNCATE:
        return MPI_ERR_TRUNCATE;
    case RFAAS_ERR_NO_RESOURCES:
        return MPIX_ERR_NO_RESOURCES;
    case RFAAS_ERR_LEASE_EXPIRED:
    case RFAAS_ERR_LEASE_RELEASED:
    case RFAAS_ERR_LEASE_REVOKED:
        return MPIX_ERR_LEASE;
    case RFAAS_ERR_WORKER_LOST:
        return MPIX_ERR_WORKER_LOST;
    case RFAAS_ERR_FUNCTION:
        return MPIX_ERR_FUNCTION;
    case RFAAS_ERR_MANAGER:
    case RFAAS_ERR_REFUSED:
    case RFAAS_ERR_TIMEOUT:
    case RFAAS_ERR_PROTOCOL:
        return MPIX_ERR_MANAGER;
    case RFAAS_ERR_UNSUPPORTED:
        return MPI_ERR_UNSUPPORTED_OPERATION;
    default:
        return MPI_ERR_OTHER;
    }
}

/* The code of the kind that has this sentence. With the lock. */
static int code_of(struct kind *kind, const char *text)
{
    for (int i = 0; i < CODES_OF_A_CLASS; i++)
        if (strcmp(kind->texts[i], text) == 0)
            return kind->codes[i];
    int i = kind->next;
    kind->next = (i + 1) % CODES_OF_A_CLASS;
    snprintf(kind->texts[i], sizeof kind->texts[i], "%s", text);
    MPI_Add_error_string(kind->codes[i], kind->texts[i]); /* if not, the class tells */
    return kind->codes[i];
}

__attribute__((format(printf, 2, 0))) static int
code_format(int class, const char *format, va_list arguments)
{
    char text[MPI_MAX_ERROR_STRING];
    int code = class; /* before the first pool */
    vsnprintf(text, sizeof text, format, arguments);
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < kind_count; i++)
        if (kinds[i].class == class)
            code = code_of(&kinds[i], text);
    pthread_mutex_unlock(&mutex);
    return code;
}

int mpix_code(int class, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int code = code_format(class, format, arguments);
    va_end(arguments);
    return code;
}

int mpix_error_code(int status, const char *text)
{
    if (status == RFAAS_OK)
        return MPI_SUCCESS;
    return mpix_code(class_of(status), "%s",
                     text[0] ? text : rfaas_status_string(status));
}

int mpix_raise(MPI_Comm comm, int code)
{
    if (code != MPI_SUCCESS)
        MPI_Comm_call_errhandler(comm, code);
    return code;
}

int mpix_raise_in(MPIX_Pool pool, int code)
{
    return mpix_raise(pool ? pool->comm : MPI_COMM_WORLD, code);
}

int mpix_raise_status(MPIX_Pool pool, int status)
{
    return mpix_raise_in(pool, mpix_error_code(status, rfaas_last_error()));
}

int mpix_refuse(MPIX_Pool pool, int class, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int code = code_format(class, format, arguments);
    va_end(arguments);
    return mpix_raise_in(pool, code);
}
