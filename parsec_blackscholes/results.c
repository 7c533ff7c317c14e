/* What becomes of the prices. */
#include "job.h"

#include "errors.h"
#include "output.h"

#include <stdlib.h>

bool job_check_prices(struct job *job)
{
    struct errors errors;
    errors_find(&errors, &job->input, job->options, job->prices, job->references,
                job->problem);
    double mine[] = {errors.largest, errors.relative}, largest[2];
    mpi_check(MPI_Allreduce(mine, largest, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD),
              "MPI_Allreduce");
    job->report.errors = (struct errors){largest[0], largest[1]};
    return all_well(job->problem);
}

/* Brings all prices to rank 0, in the order of the input. */
static bool gather_prices(struct job *job)
{
    int n = job->part.n;
    int *counts = NULL, *places = NULL;
    if (job->rank == 0) {
        counts = calloc((size_t)job->ranks, sizeof *counts);
        places = calloc((size_t)job->ranks, sizeof *places);
        job->all_prices = malloc((size_t)job->report.options * sizeof(float));
        if (counts == NULL || places == NULL || job->all_prices == NULL)
            problem_set(job->problem, "no memory for the prices of all ranks");
    }
    bool well = all_well(job->problem);
    if (well) {
        mpi_check(MPI_Gather(&n, 1, MPI_INT, counts, 1, MPI_INT, 0, MPI_COMM_WORLD),
                  "MPI_Gather");
        for (int i = 1; job->rank == 0 && i < job->ranks; i++)
            places[i] = places[i - 1] + counts[i - 1];
        mpi_check(MPI_Gatherv(job->prices, n, MPI_FLOAT, job->all_prices, counts,
                              places, MPI_FLOAT, 0, MPI_COMM_WORLD),
                  "MPI_Gatherv");
    }
    free(counts);
    free(places);
    return well;
}

bool job_write_output(struct job *job)
{
    double begin = MPI_Wtime();
    int n = job->report.options;
    if (!gather_prices(job))
        return false;
    if (job->rank == 0) {
        progress_begin(&job->progress, "write output", n, job->visible);
        if (output_write(&job->output, job->all_prices, n, &job->progress,
                         job->problem))
            file_finish(&job->output, job->problem);
        progress_end(&job->progress);
    }
    bool well = all_well(job->problem);
    job->report.write = MPI_Wtime() - begin;
    return well;
}

/* To stderr when the prices go to stdout. */
bool job_print_report(struct job *job)
{
    FILE *to = job->output.is_stdout ? stderr : stdout;
    if (job->rank == 0 && !report_print(&job->report, to))
        problem_set(job->problem, "cannot write the report");
    return all_well(job->problem);
}
