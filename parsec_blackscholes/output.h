/* Prices in PARSEC's output format: their number, then one a line with 18 decimals. */
#ifndef BLACKSCHOLES_OUTPUT_H
#define BLACKSCHOLES_OUTPUT_H

#include "file.h"
#include "progress.h"

/* Room for "%.18f" of any float, the end of the line and a '\0'. */
enum { PRICE_SIZE = 64 };

bool output_write(struct file *file, const float *prices, int n,
                  struct progress *progress, char *problem);

/* Writes what printf("%.18f\n", price) would. Returns the length. */
int output_format(char text[PRICE_SIZE], float price);

#endif
