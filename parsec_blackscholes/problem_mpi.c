#include "problem_mpi.h"

#include <mpi.h>
#include <stdio.h>

bool problem_set_mpi(char *problem, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "MPI error %d", code);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\n') /* MPICH tells in lines how it got there */
            *p = ' ';
    return problem_set(problem, "%s: %s", what, text);
}

void mpi_check(int code, const char *call)
{
    char problem[PROBLEM_SIZE];
    if (code == MPI_SUCCESS)
        return;
    problem_set_mpi(problem, call, code);
    fprintf(stderr, "blackscholes: %s\n", problem);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* Brings the text of the lowest rank that has one to all. Returns how many have one. */
static int share_text(const char *mine, char text[PROBLEM_SIZE])
{
    int rank, ranks, first, count, has = mine[0] != '\0';
    mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
    int candidate = has ? rank : ranks;
    mpi_check(MPI_Allreduce(&candidate, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD),
              "MPI_Allreduce");
    if (first == ranks)
        return 0;
    mpi_check(MPI_Allreduce(&has, &count, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD),
              "MPI_Allreduce");
    if (rank == first)
        snprintf(text, PROBLEM_SIZE, "%s", mine);
    mpi_check(MPI_Bcast(text, PROBLEM_SIZE, MPI_CHAR, first, MPI_COMM_WORLD),
              "MPI_Bcast");
    return count;
}

static bool is_root(void)
{
    int rank;
    mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    return rank == 0;
}

bool all_well(const char *problem)
{
    char text[PROBLEM_SIZE];
    int count = share_text(problem, text);
    if (count > 0 && is_root())
        fprintf(stderr, "blackscholes: %s\n", text);
    return count == 0;
}

void warn_once(const char *warning)
{
    char text[PROBLEM_SIZE];
    int count = share_text(warning, text);
    if (count == 0 || !is_root())
        return;
    fprintf(stderr, "blackscholes: warning: %s", text);
    if (count > 1)
        fprintf(stderr, " (on %d ranks)", count);
    fputc('\n', stderr);
}
