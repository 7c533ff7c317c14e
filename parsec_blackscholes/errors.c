#include "errors.h"

#include <inttypes.h>
#include <math.h>

bool errors_find(struct errors *errors, const struct input *in,
                 const struct stock_option *options, const float *prices,
                 const float *references, char *problem)
{
    int64_t worst = 0;
    *errors = (struct errors){0};
    for (int64_t i = 0; i < in->size; i++) {
        double e = fabs((double)prices[i] - (double)references[i]);
        double r = e / (double)options[i].strike;
        if (!(e <= errors->largest))
            errors->largest = isnan(e) ? INFINITY : e;
        if (!(r <= errors->relative)) {
            errors->relative = isnan(r) ? INFINITY : r;
            worst = i;
        }
    }
    if (errors->relative <= ERROR_LIMIT)
        return true;
    return problem_set(problem,
                       "%s:%" PRId64 ": priced at %g, which differs from the reference "
                       "price %g by %.3g of the strike price, more than %g",
                       in->path, in->first + worst + 2, (double)prices[worst],
                       (double)references[worst], errors->relative, ERROR_LIMIT);
}

void errors_print(const struct errors *errors, FILE *to)
{
    fprintf(to, "%-16s%12.3g     %.3g of the strike, limit %g\n", "largest error",
            errors->largest, errors->relative, ERROR_LIMIT);
}
