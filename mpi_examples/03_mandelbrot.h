/* The Mandelbrot set, as 03_many_workers and its function compute it: in integers, so
 * that results are the same wherever they are computed. */
#ifndef EXAMPLE_MANDELBROT_H
#define EXAMPLE_MANDELBROT_H

#include <stdint.h>

enum { WIDTH = 72, HEIGHT = 18, TILE = 12, LIMIT = 20000 };

/* What a task is: TILE points of a row, from `column` on. */
struct task {
    int row, column;
};

/* How many steps a point takes to leave, at most LIMIT: points of the set take by far
 * the longest. Numbers have 24 bits behind the point. */
static inline int steps(int row, int column)
{
    int64_t one = 1 << 24, x = 0, y = 0;
    int64_t cx = column * 3 * one / (WIDTH - 1) - 2 * one;
    int64_t cy = row * 2 * one / (HEIGHT - 1) - one;
    int n = 0;
    while (n < LIMIT && x * x + y * y <= 4 * one * one) {
        int64_t next = (x * x - y * y) / one + cx;
        y = 2 * x * y / one + cy;
        x = next;
        n++;
    }
    return n;
}

static inline void tile(const struct task *task, int result[TILE])
{
    for (int i = 0; i < TILE; i++)
        result[i] = steps(task->row, task->column + i);
}

#endif
