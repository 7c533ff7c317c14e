/* The timed part: all options by the ranks alone, then by ranks and workers. */
#include "job.h"

#include <stdlib.h>
#include <string.h>

/* Fills the prices with NaN, so that none of an earlier pass is taken for one of
 * this. */
static void forget_prices(struct job *job)
{
    memset(job->prices, 0xff, (size_t)job->part.n * sizeof *job->prices);
}

/* The times of the slowest rank, for all. */
static struct pass slowest_of(struct pass mine, int rank)
{
    struct {
        double total;
        int rank;
    } own = {mine.total, rank}, slowest;
    mpi_check(
        MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD),
        "MPI_Allreduce");
    double times[] = {mine.total, mine.local, mine.waiting};
    mpi_check(MPI_Bcast(times, 3, MPI_DOUBLE, slowest.rank, MPI_COMM_WORLD),
              "MPI_Bcast");
    return (struct pass){times[0], times[1], times[2]};
}

/* One pass on all ranks at once. With a NULL split the ranks do it alone. */
static bool run_pass(struct job *job, struct split *split, struct pass *pass)
{
    struct pass mine = {0};
    forget_prices(job);
    mpi_check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    if (split == NULL)
        price_alone(&job->part, &mine, &job->progress);
    else
        split_price(split, &mine, &job->progress, job->problem);
    *pass = slowest_of(mine, job->rank);
    return all_well(job->problem);
}

static int compare_passes(const void *a, const void *b)
{
    double x = ((const struct pass *)a)->total, y = ((const struct pass *)b)->total;
    return (x > y) - (x < y);
}

/* Runs one pass that warms up, and the `repeat` ones that count. */
static bool run_passes(struct job *job, struct split *split, struct pass *first,
                       struct pass *median)
{
    int repeat = job->arguments->repeat;
    struct pass *passes = calloc((size_t)repeat, sizeof *passes);
    if (passes == NULL)
        problem_set(job->problem, "out of memory");
    if (!all_well(job->problem)) {
        free(passes);
        return false;
    }
    progress_begin(&job->progress, split == NULL ? "price alone" : "price hybrid",
                   (double)job->part.n * (repeat + 1), job->visible);
    bool well = run_pass(job, split, first);
    for (int i = 0; well && i < repeat; i++)
        well = run_pass(job, split, &passes[i]);
    progress_end(&job->progress);
    qsort(passes, (size_t)repeat, sizeof *passes, compare_passes);
    *median = passes[(repeat - 1) / 2];
    free(passes);
    return well;
}

static bool price_together(struct job *job)
{
    struct split split = {0};
    struct report *r = &job->report;
    split_create(&split, &job->part, &job->workers, job->arguments->offload,
                 job->problem);
    bool well =
        all_well(job->problem) && run_passes(job, &split, &r->first, &r->hybrid);
    int64_t offloaded = split.offloaded, sum = 0;
    split_free(&split);
    mpi_check(MPI_Reduce(&offloaded, &sum, 1, MPI_INT64_T, MPI_SUM, 0, MPI_COMM_WORLD),
              "MPI_Reduce");
    r->offloaded = (double)sum / r->options / (r->repeat + 1);
    warn_once(job->workers.warning);
    return well;
}

/* Alone first: leased workers that wait for work would take cores away from it. */
bool job_price(struct job *job)
{
    struct pass first;
    if (!run_passes(job, NULL, &first, &job->report.alone))
        return false;
    double begin = MPI_Wtime();
    workers_lease(&job->workers, job->arguments->workers);
    mpi_check(MPI_Allreduce(&job->workers.count, &job->report.workers, 1, MPI_INT,
                            MPI_SUM, MPI_COMM_WORLD),
              "MPI_Allreduce");
    job->report.start += MPI_Wtime() - begin;
    return price_together(job);
}
