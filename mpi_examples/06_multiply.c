#include "06_multiply.h"
#include <string.h>

/* A block of `a` (128 KiB) stays in the second-level cache while all columns of `b`
 * come by, a strip of these (8 KiB) in the first. */
enum { BLOCK_ROWS = 64, BLOCK_DEPTH = 256 };

/* What fits into one register of most machines. */
typedef double pair __attribute__((vector_size(2 * sizeof(double))));

static void add_to(double *c, pair left, pair right)
{
    pair old[2];
    memcpy(old, c, sizeof old); /* may not be aligned */
    old[0] += left;
    old[1] += right;
    memcpy(c, old, sizeof old);
}

/* Adds to TILE x TILE numbers of c what `depth` columns of a and rows of b give. The
 * sums stay in registers; gcc leaves them in memory unless the loop over i is
 * unrolled. */
static void multiply_tile(const double *a, const pair (*strip)[2], double *c, size_t n,
                          int depth)
{
    pair sum[TILE][2] = {{{0}}};
    for (int k = 0; k < depth; k++)
#pragma GCC unroll 4
        for (int i = 0; i < TILE; i++) {
            sum[i][0] += a[k + i * n] * strip[k][0];
            sum[i][1] += a[k + i * n] * strip[k][1];
        }
    for (int i = 0; i < TILE; i++)
        add_to(c + i * n, sum[i][0], sum[i][1]);
}

static void multiply_block(const double *a, const double *b, double *c, int rows, int n,
                           int depth)
{
    pair strip[BLOCK_DEPTH][2];
    for (int j = 0; j < n; j += TILE) {
        for (int k = 0; k < depth; k++)
            memcpy(&strip[k], b + (size_t)k * (size_t)n + j, sizeof strip[k]);
        for (int i = 0; i < rows; i += TILE) {
            size_t row = (size_t)i * (size_t)n;
            multiply_tile(a + row, (const pair(*)[2])strip, c + row + j, (size_t)n,
                          depth);
        }
    }
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

void multiply(const double *a, const double *b, double *c, int rows, int n)
{
    size_t row = (size_t)n;
    memset(c, 0, (size_t)rows * row * sizeof *c);
    for (int k = 0; k < n; k += BLOCK_DEPTH)
        for (int i = 0; i < rows; i += BLOCK_ROWS)
            multiply_block(a + (size_t)i * row + k, b + (size_t)k * row,
                           c + (size_t)i * row, smaller(BLOCK_ROWS, rows - i), n,
                           smaller(BLOCK_DEPTH, n - k));
}
