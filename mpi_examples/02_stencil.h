/* One step of a five-point stencil, as the ranks and the function of 02_overlap
 * compute it. */
#ifndef EXAMPLE_STENCIL_H
#define EXAMPLE_STENCIL_H

enum { COLUMNS = 128 };

/* Computes `rows` rows of `to` from those of `from`: each point becomes the mean of its
 * four neighbours. `from` points to the row above the first. The outer columns stay as
 * they are. */
static inline void stencil(const double (*from)[COLUMNS], double (*to)[COLUMNS],
                           int rows)
{
    for (int i = 0; i < rows; i++) {
        const double *above = from[i], *here = from[i + 1], *below = from[i + 2];
        to[i][0] = here[0];
        for (int j = 1; j < COLUMNS - 1; j++)
            to[i][j] = 0.25 * (above[j] + below[j] + here[j - 1] + here[j + 1]);
        to[i][COLUMNS - 1] = here[COLUMNS - 1];
    }
}

#endif
