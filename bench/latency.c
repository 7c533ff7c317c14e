/* Round trips, side by side in one run:
 *
 *   floor     one cache line to and fro between two processes, C11 atomics
 *   echo      MPI_Send and MPI_Recv to a rank that sends the same back
 *   invoke    rfaas_invoke and rfaas_wait of a function that returns its input, hot
 *   iinvoke   MPIX_Iinvoke and MPI_Test of the same, hot
 *   warm      the same, to a worker that sleeps
 *
 * Two ranks on two cores: rank 1 answers in the first two, then sleeps and leaves its
 * core to the worker. Each round trip is timed by itself; a reading of the clock (some
 * 20 ns) is part of all of them. */
#include <errno.h>
#include <getopt.h>
#include <mpix_rfaas.h>
#include <rfaas.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage_text[] =
    "Usage: mpirun -n 2 --bind-to core latency [OPTION]...\n"
    "Measures round trips of invocations beside what they compete with.\n"
    "\n"
    "  -n, --samples N       round trips of each kind and size (default 20000)\n"
    "  -f, --functions FILE  the library with the function `echo`\n"
    "  -h, --help            show this and exit\n";

enum { WARM_PAUSE_US = 50, SIZES = 9, LARGEST = 1 << 20 };
static const int sizes[SIZES] = {8, 64, 512, 1024, 4096, 16384, 65536, 262144, LARGEST};

struct shared {
    _Alignas(64) _Atomic unsigned line; /* odd: rank 1 is to answer */
    _Alignas(64) sem_t done;            /* rank 1 may go on */
};

struct statistic {
    double median, p99; /* ns */
};

