/* Reading of a command line with getopt_long: what programs here have in common.
 *
 * A function that finds something wrong, or has shown what was asked for, returns
 * false: there is nothing more to do, and `status` is the exit status. */
#ifndef BLACKSCHOLES_COMMAND_LINE_H
#define BLACKSCHOLES_COMMAND_LINE_H

#include <stdbool.h>

enum { EXIT_USAGE = 2 };

/* print  this process is the one that prints
 * usage  printed after what is wrong, and before the help */
struct command_line {
    const char *program, *usage;
    bool print;
    int status;
};

bool command_line_wrong(struct command_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Read optarg, the value of the option `name`: a fraction from 0 to 1, a number from 1
 * to the limit. */
bool command_line_fraction(struct command_line *line, const char *name, double *value);
bool command_line_number(struct command_line *line, const char *name, int limit,
                         int *value);

/* For the options -h and -V, and for those that getopt_long doesn't know (`option` is
 * what it returned). */
bool command_line_help(struct command_line *line, const char *help);
bool command_line_version(struct command_line *line);
bool command_line_unknown(struct command_line *line, int option, char **argv,
                          const char *short_options);

/* Whether there are INPUT and OUTPUT, or only a FILE if `files` is 1. */
bool command_line_files(struct command_line *line, int argc, char **argv, int files);

#endif
