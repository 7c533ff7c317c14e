/* How far prices are off from their references. */
#ifndef BLACKSCHOLES_ERRORS_H
#define BLACKSCHOLES_ERRORS_H

#include "input.h"

#include <stdio.h>

/* Prices that differ by more of the strike price from the reference are wrong. */
#define ERROR_LIMIT 1e-4

/* The largest difference; the largest in parts of the strike price. A price that is not
 * a number is infinitely wrong. */
struct errors {
    double largest, relative;
};

/* Compares the prices of the input's options. Returns false, with a problem that tells
 * the line, if one is wrong. */
bool errors_find(struct errors *errors, const struct input *in,
                 const struct stock_option *options, const float *prices,
                 const float *references, char *problem);

/* As a line of a report. */
void errors_print(const struct errors *errors, FILE *to);

#endif
