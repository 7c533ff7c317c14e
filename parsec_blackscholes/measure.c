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
    double times[] = {mine.total, mine.predicted};
    mpi_check(MPI_Bcast(times, 2, MPI_DOUBLE, slowest.rank, MPI_COMM_WORLD),
              "MPI_Bcast");
    return (struct pass){.total = times[0], .predicted = times[1]};
}

/* What the passes do: the rank alone, with workers, or only sending to them. */
typedef void pass_work(struct job *job, MPI_Info terms, struct pass *pass);

static void work_alone(struct job *job, MPI_Info terms, struct pass *pass)
{
    (void)terms;
    price_alone(&job->part, pass, &job->progress);
}

static void work_together(struct job *job, MPI_Info terms, struct pass *pass)
{
    split_price(&job->part, &job->workers, job->workers.price, terms, pass,
                &job->progress);
    job->offloaded += pass->offloaded;
}

static void work_transfer(struct job *job, MPI_Info terms, struct pass *pass)
{
    split_price(&job->part, &job->workers, job->workers.nothing, terms, pass,
                &job->progress);
}

/* One pass on all ranks at once. */
static bool run_pass(struct job *job, pass_work *work, MPI_Info terms,
                     struct pass *pass)
{
    struct pass mine = {0};
    forget_prices(job);
    mpi_check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    work(job, terms, &mine);
    *pass = slowest_of(mine, job->rank);
    return all_well(job->problem);
}

static int compare_passes(const void *a, const void *b)
{
    double x = ((const struct pass *)a)->total, y = ((const struct pass *)b)->total;
    return (x > y) - (x < y);
}

/* Runs one pass that warms up, and the `repeat` ones that count. */
static bool run_passes(struct job *job, const char *what, pass_work *work,
                       MPI_Info terms, struct pass *first, struct pass *median)
{
    int repeat = job->arguments->repeat;
    struct pass *passes = calloc((size_t)repeat, sizeof *passes);
    if (passes == NULL)
        problem_set(job->problem, "out of memory");
    if (!all_well(job->problem)) {
        free(passes);
        return false;
    }
    progress_begin(&job->progress, what, (double)job->part.n * (repeat + 1),
                   job->visible);
    bool well = run_pass(job, work, terms, first);
    for (int i = 0; well && i < repeat; i++)
        well = run_pass(job, work, terms, &passes[i]);
    progress_end(&job->progress);
    qsort(passes, (size_t)repeat, sizeof *passes, compare_passes);
    *median = passes[(repeat - 1) / 2];
    free(passes);
    return well;
}

/* As many options go to workers as when they price. */
static bool measure_transfer(struct job *job)
{
    struct pass first;
    MPI_Info terms = split_terms("static", job->arguments->offload);
    bool well = run_passes(job, "transfer", work_transfer, terms, &first,
                           &job->report.transfer);
    mpi_check(MPI_Info_free(&terms), "MPI_Info_free");
    return well;
}

static bool price_together(struct job *job)
{
    const struct arguments *a = job->arguments;
    struct report *r = &job->report;
    int64_t sum = 0;
    if (a->transfer && !measure_transfer(job))
        return false;
    MPI_Info terms = split_terms(a->schedule, a->offload);
    bool well =
        run_passes(job, "price hybrid", work_together, terms, &r->first, &r->hybrid);
    mpi_check(MPI_Info_free(&terms), "MPI_Info_free");
    mpi_check(
        MPI_Reduce(&job->offloaded, &sum, 1, MPI_INT64_T, MPI_SUM, 0, MPI_COMM_WORLD),
        "MPI_Reduce");
    r->offloaded = (double)sum / r->options / (r->repeat + 1);
    warn_once(job->workers.warning);
    return well;
}

/* Alone first: leased workers that wait for work would take cores away from it. */
bool job_price(struct job *job)
{
    struct pass first;
    if (!run_passes(job, "price alone", work_alone, MPI_INFO_NULL, &first,
                    &job->report.alone))
        return false;
    double begin = MPI_Wtime();
    workers_lease(&job->workers, job->arguments->workers, job->arguments->transfer);
    mpi_check(MPI_Allreduce(&job->workers.count, &job->report.workers, 1, MPI_INT,
                            MPI_SUM, MPI_COMM_WORLD),
              "MPI_Allreduce");
    job->report.start += MPI_Wtime() - begin;
    return price_together(job);
}
