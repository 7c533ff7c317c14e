/* A progress bar on stderr, for steps that take more than about a second. */
#ifndef BLACKSCHOLES_PROGRESS_H
#define BLACKSCHOLES_PROGRESS_H

#include <stdbool.h>

struct progress {
    const char *what;
    double total, done;  /* in whatever unit */
    double begun, drawn; /* when, in seconds */
    bool visible;        /* this rank shows it */
    bool on_screen;
};

/* Whether a bar can be seen: stderr is a terminal, or is taken there by mpirun. */
bool progress_is_visible(void);

void progress_begin(struct progress *progress, const char *what, double total,
                    bool visible);
void progress_add(struct progress *progress, double amount);
void progress_end(struct progress *progress); /* removes the bar */

#endif
