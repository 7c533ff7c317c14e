/* Matrix multiplication, as the ranks and the functions of 06_matmul compute it: both
 * compile 06_multiply.c with the same flags. */
#ifndef EXAMPLE_MULTIPLY_H
#define EXAMPLE_MULTIPLY_H

/* Rows and columns are counted in so many. */
enum { TILE = 4 };

/* c = a b, where b is n x n, and a and c are `rows` x n; row after row, `rows` and n
 * multiples of TILE. */
void multiply(const double *a, const double *b, double *c, int rows, int n);

#endif
