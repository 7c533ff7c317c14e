/* 03_many_workers: many tasks of uneven length on a few workers, taken in as they end.
 *
 *     mpirun -n 2 mpi_examples/03_many_workers [FUNCTION-LIBRARY]
 *
 * The tasks are tiles of a picture of the Mandelbrot set, dealt out to the ranks. Each
 * rank gives all of its tasks to three workers at once. A worker holds as many as it
 * has slots; the rest waits in the rank and goes to whichever worker has a slot free
 * first, so that nobody has to know beforehand how long a task takes.
 */
#include "03_mandelbrot.h"
#include <mpix_rfaas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, TASKS = HEIGHT * WIDTH / TILE };

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "03_many_workers: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void create_pool(MPIX_Pool *pool)
{
    MPI_Info info;
    check(MPI_Info_create(&info), "MPI_Info_create");
    /* Three workers on any machine: where there are fewer cores they share them. */
    check(MPI_Info_set(info, "cores", "3"), "MPI_Info_set");
    /* Two invocations in a worker at a time, one that runs and one that waits, and a
     * minute for a lease: ranks take turns. Keys of leases may be set for all here. */
    check(MPI_Info_set(info, "slots", "2"), "MPI_Info_set");
    check(MPI_Info_set(info, "wait_seconds", "60"), "MPI_Info_set");
    check(MPIX_Pool_create(MPI_COMM_WORLD, info, pool), "MPIX_Pool_create");
    check(MPI_Info_free(&info), "MPI_Info_free");
}

/* Takes in what has ended. `done` counts each worker's tasks. */
static int take_some(int count, MPI_Request requests[], int done[WORKERS])
{
    int indices[TASKS], some;
    MPI_Status statuses[TASKS];
    int code = MPI_Waitsome(count, requests, &some, indices, statuses);
    if (code == MPI_ERR_IN_STATUS)
        for (int i = 0; i < some; i++)
            check(statuses[i].MPI_ERROR, "task");
    check(code, "MPI_Waitsome");
    for (int i = 0; i < some; i++) {
        if (statuses[i].MPI_TAG != 0)
            check(MPI_ERR_OTHER, "the function returned an error");
        done[statuses[i].MPI_SOURCE]++;
    }
    return some;
}

/* Computes this rank's tasks: those that begin at `first`, in steps of `step`. */
static void compute(MPIX_Function function, MPIX_Lease lease, int first, int step,
                    int picture[HEIGHT][WIDTH])
{
    struct task tasks[TASKS];
    MPI_Request requests[TASKS];
    int count = 0, done[WORKERS] = {0};

    for (int i = first; i < TASKS; i += step, count++) {
        struct task *task = &tasks[count];
        task->row = i / (WIDTH / TILE);
        task->column = i % (WIDTH / TILE) * TILE;
        /* Buffers are the library's until the request has completed. */
        check(MPIX_Iinvoke(function, task, 1, MPI_2INT,
                           &picture[task->row][task->column], TILE, MPI_INT,
                           MPIX_ANY_WORKER, lease, &requests[count]),
              "MPIX_Iinvoke");
    }
    for (int left = count; left > 0;)
        left -= take_some(count, requests, done);
    printf("rank %d: %d tasks, by worker: %d %d %d\n", first, count, done[0], done[1],
           done[2]);
}

/* Whether the picture is right; shows it. */
static int verify(int picture[HEIGHT][WIDTH])
{
    int wrong = 0, result[TILE];
    for (int row = 0; row < HEIGHT; row++) {
        for (int column = 0; column < WIDTH; column += TILE) {
            tile(&(struct task){row, column}, result);
            wrong += memcmp(&picture[row][column], result, sizeof result) != 0;
        }
        for (int column = 0; column < WIDTH; column++) {
            int n = picture[row][column];
            putchar(n >= LIMIT ? '#' : n > 8 ? '+' : n > 4 ? '.' : ' ');
        }
        putchar('\n');
    }
    printf("%d tasks, %d wrong\n", TASKS, wrong);
    return wrong == 0;
}

int main(int argc, char **argv)
{
    MPIX_Pool pool;
    MPIX_Function function;
    MPIX_Lease lease;
    static int mine[HEIGHT][WIDTH], picture[HEIGHT][WIDTH]; /* 0 where others compute */
    MPI_Comm world = MPI_COMM_WORLD;
    int rank, ranks, right = 1;

    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(world, &rank), "MPI_Comm_rank");
    check(MPI_Comm_size(world, &ranks), "MPI_Comm_size");
    create_pool(&pool);
    check(MPIX_Function_load(pool, argc > 1 ? argv[1] : FUNCTIONS, "mandelbrot",
                             &function),
          "MPIX_Function_load");

    check(MPIX_Lease_acquire(pool, WORKERS, MPI_INFO_NULL, &lease),
          "MPIX_Lease_acquire");
    compute(function, lease, rank, ranks, mine);
    /* Before the ranks wait for each other: the next one waits for the workers. */
    check(MPIX_Lease_release(&lease), "MPIX_Lease_release");

    check(MPI_Reduce(mine, picture, WIDTH * HEIGHT, MPI_INT, MPI_SUM, 0, world),
          "MPI_Reduce");
    if (rank == 0)
        right = verify(picture);

    check(MPIX_Function_free(&function), "MPIX_Function_free");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    check(MPI_Finalize(), "MPI_Finalize");
    return !right;
}
