/* 07_quadrature: work that nobody knows beforehand, and as many workers as it is worth.
 *
 *     mpirun -n 2 mpi_examples/07_quadrature [-p PEAKS] [-w WORKERS] [-t TRACE]
 *                                            [FUNCTION-LIBRARY]
 *
 * Adaptive quadrature: an interval whose integral isn't known well enough is halved, so
 * the queue of intervals grows where the function is difficult, and falls when that has
 * been dealt with. Each rank has a part of [0, 1], of very different difficulty. It
 * leases workers, up to WORKERS, and resizes the lease: there are more of them when there
 * is work for them and cores are free, and fewer when there isn't; what one rank gives
 * back another can have. All is done twice: by the ranks alone, then with workers. TRACE
 * gets lines `seconds intervals workers` of rank 0.
 */
#include "07_simpson.h"
#include <mpix_rfaas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Intervals under way for a worker: one that it is at, and the next. */
enum { PER_WORKER = 2, MOST_WORKERS = 64, MOST_SENT = PER_WORKER * MOST_WORKERS };

/* Queued intervals for each worker: so many are worth one more, so few one less. The
 * time to start a worker is that of some hundred intervals, hence the distance. */
enum { GROW = 8, SHRINK = 2 };

/* Seconds until workers are asked for again when there were none. */
#define PATIENCE 0.02

/* Error of the integral over [0, 1]. */
#define TOLERANCE 1e-6

static struct {
    int peaks, most;
    int rank, ranks;
    MPIX_Pool pool;
    MPIX_Function integrate;
    MPI_Info at_once; /* workers aren't worth waiting for */
    FILE *trace;
} my = {.peaks = 40, .most = 1};

/* Those of queue[] from `next` on wait. Position i of sent[] and requests[] belongs to
 * worker i / PER_WORKER. */
static struct {
    struct task *queue;
    int next, end, room;
    int workers, outstanding;
    MPIX_Lease lease; /* if there are workers */
    struct task sent[MOST_SENT];
    struct estimate estimates[MOST_SENT];
    MPI_Request requests[MOST_SENT];
    double begun, refused; /* when */
    double integral;
    int tasks, offloaded, acquired, peak;
} work;

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "07_quadrature: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void push(double left, double right)
{
    if (work.end == work.room) {
        work.room = work.room ? 2 * work.room : 1024;
        work.queue = realloc(work.queue, (size_t)work.room * sizeof *work.queue);
        if (!work.queue)
            check(MPI_ERR_NO_MEM, "realloc");
    }
    memset(&work.queue[work.end], 0, sizeof *work.queue); /* padding travels, too */
    work.queue[work.end].left = left;
    work.queue[work.end].right = right;
    work.queue[work.end++].peaks = my.peaks;
}

static void take(const struct task *task, const struct estimate *estimate)
{
    double middle = (task->left + task->right) / 2;
    work.tasks++;
    if (estimate->error <= TOLERANCE * (task->right - task->left)) {
        work.integral += estimate->integral;
    } else {
        push(task->left, middle);
        push(middle, task->right);
    }
}

/* Takes in what `workers` workers from `first` on have done; `complete` is MPI_Testsome
 * or MPI_Waitsome. */
static void take_some(int (*complete)(int, MPI_Request[], int *, int[], MPI_Status[]),
                      int first, int workers)
{
    int indices[MOST_SENT], count, begin = first * PER_WORKER;
    MPI_Status statuses[MOST_SENT];
    int code = complete(workers * PER_WORKER, work.requests + begin, &count, indices,
                        statuses);
    if (count == MPI_UNDEFINED) /* there were none */
        count = 0;
    if (code == MPI_ERR_IN_STATUS)
        for (int i = 0; i < count; i++)
            check(statuses[i].MPI_ERROR, "interval");
    check(code, "completing intervals");
    for (int i = 0; i < count; i++) {
        int position = begin + indices[i];
        if (statuses[i].MPI_TAG != 0)
            check(MPI_ERR_OTHER, "the function returned an error");
        work.outstanding--;
        work.offloaded++;
        take(&work.sent[position], &work.estimates[position]);
    }
}

