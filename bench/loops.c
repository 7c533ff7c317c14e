/* Loops beside the same loops without the library, taking turns in one run:
 *
 *   short     1,000 elements of a few instructions each: what the call costs
 *   priced    options of Black and Scholes: what a worker brings
 *
 * One rank and one worker, each on a core of its own. Prints ratios; times of a machine
 * that does other things as well tell little. */
#include <dlfcn.h>
#include <getopt.h>
#include <mpix_rfaas.h>
#include <rfaas_function.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "Usage: mpirun -n 1 --bind-to core loops [OPTION]...\n"
    "Measures parallel loops beside plain ones.\n"
    "\n"
    "  -n, --options N       options to price (default 1000000)\n"
    "  -r, --rounds N        of each loop (default 21)\n"
    "  -p, --pool-memory     options and prices in memory of the pool\n"
    "  -h, --help            show this and exit\n";

enum { SHORT = 1000, SHORTS_PER_ROUND = 1000, ROUNDS_MAX = 10000 };

static struct {
    int options, rounds, pool_memory;
    MPIX_Pool pool;
    MPIX_Lease lease;
} run = {.options = 1000000, .rounds = 21};

/* A function twice: as the library has it, and as the program calls it itself. */
struct both {
    MPIX_Function loaded;
    int (*plain)(struct rfaas_call *call);
};

struct loop {
    struct both function;
    int n, times; /* elements; times in a round */
    const void *in;
    void *out;
    MPI_Datatype intype, outtype;
    size_t in_size, out_size;
};

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "loops: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static struct both load(const char *library, const char *name)
{
    struct both both;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void *symbol = handle ? dlsym(handle, name) : NULL;
    if (!symbol) {
        fprintf(stderr, "loops: %s\n", dlerror());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    memcpy(&both.plain, &symbol, sizeof symbol);
    check(MPIX_Function_load(run.pool, library, name, &both.loaded), name);
    return both;
}

static void *room(size_t size)
{
    void *memory = NULL;
    if (run.pool_memory)
        check(MPIX_Pool_alloc_mem((MPI_Aint)size, run.pool, &memory), "memory");
    else if (posix_memalign(&memory, 64, size) != 0)
        check(MPI_ERR_NO_MEM, "memory");
    memset(memory, 0, size);
    return memory;
}

/* ---- measuring ------------------------------------------------------------------- */

static double plain_seconds(const struct loop *loop)
{
    double begin = MPI_Wtime();
    for (int i = 0; i < loop->times; i++) {
        struct rfaas_call call = {.in = loop->in,
                                  .in_size = (size_t)loop->n * loop->in_size,
                                  .out = loop->out,
                                  .out_capacity = (size_t)loop->n * loop->out_size,
                                  .workers = 1};
        if (loop->function.plain(&call) != 0)
            check(MPI_ERR_OTHER, "the function itself");
    }
    return MPI_Wtime() - begin;
}

static double parallel_seconds(const struct loop *loop)
{
    double begin = MPI_Wtime();
    for (int i = 0; i < loop->times; i++)
        check(MPIX_Parallel_for(loop->function.loaded, loop->n, loop->in, loop->intype,
                                loop->out, loop->outtype, run.lease, MPI_INFO_NULL),
              "MPIX_Parallel_for");
    return MPI_Wtime() - begin;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[], int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

/* Taking turns, so that what disturbs one disturbs the other. */
static void measure(const struct loop *loop, const char *name, const char *what)
{
    static double plain[ROUNDS_MAX], parallel[ROUNDS_MAX];
    MPIX_Loop stats;
    plain_seconds(loop);
    parallel_seconds(loop);
    for (int i = 0; i < run.rounds; i++) {
        plain[i] = plain_seconds(loop);
        parallel[i] = parallel_seconds(loop);
    }
    check(MPIX_Loop_stats(loop->function.loaded, &stats), "MPIX_Loop_stats");
    double alone = median(plain, run.rounds) / loop->times;
    double together = median(parallel, run.rounds) / loop->times;
    printf("%-8s %10d elements: plain %.3g us, loop %.3g us, %s %.3f, offloaded %.2f, "
           "predicted/real %.2f\n",
           name, loop->n, 1e6 * alone, 1e6 * together, what,
           what[0] == 's' ? alone / together : together / alone, stats.offload,
           stats.real_ns > 0 ? (double)stats.predicted_ns / (double)stats.real_ns : 0);
}

static void measure_short(void)
{
    struct loop loop = {
        .function = load(BENCH_FUNCTIONS, "twice_plus_one"),
        .n = SHORT,
        .times = SHORTS_PER_ROUND,
        .in = room(SHORT * sizeof(float)),
        .out = room(SHORT * sizeof(float)),
        .intype = MPI_FLOAT,
        .outtype = MPI_FLOAT,
        .in_size = sizeof(float),
        .out_size = sizeof(float),
    };
    measure(&loop, "short", "loop/plain");
}

static void measure_priced(void)
{
    MPI_Datatype option;
    struct {
        float number[5];
        int32_t type;
    } * options;
    size_t n = (size_t)run.options;
    check(MPI_Type_contiguous(6, MPI_FLOAT, &option), "MPI_Type_contiguous");
    check(MPI_Type_commit(&option), "MPI_Type_commit");
    options = room(n * sizeof *options);
    for (size_t i = 0; i < n; i++) {
        float x = (float)(i % 1000) / 1000;
        float numbers[5] = {100, 80 + 40 * x, 0.03f, 0.2f + 0.3f * x, 1 + x};
        memcpy(options[i].number, numbers, sizeof numbers);
        options[i].type = i % 2 ? 'P' : 'C';
    }
    struct loop loop = {
        .function = load(BENCH_BLACKSCHOLES, "blackscholes_price"),
        .n = run.options,
        .times = 1,
        .in = options,
        .out = room(n * sizeof(float)),
        .intype = option,
        .outtype = MPI_FLOAT,
        .in_size = sizeof *options,
        .out_size = sizeof(float),
    };
    measure(&loop, "priced", "speedup");
    check(MPI_Type_free(&option), "MPI_Type_free");
}

/* ---- main ------------------------------------------------------------------------ */

static int arguments(int argc, char **argv)
{
    static const struct option options[] = {{"options", required_argument, NULL, 'n'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"pool-memory", no_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int option;
    while ((option = getopt_long(argc, argv, "n:r:ph", options, NULL)) != -1)
        switch (option) {
        case 'n':
            run.options = atoi(optarg);
            break;
        case 'r':
            run.rounds = atoi(optarg);
            break;
        case 'p':
            run.pool_memory = 1;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        default:
            return 2;
        }
    if (run.options >= 1 && run.rounds >= 1 && run.rounds <= ROUNDS_MAX)
        return -1;
    fprintf(stderr,
            "loops: --options takes a number of at least 1, --rounds one from 1 "
            "to %d\n",
            ROUNDS_MAX);
    return 2;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int status = arguments(argc, argv);
    if (status < 0) {
        check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &run.pool), "the pool");
        check(MPIX_Lease_acquire(run.pool, 1, MPI_INFO_NULL, &run.lease), "the lease");
        measure_short();
        measure_priced();
        check(MPIX_Pool_free(&run.pool), "MPIX_Pool_free");
        status = 0;
    }
    MPI_Finalize();
    return status;
}
