#include "05_sweeps.h"

/* One row of a sweep, from the three rows around it before the sweep. */
static void sweep_row(const double *restrict above, const double *restrict here,
                      const double *restrict below, double *restrict to, int columns)
{
    to[0] = here[0];
#pragma omp simd
    for (int j = 1; j < columns - 1; j++)
        to[j] = mean(above, here, below, j);
    to[columns - 1] = here[columns - 1];
}

/* All sweeps go down the rows together, each one row behind the one before it, so that
 * what lies between the first and the last stays in the cache: of each sweep the latest
 * three rows, in turns. */
void sweeps(const double *in, double *out, int rows, int columns, double *scratch)
{
    for (int row = 0; row < rows + 2 * DEPTH; row++)
        for (int sweep = 1; sweep <= DEPTH && row >= 2 * sweep; sweep++) {
            const double *from[3];
            int i = row - sweep;
            for (int k = 0; k < 3; k++) {
                int source = i - 1 + k, turn = 3 * (sweep - 1) + source % 3;
                from[k] = sweep == 1 ? in + (long)source * columns
                                     : scratch + (long)turn * columns;
            }
            sweep_row(from[0], from[1], from[2],
                      sweep == DEPTH ? out + (long)(i - DEPTH) * columns
                                     : scratch + (long)(3 * sweep + i % 3) * columns,
                      columns);
        }
}
