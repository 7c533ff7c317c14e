/* What goes wrong on one rank, told once and known to all. After each step all ranks
 * agree on how it went: nobody is left waiting, and no MPI_Abort is needed. */
#ifndef BLACKSCHOLES_PROBLEM_MPI_H
#define BLACKSCHOLES_PROBLEM_MPI_H

#include "problem.h"

/* "WHAT: text of an MPI error"; returns false. */
bool problem_set_mpi(char *problem, const char *what, int code);

/* Collective over MPI_COMM_WORLD. True if no rank has a problem; otherwise rank 0 has
 * printed the one of the lowest rank on stderr. */
bool all_well(const char *problem);

/* Collective. As all_well, for what doesn't stop the program: rank 0 prints the warning
 * of the lowest rank, and how many have one. */
void warn_once(const char *warning);

/* For the calls by which ranks agree: when such a one fails, so would telling the
 * others. Prints the error and ends the job. */
void mpi_check(int code, const char *call);

#endif
