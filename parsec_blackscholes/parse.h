/* One line of an input file, in the format of PARSEC's blackscholes:
 *
 *     spot strike rate dividend-rate volatility time C|P dividends reference-price
 *
 * Dividends are not part of the formula, so both must be 0. */
#ifndef BLACKSCHOLES_PARSE_H
#define BLACKSCHOLES_PARSE_H

#include "kernel.h"

#include <stdbool.h>

enum { EXCERPT_SIZE = 48 };

/* Parses the line at `line`, which must end in '\n'. Returns NULL and in `*at` the
 * place of the '\n'; or what was expected instead of that which stands `*at`. */
const char *parse_option(const char *line, struct stock_option *option,
                         float *reference, const char **at);

/* Parses the first line, the number of options: in the same way. */
const char *parse_count(const char *line, int *count, const char **at);

/* What stands at `at`, in quotes and made printable, for an error message. */
void parse_excerpt(const char *at, char excerpt[EXCERPT_SIZE]);

#endif
