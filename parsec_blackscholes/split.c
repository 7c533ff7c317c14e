#include "split.h"

#include <stdio.h>

/* The progress bar is looked after each time so many have been priced: for some hundred
 * microseconds. */
enum { PIECE = 16384 };

void price_alone(const struct part *part, struct pass *pass, struct progress *progress)
{
    double begin = MPI_Wtime();
    for (int done = 0; done < part->n;) {
        int n = part->n - done < PIECE ? part->n - done : PIECE;
        price_options(part->options + done, part->prices + done, (size_t)n);
        progress_add(progress, n);
        done += n;
    }
    *pass = (struct pass){.total = MPI_Wtime() - begin};
}

MPI_Info split_terms(const char *schedule, double offload)
{
    MPI_Info terms;
    char fraction[32];
    snprintf(fraction, sizeof fraction, "%.9f", offload);
    mpi_check(MPI_Info_create(&terms), "MPI_Info_create");
    mpi_check(MPI_Info_set(terms, "schedule", schedule), "MPI_Info_set");
    mpi_check(MPI_Info_set(terms, "offload", fraction), "MPI_Info_set");
    return terms;
}

static void warn(struct workers *workers, int code, const MPIX_Loop *loop)
{
    if (workers->warning[0] != '\0') /* the first one: others follow from it */
        return;
    if (code != MPI_SUCCESS)
        problem_set_mpi(workers->warning, "a worker failed", code);
    else if (loop->retried > 0)
        problem_set(workers->warning, "a worker failed: what it had was priced again");
}

void split_price(const struct part *part, struct workers *workers,
                 MPIX_Function function, MPI_Info terms, struct pass *pass,
                 struct progress *progress)
{
    MPIX_Loop loop = {0};
    if (workers->count == 0) {
        price_alone(part, pass, progress);
        return;
    }
    double begin = MPI_Wtime();
    int code = MPIX_Parallel_for(function, part->n, part->options, workers->option,
                                 part->prices, MPI_FLOAT, workers->lease, terms);
    double end = MPI_Wtime();
    if (code == MPI_SUCCESS)
        code = MPIX_Loop_stats(function, &loop);
    warn(workers, code, &loop);
    if (code != MPI_SUCCESS) {
        price_alone(part, pass, progress);
        pass->total += end - begin;
        return;
    }
    progress_add(progress, part->n);
    *pass = (struct pass){.total = end - begin,
                          .predicted = 1e-9 * (double)loop.predicted_ns,
                          .offloaded = loop.offloaded};
}