static int worker_is_busy(int worker)
{
    for (int i = worker * PER_WORKER; i < (worker + 1) * PER_WORKER; i++)
        if (work.requests[i] != MPI_REQUEST_NULL)
            return 1;
    return 0;
}

/* Takes workers or gives back those with the highest numbers, when they have finished
 * what they were sent. */
static void set_workers(int wanted)
{
    int class, code, had = work.workers;
    if (wanted == had)
        return;
    for (int i = wanted; i < had; i++)
        while (worker_is_busy(i))
            take_some(MPI_Waitsome, i, 1);
    if (wanted == 0)
        code = MPIX_Lease_release(&work.lease);
    else if (had == 0)
        code = MPIX_Lease_acquire(my.pool, wanted, my.at_once, &work.lease);
    else
        code = MPIX_Lease_resize(work.lease, wanted, my.at_once);
    check(MPI_Error_class(code, &class), "MPI_Error_class");
    if (class == MPIX_ERR_NO_RESOURCES) { /* others were faster */
        work.refused = MPI_Wtime();
        return;
    }
    check(code, "changing the number of workers");
    work.workers = wanted;
    if (wanted > had)
        work.acquired += wanted - had;
}

/* Cores that nobody has. */
static int cores_free(void)
{
    MPIX_Pool_stats stats;
    check(MPIX_Pool_get_stats(my.pool, &stats), "MPIX_Pool_get_stats");
    return (int)(stats.cores - stats.leased);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* How many workers the queue is worth, and can have. */
static int workers_wanted(int queued)
{
    if (queued < SHRINK * work.workers)
        return work.workers - 1;
    if (queued < GROW * (work.workers + 1) || work.workers == my.most ||
        MPI_Wtime() - work.refused < PATIENCE)
        return work.workers;
    int free = cores_free();
    if (free == 0)
        work.refused = MPI_Wtime();
    return smaller(smaller(queued / GROW, my.most), work.workers + free);
}

static void trace(int queued)
{
    static int last_queued, last_workers;
    if (my.trace && my.most > 0 &&
        (queued != last_queued || work.workers != last_workers))
        fprintf(my.trace, "%.6f %d %d\n", MPI_Wtime() - work.begun, queued,
                work.workers);
    last_queued = queued;
    last_workers = work.workers;
}

static void send_tasks(void)
{
    for (int i = 0; i < work.workers * PER_WORKER && work.next < work.end; i++)
        if (work.requests[i] == MPI_REQUEST_NULL) {
            work.sent[i] = work.queue[work.next++];
            check(MPIX_Iinvoke(my.integrate, &work.sent[i], sizeof work.sent[i],
                               MPI_BYTE, &work.estimates[i], sizeof work.estimates[i],
                               MPI_BYTE, i / PER_WORKER, work.lease, &work.requests[i]),
                  "MPIX_Iinvoke");
            work.outstanding++;
        }
}

/* The rank takes one interval for itself and sends others, as far as workers can have
 * more; if there is none it waits for those that it has sent. */
static void advance(void)
{
    if (work.next == work.end) {
        take_some(MPI_Waitsome, 0, work.workers);
        return;
    }
    struct task own = work.queue[work.next++];
    send_tasks();
    struct estimate estimate = simpson(&own);
    take(&own, &estimate);
    take_some(MPI_Testsome, 0, work.workers);
}

static void integrate_part(void)
{
    push((double)my.rank / my.ranks, (my.rank + 1.0) / my.ranks);
    while (work.next < work.end || work.outstanding > 0) {
        int queued = work.end - work.next;
        work.peak = queued > work.peak ? queued : work.peak;
        set_workers(workers_wanted(queued));
        trace(queued);
        advance();
    }
    set_workers(0);
    trace(0);
}

/* Integrates with at most so many workers for each rank. Returns the seconds of the
 * slowest. */
static double run(int most, double *integral)
{
    double seconds, longest;
    my.most = most;
    work.integral = work.refused = 0;
    work.next = work.end = work.tasks = work.offloaded = work.acquired = work.peak = 0;
    for (int i = 0; i < MOST_SENT; i++)
        work.requests[i] = MPI_REQUEST_NULL;
    check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    work.begun = MPI_Wtime();
    integrate_part();
    seconds = MPI_Wtime() - work.begun;
    check(MPI_Allreduce(&seconds, &longest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD),
          "MPI_Allreduce");
    check(
        MPI_Allreduce(&work.integral, integral, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD),
        "MPI_Allreduce");
    return longest;
}

static void report(double alone, double hybrid, double error)
{
    int sums[3], mine[3] = {work.tasks, work.offloaded, work.acquired}, peak;
    check(MPI_Reduce(mine, sums, 3, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD), "MPI_Reduce");
    check(MPI_Reduce(&work.peak, &peak, 1, MPI_INT, MPI_MAX, 0, MPI_COMM_WORLD),
          "MPI_Reduce");
    if (my.rank != 0)
        return;
    printf("peaks               %12d\n", my.peaks);
    printf("ranks               %12d\n", my.ranks);
    printf("workers             %12d     at most, for each rank; taken %d times\n",
           my.most, sums[2]);
    printf("intervals           %12d     at most %d in a queue\n", sums[0], peak);
    printf("offload             %12.3f\n", (double)sums[1] / sums[0]);
    printf("alone               %12.3f ms\n", alone * 1e3);
    printf("hybrid              %12.3f ms\n", hybrid * 1e3);
    printf("speed-up            %12.3f\n", alone / hybrid);
    printf("error               %12.3g     limit %g\n", error, TOLERANCE);
}

static int read_arguments(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "p:w:t:")) != -1) {
        int value = optarg ? atoi(optarg) : 0;
        if (option == 'p' && value > 0 && value <= MOST_PEAKS)
            my.peaks = value;
        else if (option == 'w' && value > 0 && value <= MOST_WORKERS)
            my.most = value;
        else if (option != 't')
            return 0;
        else if (my.rank == 0 && !(my.trace = fopen(optarg, "w")))
            perror(optarg);
    }
    return 1;
}

