#include "arguments.h"

#include <rfaas.h>

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "Usage: blackscholes [OPTION]... INPUT OUTPUT\n"
                            "       blackscholes --generate N [--from INPUT] FILE\n";

static const char help[] =
    "Prices the options of INPUT by the Black-Scholes formula, partly on the ranks\n"
    "and partly on workers that they lease, and writes the prices to OUTPUT. Both\n"
    "files have the format of PARSEC's blackscholes. Runs on any number of ranks:\n"
    "    mpirun -n 2 blackscholes --offload 0.5 --repeat 10 INPUT OUTPUT\n"
    "\n"
    "  -o, --offload FRACTION  this part of the options goes to workers, 0 to 1\n"
    "                          (default: 0.5)\n"
    "  -w, --workers N         workers for each rank, or as many as are free\n"
    "                          (default: 1)\n"
    "  -r, --repeat N          time the pricing N times, report the median\n"
    "                          (default: 1)\n"
    "  -g, --generate N        write an input of N options, by repeating others\n"
    "  -f, --from INPUT        the options to repeat (default: the 600 that come\n"
    "                          with the program)\n"
    "  -h, --help              show this and exit\n"
    "  -V, --version           show the version and exit\n"
    "\n"
    "Exit status: 0; 1 on failure, or when a price differs from the reference price\n"
    "in INPUT by more than 1e-4 of the strike price; 2 for wrong usage.\n";

static const char short_options[] = ":o:w:r:g:f:hV";

static const struct option long_options[] = {
    {"offload", required_argument, NULL, 'o'},
    {"workers", required_argument, NULL, 'w'},
    {"repeat", required_argument, NULL, 'r'},
    {"generate", required_argument, NULL, 'g'},
    {"from", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* One reading of a command line. */
struct reading {
    struct arguments *arguments;
    bool print;
    int status;
};

static bool stop(struct reading *r, int status)
{
    r->status = status;
    return false;
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct reading *r,
                                                        const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (r->print) {
        fputs("blackscholes: ", stderr);
        vfprintf(stderr, format, list);
        fprintf(stderr, "\n%s", usage);
    }
    va_end(list);
    return stop(r, EXIT_USAGE);
}

static bool read_fraction(struct reading *r, const char *name, double *value)
{
    char *end;
    double x = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(x >= 0 && x <= 1))
        return wrong(r, "%s: expected a fraction from 0 to 1, found \"%s\"", name,
                     optarg);
    *value = x;
    return true;
}

static bool read_number(struct reading *r, const char *name, int limit, int *value)
{
    char *end;
    errno = 0;
    long x = strtol(optarg, &end, 10);
    if (end == optarg || *end != '\0' || errno != 0 || x < 1 || x > limit)
        return wrong(r, "%s: expected a number from 1 to %d, found \"%s\"", name, limit,
                     optarg);
    *value = (int)x;
    return true;
}

static bool show(struct reading *r, const char *text, const char *more)
{
    if (r->print)
        printf("%s%s", text, more);
    return stop(r, EXIT_SUCCESS);
}

static bool show_version(struct reading *r)
{
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d\n", RFAAS_VERSION_MAJOR,
             RFAAS_VERSION_MINOR, RFAAS_VERSION_PATCH);
    return show(r, "blackscholes (rFaaS for MPI) ", version);
}

static bool read_option(struct reading *r, int option, char **argv)
{
    struct arguments *a = r->arguments;
    switch (option) {
    case 'o':
        return read_fraction(r, "--offload", &a->offload);
    case 'w':
        return read_number(r, "--workers", 65536, &a->workers);
    case 'r':
        return read_number(r, "--repeat", 1000000, &a->repeat);
    case 'g':
        return read_number(r, "--generate", INT_MAX, &a->generate);
    case 'f':
        a->from = optarg;
        return true;
    case 'h':
        return show(r, usage, help);
    case 'V':
        return show_version(r);
    case ':':
        return wrong(r, "%s: expected a value", argv[optind - 1]);
    default: /* in -xo the wrong one isn't all of argv's word */
        return optopt != 0 && strchr(short_options, optopt) == NULL
                   ? wrong(r, "-%c: no such option", optopt)
                   : wrong(r, "%s: no such option", argv[optind - 1]);
    }
}

static bool read_operands(struct reading *r, int argc, char **argv)
{
    struct arguments *a = r->arguments;
    int expected = a->generate > 0 ? 1 : 2;
    if (a->from != NULL && a->generate == 0)
        return wrong(r, "--from: expected together with --generate");
    if (argc - optind < expected)
        return wrong(r, a->generate > 0  ? "expected FILE"
                        : argc == optind ? "expected INPUT and OUTPUT"
                                         : "expected OUTPUT");
    if (argc - optind > expected)
        return wrong(r, "%s: expected no further argument", argv[optind + expected]);
    a->input = a->generate > 0 ? NULL : argv[optind];
    a->output = argv[optind + expected - 1];
    return true;
}

bool arguments_read(struct arguments *arguments, int argc, char **argv, bool print,
                    int *status)
{
    struct reading r = {.arguments = arguments, .print = print};
    int option;
    *arguments = (struct arguments){.offload = 0.5, .workers = 1, .repeat = 1};
    opterr = 0;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
        if (!read_option(&r, option, argv)) {
            *status = r.status;
            return false;
        }
    bool well = read_operands(&r, argc, argv);
    *status = r.status;
    return well;
}
