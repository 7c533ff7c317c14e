/* blackscholes: an MPI program that prices options, partly on its ranks and partly
 * on the workers that these lease. This file is the flow; each step is collective,
 * and ends with all ranks knowing whether it went well. */
#include "generate.h"
#include "job.h"
#include "shipped.h"

#include <signal.h>
#include <stdlib.h>

/* Opens both files first: what is wrong with them shows before the work is done. */
static bool open_files(struct job *job)
{
    const struct arguments *a = job->arguments;
    int64_t lines = 0;
    if (input_open(&job->input, a->input, job->rank, job->ranks, job->problem) &&
        job->rank == 0)
        file_create(&job->output, a->output, job->problem);
    if (!all_well(job->problem))
        return false;
    mpi_check(MPI_Exscan(&job->input.size, &job->input.first, 1, MPI_INT64_T, MPI_SUM,
                         MPI_COMM_WORLD),
              "MPI_Exscan");
    if (job->rank == 0)
        job->input.first = 0; /* MPI_Exscan leaves it undefined there */
    mpi_check(MPI_Allreduce(&job->input.size, &lines, 1, MPI_INT64_T, MPI_SUM,
                            MPI_COMM_WORLD),
              "MPI_Allreduce");
    input_check_count(&job->input, lines, job->problem);
    return all_well(job->problem);
}

static bool allocate(struct job *job)
{
    size_t n = (size_t)job->input.size;
    job->options =
        workers_allocate(&job->workers, n * sizeof *job->options, job->problem);
    job->prices =
        workers_allocate(&job->workers, n * sizeof *job->prices, job->problem);
    job->references = malloc(n * sizeof *job->references + 1);
    if (job->references == NULL)
        problem_set(job->problem, "no memory for the reference prices");
    job->part = (struct part){job->options, job->prices, (int)n};
    return all_well(job->problem);
}

static bool read_input(struct job *job)
{
    struct input *in = &job->input;
    progress_begin(&job->progress, "read input", (double)(in->end - in->begin),
                   job->visible);
    input_read(in, job->options, job->references, &job->progress, job->problem);
    progress_end(&job->progress);
    return all_well(job->problem);
}

static bool load(struct job *job)
{
    double begin = MPI_Wtime();
    if (!open_files(job))
        return false;
    double opened = MPI_Wtime();
    if (job->arguments->offload > 0)
        workers_start(&job->workers);
    double started = MPI_Wtime();
    if (!allocate(job) || !read_input(job))
        return false;
    job->report.read = MPI_Wtime() - started + (opened - begin);
    job->report.start = started - opened;
    return true;
}

static void clean_up(struct job *job)
{
    file_discard(&job->output);
    input_close(&job->input);
    free(job->all_prices);
    free(job->references);
    workers_free_memory(&job->workers, job->prices);
    workers_free_memory(&job->workers, job->options);
    workers_end(&job->workers);
}

/* Wrong prices are written and reported like right ones, for whoever looks for the
 * cause. */
static int run(const struct arguments *arguments, int rank, int ranks)
{
    struct job job = {.arguments = arguments,
                      .rank = rank,
                      .ranks = ranks,
                      .visible = rank == 0 && progress_is_visible(),
                      .input = {.fd = -1},
                      .output = FILE_CLOSED,
                      .workers = WORKERS_NONE};
    bool well = load(&job);
    if (well) {
        job.report.options = job.input.count;
        job.report.ranks = ranks;
        job.report.repeat = arguments->repeat;
        job.report.schedule = arguments->schedule;
        well = job_price(&job);
    }
    if (well) {
        bool right = job_check_prices(&job);
        job.problem[0] = '\0';
        well = job_write_output(&job) && job_print_report(&job) && right;
    }
    clean_up(&job);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Rank 0 does it; the others wait for how it goes. */
static int run_generate(const struct arguments *arguments, int rank)
{
    char problem[PROBLEM_SIZE] = "", path[PATH_MAX];
    const char *from = arguments->from;
    if (rank == 0 && from == NULL && shipped_find(path, "options_600.txt", problem))
        from = path;
    if (rank == 0 && from != NULL)
        generate(arguments->output, arguments->generate, from, progress_is_visible(),
                 problem);
    return all_well(problem) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int start(int argc, char **argv)
{
    struct arguments arguments;
    int rank, ranks, status;
    mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
    if (!arguments_read(&arguments, argc, argv, rank == 0, &status))
        return status;
    if (arguments.generate > 0)
        return run_generate(&arguments, rank);
    return run(&arguments, rank, ranks);
}

int main(int argc, char **argv)
{
    /* Writing to a pipe that nobody reads any more is then an ordinary error. */
    signal(SIGPIPE, SIG_IGN);
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS)
        return EXIT_FAILURE; /* MPI has said why */
    /* Some MPIs report errors of generalized requests to MPI_COMM_SELF. */
    mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
              "MPI_Comm_set_errhandler");
    mpi_check(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN),
              "MPI_Comm_set_errhandler");
    int status = start(argc, argv);
    mpi_check(MPI_Finalize(), "MPI_Finalize");
    return status;
}
