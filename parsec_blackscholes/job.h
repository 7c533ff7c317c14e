/* One run of the program on one rank. Its steps are collective and end with all ranks
 * knowing whether they went well; false: a problem that rank 0 has printed. */
#ifndef BLACKSCHOLES_JOB_H
#define BLACKSCHOLES_JOB_H

#include "arguments.h"
#include "file.h"
#include "input.h"
#include "report.h"
#include "split.h"
#include "workers.h"

/* visible            this rank may show a progress bar
 * options, prices    of this rank's part of the input, where workers reach them
 * references         its reference prices
 * all_prices         of all ranks, on rank 0
 * offloaded          options of this rank that workers have priced, in all passes
 * problem            of this rank in the current step */
struct job {
    const struct arguments *arguments;
    int rank, ranks;
    bool visible;
    struct input input;
    struct file output;
    struct workers workers;
    struct stock_option *options;
    float *prices, *references, *all_prices;
    struct part part;
    int64_t offloaded;
    struct progress progress;
    struct report report;
    char problem[PROBLEM_SIZE];
};

/* measure.c: prices the options alone, leases workers, prices them together. */
bool job_price(struct job *job);

/* results.c: compares the prices with the references; writes them; reports. */
bool job_check_prices(struct job *job);
bool job_write_output(struct job *job);
bool job_print_report(struct job *job);

#endif
