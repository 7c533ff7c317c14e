/* Several sweeps of a nine-point stencil in one go, as the ranks and the functions of
 * 05_jacobi compute them: both compile 05_sweeps.c with the same flags. */
#ifndef EXAMPLE_SWEEPS_H
#define EXAMPLE_SWEEPS_H

/* Sweeps between two exchanges. A row depends on so many rows above and below it: that
 * many more are sent and computed twice, and one transfer is for that many sweeps. */
enum { DEPTH = 8 };

/* Point j of the middle row after a sweep: a mean of its eight neighbours, with which
 * Jacobi's method solves Laplace's equation. */
static inline double mean(const double *above, const double *here, const double *below,
                          int j)
{
    double sides = above[j] + below[j] + here[j - 1] + here[j + 1];
    double corners = above[j - 1] + above[j + 1] + below[j - 1] + below[j + 1];
    return 0.2 * sides + 0.05 * corners;
}

/* Writes to `out` what becomes of `rows` rows in DEPTH sweeps. `in` has DEPTH more rows
 * above and below them. The outer columns stay as they are. `scratch` has room for
 * 3 * DEPTH rows. */
void sweeps(const double *in, double *out, int rows, int columns, double *scratch);

#endif
