#include "arguments.h"

#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

static const char usage[] = "Usage: blackscholes [OPTION]... INPUT OUTPUT\n"
                            "       blackscholes --generate N [--from INPUT] FILE\n";

static const char help[] =
    "Prices the options of INPUT by the Black-Scholes formula, partly on the ranks\n"
    "and partly on workers that they lease, and writes the prices to OUTPUT. Both\n"
    "files have the format of PARSEC's blackscholes. Runs on any number of ranks:\n"
    "    mpirun -n 2 blackscholes --offload 0.5 --repeat 10 INPUT OUTPUT\n"
    "\n"
    "  -s, --schedule HOW      how options are divided between rank and workers:\n"
    "                          static: by --offload (default); dynamic: as they come;\n"
    "                          model: so that both end together\n"
    "  -o, --offload FRACTION  this part of the options goes to workers, 0 to 1\n"
    "                          (default: 0.5); 0: all is done without workers\n"
    "  -w, --workers N         workers for each rank, or as many as are free\n"
    "                          (default: 1)\n"
    "  -t, --transfer          tell also what sending options and prices takes, by a\n"
    "                          function that does nothing\n"
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

static const char short_options[] = ":s:o:w:tr:g:f:hV";

static const struct option long_options[] = {
    {"schedule", required_argument, NULL, 's'},
    {"offload", required_argument, NULL, 'o'},
    {"workers", required_argument, NULL, 'w'},
    {"transfer", no_argument, NULL, 't'},
    {"repeat", required_argument, NULL, 'r'},
    {"generate", required_argument, NULL, 'g'},
    {"from", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static bool read_schedule(struct command_line *line, const char **schedule)
{
    *schedule = optarg;
    if (strcmp(optarg, "static") == 0 || strcmp(optarg, "dynamic") == 0 ||
        strcmp(optarg, "model") == 0)
        return true;
    return command_line_wrong(
        line, "--schedule: expected static, dynamic or model, found \"%s\"", optarg);
}

static bool read_option(struct command_line *line, struct arguments *a, int option,
                        char **argv)
{
    switch (option) {
    case 's':
        return read_schedule(line, &a->schedule);
    case 'o':
        return command_line_fraction(line, "--offload", &a->offload);
    case 'w':
        return command_line_number(line, "--workers", 65536, &a->workers);
    case 't':
        a->transfer = true;
        return true;
    case 'r':
        return command_line_number(line, "--repeat", 1000000, &a->repeat);
    case 'g':
        return command_line_number(line, "--generate", INT_MAX, &a->generate);
    case 'f':
        a->from = optarg;
        return true;
    case 'h':
        return command_line_help(line, help);
    case 'V':
        return command_line_version(line);
    default:
        return command_line_unknown(line, option, argv, short_options);
    }
}

static bool read_operands(struct command_line *line, struct arguments *a, int argc,
                          char **argv)
{
    int files = a->generate > 0 ? 1 : 2;
    if (a->from != NULL && a->generate == 0)
        return command_line_wrong(line, "--from: expected together with --generate");
    if (!command_line_files(line, argc, argv, files))
        return false;
    a->input = a->generate > 0 ? NULL : argv[optind];
    a->output = argv[optind + files - 1];
    return true;
}

bool arguments_read(struct arguments *arguments, int argc, char **argv, bool print,
                    int *status)
{
    struct command_line line = {
        .program = "blackscholes", .usage = usage, .print = print};
    int option;
    bool well = true;
    *arguments = (struct arguments){
        .schedule = "static", .offload = 0.5, .workers = 1, .repeat = 1};
    opterr = 0;
    while (well &&
           (option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
        well = read_option(&line, arguments, option, argv);
    well = well && read_operands(&line, arguments, argc, argv);
    *status = line.status;
    return well;
}