int main(int argc, char **argv)
{
    double integral, error;
    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &my.rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &my.ranks), "MPI_Comm_size");
    if (!read_arguments(argc, argv)) {
        if (my.rank == 0)
            fprintf(stderr,
                    "Usage: 07_quadrature [-p PEAKS] [-w WORKERS] [-t TRACE] "
                    "[FUNCTION-LIBRARY]\n"
                    "PEAKS: 1 to %d, WORKERS: 1 to %d\n",
                    MOST_PEAKS, MOST_WORKERS);
        check(MPI_Finalize(), "MPI_Finalize");
        return 2;
    }
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &my.pool),
          "MPIX_Pool_create");
    check(MPIX_Function_load(my.pool, optind < argc ? argv[optind] : FUNCTIONS,
                             "integrate", &my.integrate),
          "MPIX_Function_load");
    check(MPI_Info_create(&my.at_once), "MPI_Info_create");
    check(MPI_Info_set(my.at_once, "wait_seconds", "0"), "MPI_Info_set");

    int most = my.most;
    double alone = run(0, &integral);
    error = fabs(integral - exact(my.peaks));
    double hybrid = run(most, &integral);
    error = fmax(error, fabs(integral - exact(my.peaks)));
    report(alone, hybrid, error);

    free(work.queue);
    if (my.trace)
        fclose(my.trace);
    check(MPI_Info_free(&my.at_once), "MPI_Info_free");
    check(MPIX_Function_free(&my.integrate), "MPIX_Function_free");
    check(MPIX_Pool_free(&my.pool), "MPIX_Pool_free");
    check(MPI_Finalize(), "MPI_Finalize");
    return !(error < TOLERANCE);
}
