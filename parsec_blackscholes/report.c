#include "report.h"

static void print_time(FILE *to, const char *what, double seconds)
{
    fprintf(to, "%-16s%12.3f ms", what, seconds * 1e3);
}

static void print_pricing(const struct report *r, FILE *to)
{
    print_time(to, "price alone", r->alone.total);
    fprintf(to, "  median of %d\n", r->repeat);
    print_time(to, "price hybrid", r->hybrid.total);
    fprintf(to, "  median of %d; %.3f predicted; the first %.3f\n", r->repeat,
            r->hybrid.predicted * 1e3, r->first.total * 1e3);
    if (r->transfer.total > 0) {
        print_time(to, "transfer floor", r->transfer.total);
        fprintf(to, "  median of %d; the same without pricing\n", r->repeat);
    }
}

bool report_print(const struct report *r, FILE *to)
{
    fprintf(to, "%-16s%12d\n", "options", r->options);
    fprintf(to, "%-16s%12d\n", "ranks", r->ranks);
    fprintf(to, "%-16s%12d\n", "workers", r->workers);
    fprintf(to, "%-16s%12s     workers priced %.3f\n", "schedule", r->schedule,
            r->offloaded);
    print_time(to, "read input", r->read);
    fputc('\n', to);
    print_time(to, "pool and leases", r->start);
    fputs("  cold start\n", to);
    print_pricing(r, to);
    print_time(to, "write output", r->write);
    fputc('\n', to);
    fprintf(to, "%-16s%12.3f     hybrid against alone\n", "speed-up",
            r->hybrid.total > 0 ? r->alone.total / r->hybrid.total : 1);
    errors_print(&r->errors, to);
    return fflush(to) == 0 && !ferror(to);
}
