/* blackscholes_openmp: the same formula, files and checks as blackscholes, on the
 * threads of one process. What workers gain is to be compared with this. */
#include "command_line.h"
#include "errors.h"
#include "output.h"

#include <getopt.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Threads are given so many options at a time: long enough for the call not to count. */
enum { CHUNK = 1024 };

static const char usage[] = "Usage: blackscholes_openmp [OPTION]... INPUT OUTPUT\n";

static const char help[] =
    "Prices the options of INPUT by the Black-Scholes formula with OpenMP threads, "
    "and\n"
    "writes the prices to OUTPUT; both as blackscholes does.\n"
    "\n"
    "  -t, --threads N  threads (default: as many as OpenMP chooses)\n"
    "  -r, --repeat N   time the pricing N times, report the median (default: 1)\n"
    "  -h, --help       show this and exit\n"
    "  -V, --version    show the version and exit\n"
    "\n"
    "Exit status: as of blackscholes.\n";

static const char short_options[] = ":t:r:hV";

static const struct option long_options[] = {
    {"threads", required_argument, NULL, 't'},
    {"repeat", required_argument, NULL, 'r'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* Times in seconds; `price` is the median of `repeat`. */
struct job {
    const char *input_path, *output_path;
    int threads, repeat;
    struct input input;
    struct file output;
    struct stock_option *options;
    float *prices, *references;
    double read, price, write;
    struct errors errors;
    struct progress progress;
    char problem[PROBLEM_SIZE];
};

static bool read_option(struct command_line *line, struct job *job, int option,
                        char **argv)
{
    switch (option) {
    case 't':
        return command_line_number(line, "--threads", 65536, &job->threads);
    case 'r':
        return command_line_number(line, "--repeat", 1000000, &job->repeat);
    case 'h':
        return command_line_help(line, help);
    case 'V':
        return command_line_version(line);
    default:
        return command_line_unknown(line, option, argv, short_options);
    }
}

static bool read_arguments(struct job *job, int argc, char **argv, int *status)
{
    struct command_line line = {
        .program = "blackscholes_openmp", .usage = usage, .print = true};
    int option;
    bool well = true;
    opterr = 0;
    while (well &&
           (option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
        well = read_option(&line, job, option, argv);
    well = well && command_line_files(&line, argc, argv, 2);
    if (well) {
        job->input_path = argv[optind];
        job->output_path = argv[optind + 1];
    }
    *status = line.status;
    return well;
}

static bool load(struct job *job)
{
    double begin = omp_get_wtime();
    struct input *in = &job->input;
    if (!input_open(in, job->input_path, 0, 1, job->problem) ||
        !input_check_count(in, in->size, job->problem) ||
        !file_create(&job->output, job->output_path, job->problem))
        return false;
    size_t n = (size_t)in->size;
    job->options = malloc(n * sizeof *job->options);
    job->prices = malloc(n * sizeof *job->prices);
    job->references = malloc(n * sizeof *job->references);
    if (job->options == NULL || job->prices == NULL || job->references == NULL)
        return problem_set(job->problem, "no memory for the options");
    progress_begin(&job->progress, "read input", (double)(in->end - in->begin),
                   progress_is_visible());
    bool well =
        input_read(in, job->options, job->references, &job->progress, job->problem);
    progress_end(&job->progress);
    job->read = omp_get_wtime() - begin;
    return well;
}

/* Returns the seconds that it took. */
static double price_once(struct job *job)
{
    int n = job->input.count, chunks = n / CHUNK + (n % CHUNK != 0);
    memset(job->prices, 0xff, (size_t)n * sizeof *job->prices); /* NaN */
    double begin = omp_get_wtime();
#pragma omp parallel for schedule(static) num_threads(job->threads)
    for (int i = 0; i < chunks; i++) {
        size_t first = (size_t)i * CHUNK, left = (size_t)n - first;
        price_options(job->options + first, job->prices + first,
                      left < CHUNK ? left : CHUNK);
    }
    return omp_get_wtime() - begin;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Once to warm up, and the `repeat` times that count. */
static bool price(struct job *job)
{
    size_t repeat = (size_t)job->repeat;
    double *times = calloc(repeat, sizeof *times);
    if (times == NULL)
        return problem_set(job->problem, "out of memory");
    progress_begin(&job->progress, "price", job->repeat + 1, progress_is_visible());
    price_once(job);
    for (size_t i = 0; i < repeat; i++) {
        progress_add(&job->progress, 1);
        times[i] = price_once(job);
    }
    progress_end(&job->progress);
    qsort(times, repeat, sizeof *times, compare_times);
    job->price = times[(repeat - 1) / 2];
    free(times);
    return true;
}

static bool write_prices(struct job *job)
{
    double begin = omp_get_wtime();
    progress_begin(&job->progress, "write output", job->input.count,
                   progress_is_visible());
    bool well = output_write(&job->output, job->prices, job->input.count,
                             &job->progress, job->problem) &&
                file_finish(&job->output, job->problem);
    progress_end(&job->progress);
    job->write = omp_get_wtime() - begin;
    return well;
}

/* To stderr when the prices go to stdout. */
static bool print_report(struct job *job)
{
    FILE *to = job->output.is_stdout ? stderr : stdout;
    fprintf(to, "%-16s%12d\n", "options", job->input.count);
    fprintf(to, "%-16s%12d\n", "threads", job->threads);
    fprintf(to, "%-16s%12.3f ms\n", "read input", job->read * 1e3);
    fprintf(to, "%-16s%12.3f ms  median of %d\n", "price openmp", job->price * 1e3,
            job->repeat);
    fprintf(to, "%-16s%12.3f ms\n", "write output", job->write * 1e3);
    errors_print(&job->errors, to);
    return (fflush(to) == 0 && !ferror(to)) ||
           problem_set(job->problem, "cannot write the report");
}

/* Tells what went wrong in the last step, if anything did. */
static bool all_well(struct job *job)
{
    if (job->problem[0] != '\0')
        fprintf(stderr, "blackscholes_openmp: %s\n", job->problem);
    return job->problem[0] == '\0';
}

/* Wrong prices are written and reported like right ones, as by blackscholes. */
static bool run(struct job *job)
{
    if (!load(job) || !price(job))
        return all_well(job);
    errors_find(&job->errors, &job->input, job->options, job->prices, job->references,
                job->problem);
    bool right = all_well(job);
    job->problem[0] = '\0';
    if (write_prices(job))
        print_report(job);
    return all_well(job) && right;
}

int main(int argc, char **argv)
{
    struct job job = {.threads = omp_get_max_threads(),
                      .repeat = 1,
                      .input = {.fd = -1},
                      .output = FILE_CLOSED};
    int status;
    /* Writing to a pipe that nobody reads any more is then an ordinary error. */
    signal(SIGPIPE, SIG_IGN);
    if (!read_arguments(&job, argc, argv, &status))
        return status;
    bool well = run(&job);
    file_discard(&job.output);
    input_close(&job.input);
    free(job.options);
    free(job.prices);
    free(job.references);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