static struct {
    int samples;
    const char *functions;
    double *times;
    struct shared *shared;
} run;

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "latency: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void check_rfaas(int status, const char *what)
{
    if (status == RFAAS_OK)
        return;
    fprintf(stderr, "latency: %s: %s\n", what, rfaas_last_error());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first tenth warms up and doesn't count. */
static struct statistic evaluate(int samples)
{
    int skip = samples / 10, n = samples - skip;
    qsort(run.times + skip, (size_t)n, sizeof *run.times, compare);
    return (struct statistic){run.times[skip + n / 2],
                              run.times[skip + (int)(0.99 * n)]};
}

static int samples_for(int size)
{
    int n = size <= 4096 ? run.samples : (int)(run.samples * 4096.0 / size * 4);
    return n < 200 ? 200 : n;
}

/* ---- what it competes with ------------------------------------------------------- */

static struct statistic floor_ask(void)
{
    for (int i = 0; i < run.samples; i++) {
        double start = now_ns();
        atomic_store_explicit(&run.shared->line, 2u * (unsigned)i + 1,
                              memory_order_release);
        while (atomic_load_explicit(&run.shared->line, memory_order_acquire) !=
               2u * (unsigned)i + 2)
            ;
        run.times[i] = now_ns() - start;
    }
    return evaluate(run.samples);
}

static void floor_answer(void)
{
    for (int i = 0; i < run.samples; i++) {
        while (atomic_load_explicit(&run.shared->line, memory_order_acquire) !=
               2u * (unsigned)i + 1)
            ;
        atomic_store_explicit(&run.shared->line, 2u * (unsigned)i + 2,
                              memory_order_release);
    }
}

static struct statistic echo_ask(char *out, char *in, int size)
{
    int n = samples_for(size);
    for (int i = 0; i < n; i++) {
        double start = now_ns();
        MPI_Send(out, size, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(in, size, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        run.times[i] = now_ns() - start;
    }
    return evaluate(n);
}

static void echo_answer(char *buffer, int size)
{
    int n = samples_for(size);
    for (int i = 0; i < n; i++) {
        MPI_Recv(buffer, size, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(buffer, size, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
}

/* ---- invocations ----------------------------------------------------------------- */

/* Without MPI, by the same manager and executor. */
static void measure_rfaas(MPI_Info used, struct statistic result[])
{
    static const char *const keys[] = {"manager_address", "key_file"};
    char settings[2][MPI_MAX_INFO_VAL + 32];
    rfaas_session *session;
    rfaas_lease *lease;
    rfaas_function *echo;
    for (int i = 0; i < 2; i++) {
        int found, prefix = sprintf(settings[i], "%s=", keys[i]);
        check(
            MPI_Info_get(used, keys[i], MPI_MAX_INFO_VAL, settings[i] + prefix, &found),
            "MPI_Info_get");
    }
    const char *const list[] = {settings[0], settings[1], "hot_timeout_us=-1",
                                "threads=single", NULL};
    void *in, *out;
    check_rfaas(rfaas_session_open(list, &session), "rfaas_session_open");
    check_rfaas(rfaas_function_load(session, run.functions, "echo", &echo),
                "rfaas_function_load");
    check_rfaas(rfaas_lease_acquire(session, 1, NULL, &lease), "rfaas_lease_acquire");
    check_rfaas(rfaas_alloc(session, LARGEST, &in), "rfaas_alloc");
    check_rfaas(rfaas_alloc(session, LARGEST, &out), "rfaas_alloc");
    memset(in, 1, LARGEST);
    for (int s = 0; s < SIZES; s++) {
        int n = samples_for(sizes[s]);
        for (int i = 0; i < n; i++) {
            rfaas_request *request;
            double start = now_ns();
            check_rfaas(rfaas_invoke(lease, 0, echo, in, (size_t)sizes[s], out,
                                     (size_t)sizes[s], &request),
                        "rfaas_invoke");
            int status;
            while ((status = rfaas_test(&request, NULL)) == RFAAS_IN_PROGRESS)
                ;
            run.times[i] = now_ns() - start;
            check_rfaas(status, "rfaas_test");
        }
        result[s] = evaluate(n);
    }
    rfaas_session_close(session);
}

static void pause_us(double us)
{
    double end = now_ns() + 1e3 * us;
    while (now_ns() < end)
        ;
}

static void measure_mpix(MPIX_Pool pool, const char *hot_timeout_us, double pause,
                         struct statistic result[])
{
    MPI_Info info;
    MPIX_Lease lease;
    MPIX_Function echo;
    void *in, *out;
    check(MPI_Info_create(&info), "MPI_Info_create");
    check(MPI_Info_set(info, "hot_timeout_us", hot_timeout_us), "MPI_Info_set");
    check(MPI_Info_set(info, "wait_seconds", "5"), "MPI_Info_set");
    check(MPIX_Lease_acquire(pool, 1, info, &lease), "MPIX_Lease_acquire");
    MPI_Info_free(&info);
    check(MPIX_Function_load(pool, run.functions, "echo", &echo), "MPIX_Function_load");
    check(MPIX_Pool_alloc_mem(LARGEST, pool, &in), "MPIX_Pool_alloc_mem");
    check(MPIX_Pool_alloc_mem(LARGEST, pool, &out), "MPIX_Pool_alloc_mem");
    memset(in, 1, LARGEST);
    for (int s = 0; s < SIZES; s++) {
        int n = samples_for(sizes[s]);
        if (pause > 0 && n > 2000)
            n = 2000;
        for (int i = 0; i < n; i++) {
            MPI_Request request;
            int done = 0;
            if (pause > 0)
                pause_us(pause);
            double start = now_ns();
            check(MPIX_Iinvoke(echo, in, sizes[s], MPI_BYTE, out, sizes[s], MPI_BYTE, 0,
                               lease, &request),
                  "MPIX_Iinvoke");
            while (!done)
                check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
            run.times[i] = now_ns() - start;
        }
        result[s] = evaluate(n);
    }
    check(MPIX_Pool_free_mem(pool, in), "MPIX_Pool_free_mem");
    check(MPIX_Pool_free_mem(pool, out), "MPIX_Pool_free_mem");
    check(MPIX_Function_free(&echo), "MPIX_Function_free");
    check(MPIX_Lease_release(&lease), "MPIX_Lease_release");
}

/* ---- the two ranks --------------------------------------------------------------- */

static void print_row(int size, struct statistic line, struct statistic echo,
                      struct statistic invoke, struct statistic iinvoke,
                      struct statistic warm)
{
    const struct statistic all[] = {line, echo, invoke, iinvoke, warm};
    printf("%8d", size);
    for (int i = 0; i < 5; i++)
        printf("  %7.0f %7.0f", all[i].median, all[i].p99);
    printf("  %7.2f %7.2f %7.2f %7.2f\n", invoke.median / line.median,
           iinvoke.median / line.median, invoke.median / echo.median,
           iinvoke.median / echo.median);
}

static void ask(void)
{
    static struct statistic echo[SIZES], invoke[SIZES], iinvoke[SIZES], warm[SIZES];
    char *buffer = malloc(LARGEST), *back = malloc(LARGEST);
    run.times = malloc((size_t)run.samples * sizeof *run.times);
    if (!buffer || !back || !run.times) {
        fprintf(stderr, "latency: out of memory\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    memset(buffer, 1, LARGEST);
    struct statistic line = floor_ask();
    for (int s = 0; s < SIZES; s++)
        echo[s] = echo_ask(buffer, back, sizes[s]);

    MPIX_Pool pool;
    MPI_Info used;
    check(MPIX_Pool_create(MPI_COMM_SELF, MPI_INFO_NULL, &pool), "MPIX_Pool_create");
    check(MPIX_Pool_get_info(pool, &used), "MPIX_Pool_get_info");
    measure_rfaas(used, invoke);
    measure_mpix(pool, "-1", 0, iinvoke);
    measure_mpix(pool, "0", WARM_PAUSE_US, warm);
    MPI_Info_free(&used);
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    sem_post(&run.shared->done);

    printf("Round trips in ns, median and p99; ratios of medians\n");
    printf("%8s  %15s  %15s  %15s  %15s  %15s  %15s %15s\n", "", "floor", "MPI echo",
           "rfaas_invoke", "MPIX_Iinvoke", "warm", "to the floor", "to MPI echo");
    printf("%8s", "bytes");
    for (int i = 0; i < 5; i++)
        printf("  %7s %7s", "median", "p99");
    printf("  %7s %7s %7s %7s\n", "invoke", "iinvoke", "invoke", "iinvoke");
    for (int s = 0; s < SIZES; s++)
        print_row(sizes[s], line, echo[s], invoke[s], iinvoke[s], warm[s]);
    free(buffer);
    free(back);
    free(run.times);
}

static void answer(void)
{
    char *buffer = malloc(LARGEST);
    if (!buffer)
        MPI_Abort(MPI_COMM_WORLD, 1);
    memset(buffer, 1, LARGEST);
    floor_answer();
    for (int s = 0; s < SIZES; s++)
        echo_answer(buffer, sizes[s]);
    free(buffer);
    while (sem_wait(&run.shared->done) != 0 && errno == EINTR)
        ;
}

static int arguments(int argc, char **argv, int rank)
{
    static const struct option options[] = {{"samples", required_argument, NULL, 'n'},
                                            {"functions", required_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int option;
    opterr = rank == 0;
    while ((option = getopt_long(argc, argv, "n:f:h", options, NULL)) != -1)
        switch (option) {
        case 'n':
            run.samples = atoi(optarg);
            break;
        case 'f':
            run.functions = optarg;
            break;
        case 'h':
            if (rank == 0)
                fputs(usage_text, stdout);
            return 0;
        default:
            return 2;
        }
    if (run.samples < 1000) {
        if (rank == 0)
            fprintf(stderr, "latency: --samples takes a number of at least 1000\n");
        return 2;
    }
    return -1;
}

int main(int argc, char **argv)
{
    int rank, size;
    run.samples = 20000;
    run.functions = BENCH_FUNCTIONS;
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int status = arguments(argc, argv, rank);
    if (status < 0 && size != 2) {
        if (rank == 0)
            fprintf(stderr, "latency: runs with 2 ranks, not %d\n", size);
        status = 2;
    }
    if (status >= 0) {
        MPI_Finalize();
        return status;
    }
    MPI_Win window;
    MPI_Aint bytes;
    int unit;
    check(MPI_Win_allocate_shared(rank == 0 ? 4096 : 0, 1, MPI_INFO_NULL,
                                  MPI_COMM_WORLD, &run.shared, &window),
          "MPI_Win_allocate_shared");
    check(MPI_Win_shared_query(window, 0, &bytes, &unit, &run.shared),
          "MPI_Win_shared_query");
    if (rank == 0) {
        memset(run.shared, 0, sizeof *run.shared);
        sem_init(&run.shared->done, 1, 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    rank == 0 ? ask() : answer();
    MPI_Win_free(&window);
    MPI_Finalize();
    return 0;
}
