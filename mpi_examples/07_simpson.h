/* What 07_quadrature integrates, and how: its ranks and its function do the same. */
#ifndef EXAMPLE_SIMPSON_H
#define EXAMPLE_SIMPSON_H

#include <math.h>

/* PANELS is a multiple of 4. All peaks lie in the first part of [0, 1]. */
enum { PANELS = 512, MOST_PEAKS = 1000 };
#define WIDTH 1e-6
#define PEAKS_END 0.4

/* The integral over [left, right] of as many peaks. */
struct task {
    double left, right;
    int peaks;
};

struct estimate {
    double integral, error;
};

static inline double place(int peak, int peaks)
{
    return PEAKS_END * (peak + 0.5) / peaks;
}

/* A sum of narrow peaks, each of area pi or almost so. */
static inline double peaks_at(double x, int peaks)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < peaks; i++) {
        double distance = x - place(i, peaks);
        sum += WIDTH / (WIDTH * WIDTH + distance * distance);
    }
    return sum;
}

/* Simpson's rule on PANELS panels, and on half of them, from which follows by how much
 * it is wrong. */
static inline struct estimate simpson(const struct task *task)
{
    double h = (task->right - task->left) / PANELS;
    double odd = 0, even = 0,
           even_odd = 0; /* even_odd: every second of the even ones */
    double ends =
        peaks_at(task->left, task->peaks) + peaks_at(task->right, task->peaks);
    for (int i = 1; i < PANELS; i++) {
        double y = peaks_at(task->left + i * h, task->peaks);
        *(i % 2 ? &odd : &even) += y;
        if (i % 4 == 2)
            even_odd += y;
    }
    double fine = h / 3 * (ends + 4 * odd + 2 * even);
    double coarse = 2 * h / 3 * (ends + 4 * even_odd + 2 * (even - even_odd));
    return (struct estimate){fine, fabs(fine - coarse) / 15};
}

/* The integral over [0, 1]. */
static inline double exact(int peaks)
{
    double sum = 0;
    for (int i = 0; i < peaks; i++)
        sum += atan((1 - place(i, peaks)) / WIDTH) + atan(place(i, peaks) / WIDTH);
    return sum;
}

#endif
