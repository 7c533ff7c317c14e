#include "progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* mpirun reads the stderr of its ranks from a pipe and passes it on to its own. */
bool progress_is_visible(void)
{
    char path[64];
    if (isatty(STDERR_FILENO))
        return true;
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMI_SIZE") == NULL)
        return false;
    snprintf(path, sizeof path, "/proc/%ld/fd/2", (long)getppid());
    int fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool terminal = isatty(fd);
    close(fd);
    return terminal;
}

void progress_begin(struct progress *p, const char *what, double total, bool visible)
{
    *p = (struct progress){.what = what, .total = total, .visible = visible};
    if (visible)
        p->begun = p->drawn = now();
}

static void draw(struct progress *p, double t)
{
    static const char bar[] = "########################################";
    static const char gap[] = "                                        ";
    const int width = sizeof bar - 1;
    double part = p->total > 0 && p->done < p->total ? p->done / p->total : 1;
    int full = (int)(part * width);
    fprintf(stderr, "\r%-14s [%.*s%.*s] %3.0f %%", p->what, full, bar, width - full,
            gap, part * 100);
    fflush(stderr);
    p->drawn = t;
    p->on_screen = true;
}

/* Nothing during the first half second, and nothing when the step will have ended
 * within a second. */
void progress_add(struct progress *p, double amount)
{
    const double patience = 0.5, interval = 0.1, shortest = 1.0;
    p->done += amount;
    if (!p->visible)
        return;
    double t = now(), elapsed = t - p->begun;
    if (t - p->drawn < interval || elapsed < patience)
        return;
    if (p->on_screen || elapsed * p->total > shortest * p->done)
        draw(p, t);
}

void progress_end(struct progress *p)
{
    if (p->on_screen)
        fprintf(stderr, "\r%64s\r", "");
    fflush(stderr);
    p->on_screen = false;
}
