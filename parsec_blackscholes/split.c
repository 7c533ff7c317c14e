#include "split.h"

#include <math.h>
#include <stdlib.h>

/* Chunks: large enough that an invocation costs next to nothing beside the work
 * (1,024 options take about 20 us), small enough for caches and an even flow (16,384
 * are 384 KiB of input), and some for every worker. */
enum { SMALLEST_CHUNK = 1024, LARGEST_CHUNK = 16384, CHUNKS_PER_WORKER = 8 };

/* Chunks under way for each worker: the next ones are there when it has finished
 * one. */
enum { DEPTH = 4 };

/* The rank looks after its workers each time it has priced so many options itself, well
 * before these run out of chunks. */
enum { PIECE = 1024 };

static void price_range(const struct part *part, int from, int n)
{
    price_options(part->options + from, part->prices + from, (size_t)n);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

void price_alone(const struct part *part, struct pass *pass, struct progress *progress)
{
    double begin = MPI_Wtime();
    for (int done = 0; done < part->n;) {
        int n = smaller(PIECE, part->n - done);
        price_range(part, done, n);
        progress_add(progress, n);
        done += n;
    }
    double seconds = MPI_Wtime() - begin;
    *pass = (struct pass){.total = seconds, .local = seconds};
}

static int chunk_size(int n, int workers)
{
    int64_t parts = (int64_t)workers * CHUNKS_PER_WORKER;
    int64_t even = (n + parts - 1) / parts;
    return even < SMALLEST_CHUNK  ? SMALLEST_CHUNK
           : even > LARGEST_CHUNK ? LARGEST_CHUNK
                                  : (int)even;
}

bool split_create(struct split *s, const struct part *part, struct workers *workers,
                  double offload, char *problem)
{
    *s = (struct split){.part = part, .workers = workers, .first = part->n};
    if (workers->count == 0)
        return true;
    int n = (int)lround(offload * part->n);
    s->first = part->n - n;
    s->chunk = chunk_size(n, workers->count);
    s->chunks = (int)(((int64_t)n + s->chunk - 1) / s->chunk);
    s->window = smaller(workers->count * DEPTH, s->chunks);
    size_t window = (size_t)s->window + 1; /* never an array of nothing */
    s->returned_chunks = calloc((size_t)s->chunks + 1, sizeof *s->returned_chunks);
    s->chunk_of = calloc(window, sizeof *s->chunk_of);
    s->indices = calloc(window, sizeof *s->indices);
    s->requests = calloc(window, sizeof(MPI_Request));
    s->statuses = calloc(window, sizeof(MPI_Status));
    if (s->returned_chunks == NULL || s->chunk_of == NULL || s->indices == NULL ||
        s->requests == NULL || s->statuses == NULL)
        return problem_set(problem, "out of memory");
    for (int i = 0; i < s->window; i++)
        s->requests[i] = MPI_REQUEST_NULL;
    return true;
}

void split_free(struct split *s)
{
    free(s->returned_chunks);
    free(s->chunk_of);
    free(s->indices);
    free(s->requests);
    free(s->statuses);
    *s = (struct split){0};
}

static int chunk_begin(const struct split *s, int chunk)
{
    return s->first + chunk * s->chunk;
}

static int chunk_length(const struct split *s, int chunk)
{
    return smaller(s->chunk, s->part->n - chunk_begin(s, chunk));
}

static void warn(struct split *s, const char *what, int code)
{
    char *warning = s->workers->warning;
    if (warning[0] == '\0')
        problem_set_mpi(warning, what, code);
}

/* More failures than were under way when a worker was lost: it isn't worth trying. */
static bool is_hopeless(const struct split *s)
{
    return s->returned > s->window;
}

/* Sends the next chunk, if there is one and workers can be had. */
static void send_chunk(struct split *s, int slot)
{
    struct workers *w = s->workers;
    if (s->next == s->chunks || is_hopeless(s))
        return;
    int begin = chunk_begin(s, s->next), n = chunk_length(s, s->next);
    int code = MPIX_Iinvoke(s->function, s->part->options + begin, n, w->option,
                            s->part->prices + begin, n, MPI_FLOAT, MPIX_ANY_WORKER,
                            w->lease, &s->requests[slot]);
    if (code == MPI_SUCCESS) {
        s->chunk_of[slot] = s->next;
        s->outstanding++;
    } else {
        warn(s, "a chunk could not be sent to a worker", code);
        s->requests[slot] = MPI_REQUEST_NULL;
        s->returned_chunks[s->returned++] = s->next;
    }
    s->next++;
}

/* Whether the worker has priced all of the chunk; `code` is how its request ended. */
static bool is_priced(struct split *s, int chunk, int code, const MPI_Status *status)
{
    int n = 0, wanted = chunk_length(s, chunk);
    if (code != MPI_SUCCESS) {
        warn(s, "a worker failed", code);
        return false;
    }
    mpi_check(MPI_Get_count(status, MPI_FLOAT, &n), "MPI_Get_count");
    if (status->MPI_TAG == 0 && n == wanted)
        return true;
    if (s->workers->warning[0] == '\0')
        problem_set(s->workers->warning,
                    "a worker failed: its function returned %d and %d of %d prices",
                    status->MPI_TAG, n, wanted);
    return false;
}

/* Takes in the `count` requests that have ended and sends new chunks in their place. */
static bool take_chunks(struct split *s, int code, int count, struct progress *progress,
                        char *problem)
{
    int class = MPI_SUCCESS;
    if (code != MPI_SUCCESS)
        MPI_Error_class(code, &class);
    if (class != MPI_SUCCESS && class != MPI_ERR_IN_STATUS)
        return problem_set_mpi(problem, "cannot complete the requests", code);
    if (count == MPI_UNDEFINED)
        count = 0;
    for (int i = 0; i < count; i++) {
        int slot = s->indices[i], chunk = s->chunk_of[slot];
        int ended = class == MPI_SUCCESS ? MPI_SUCCESS : s->statuses[i].MPI_ERROR;
        s->outstanding--;
        if (is_priced(s, chunk, ended, &s->statuses[i])) {
            s->offloaded += chunk_length(s, chunk);
            progress_add(progress, chunk_length(s, chunk));
        } else {
            s->returned_chunks[s->returned++] = chunk;
        }
        send_chunk(s, slot);
    }
    return true;
}

static bool test_chunks(struct split *s, struct progress *progress, char *problem)
{
    int count = 0;
    if (s->outstanding == 0)
        return true;
    int code = MPI_Testsome(s->window, s->requests, &count, s->indices, s->statuses);
    return take_chunks(s, code, count, progress, problem);
}

static bool wait_for_chunks(struct split *s, struct progress *progress, char *problem)
{
    while (s->outstanding > 0) {
        int count = 0;
        int code =
            MPI_Waitsome(s->window, s->requests, &count, s->indices, s->statuses);
        if (!take_chunks(s, code, count, progress, problem))
            return false;
    }
    return true;
}

/* What no worker has priced: the chunks that came back and those never sent. */
static void price_rest(struct split *s, struct progress *progress)
{
    while (s->next < s->chunks)
        s->returned_chunks[s->returned++] = s->next++;
    for (int i = 0; i < s->returned; i++) {
        int chunk = s->returned_chunks[i], n = chunk_length(s, chunk);
        price_range(s->part, chunk_begin(s, chunk), n);
        progress_add(progress, n);
    }
}

/* Sends as many chunks as may be under way. */
static void start_chunks(struct split *s, MPIX_Function function)
{
    s->function = function;
    s->next = s->returned = s->outstanding = 0;
    for (int slot = 0; slot < s->window; slot++)
        send_chunk(s, slot);
}

bool split_transfer(struct split *s, struct pass *pass, char *problem)
{
    struct progress none = {0};
    double begin = MPI_Wtime();
    start_chunks(s, s->workers->nothing);
    if (!wait_for_chunks(s, &none, problem))
        return false;
    double seconds = MPI_Wtime() - begin;
    *pass = (struct pass){.total = seconds, .waiting = seconds};
    return true;
}

bool split_price(struct split *s, struct pass *pass, struct progress *progress,
                 char *problem)
{
    double begin = MPI_Wtime();
    start_chunks(s, s->workers->price);
    for (int done = 0; done < s->first;) {
        int n = smaller(PIECE, s->first - done);
        price_range(s->part, done, n);
        progress_add(progress, n);
        done += n;
        if (!test_chunks(s, progress, problem))
            return false;
    }
    double own = MPI_Wtime();
    if (!wait_for_chunks(s, progress, problem))
        return false;
    double waited = MPI_Wtime();
    price_rest(s, progress);
    double end = MPI_Wtime();
    *pass = (struct pass){.total = end - begin,
                          .local = own - begin + (end - waited),
                          .waiting = waited - own};
    return true;
}
