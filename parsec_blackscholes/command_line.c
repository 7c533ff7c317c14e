#include "command_line.h"

#include <rfaas.h>

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool stop(struct command_line *line, int status)
{
    line->status = status;
    return false;
}

bool command_line_wrong(struct command_line *line, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (line->print) {
        fprintf(stderr, "%s: ", line->program);
        vfprintf(stderr, format, list);
        fprintf(stderr, "\n%s", line->usage);
    }
    va_end(list);
    return stop(line, EXIT_USAGE);
}

bool command_line_fraction(struct command_line *line, const char *name, double *value)
{
    char *end;
    double x = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(x >= 0 && x <= 1))
        return command_line_wrong(
            line, "%s: expected a fraction from 0 to 1, found \"%s\"", name, optarg);
    *value = x;
    return true;
}

bool command_line_number(struct command_line *line, const char *name, int limit,
                         int *value)
{
    char *end;
    errno = 0;
    long x = strtol(optarg, &end, 10);
    if (end == optarg || *end != '\0' || errno != 0 || x < 1 || x > limit)
        return command_line_wrong(line,
                                  "%s: expected a number from 1 to %d, found \"%s\"",
                                  name, limit, optarg);
    *value = (int)x;
    return true;
}

bool command_line_help(struct command_line *line, const char *help)
{
    if (line->print)
        printf("%s%s", line->usage, help);
    return stop(line, EXIT_SUCCESS);
}

bool command_line_version(struct command_line *line)
{
    if (line->print)
        printf("%s (rFaaS for MPI) %d.%d.%d\n", line->program, RFAAS_VERSION_MAJOR,
               RFAAS_VERSION_MINOR, RFAAS_VERSION_PATCH);
    return stop(line, EXIT_SUCCESS);
}

bool command_line_unknown(struct command_line *line, int option, char **argv,
                          const char *short_options)
{
    const char *word = argv[optind - 1];
    if (option == ':')
        return command_line_wrong(line, "%s: expected a value", word);
    if (optopt != 0 &&
        strchr(short_options, optopt) == NULL) /* not all of -xo is wrong */
        return command_line_wrong(line, "-%c: no such option", optopt);
    return command_line_wrong(line, "%s: no such option", word);
}

bool command_line_files(struct command_line *line, int argc, char **argv, int files)
{
    if (argc - optind < files)
        return command_line_wrong(line, files == 1       ? "expected FILE"
                                        : argc == optind ? "expected INPUT and OUTPUT"
                                                         : "expected OUTPUT");
    if (argc - optind > files)
        return command_line_wrong(line, "%s: expected no further argument",
                                  argv[optind + files]);
    return true;
}
