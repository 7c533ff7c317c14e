/* Functions that the tests apply to the elements of loops, mostly int32. */
#include <rfaas_function.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Each plus one; returns 7 if one of them is -7. */
RFAAS_FUNCTION(increment_but_7)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    if (n * sizeof *out > call->out_capacity)
        return 1;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == -7)
            return 7;
        out[i] = in[i] + 1;
    }
    call->out_size = n * sizeof *out;
    return 0;
}

/* Each plus one; returns -1, which is no function's status, if one of them is -5. */
RFAAS_FUNCTION(increment_but_5)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == -5)
            return -1;
        out[i] = in[i] + 1;
    }
    call->out_size = n * sizeof *out;
    return 0;
}

/* Each plus one; crashes a worker if one of them is -9. */
RFAAS_FUNCTION(increment_but_9)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == -9 && call->worker >= 0)
            abort();
        out[i] = in[i] + 1;
    }
    call->out_size = n * sizeof *out;
    return 0;
}

/* Each plus one, but for the last, which it forgets if it is alone. */
RFAAS_FUNCTION(increment_but_single)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] + 1;
    call->out_size = (n > 1 ? n : 0) * sizeof *out;
    return 0;
}

/* For each, without input: the number of the worker, -1 in the rank. */
RFAAS_FUNCTION(who_does)
{
    int32_t *out = call->out;
    size_t n = call->out_capacity / sizeof *out;
    for (size_t i = 0; i < n; i++)
        out[i] = call->worker;
    call->out_size = n * sizeof *out;
    return 0;
}

/* Each plus one, after as many nanoseconds of work as each says. */
RFAAS_FUNCTION(increment_slowly)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    struct timespec begin, now;
    int64_t ns = 0;
    for (size_t i = 0; i < n; i++) {
        ns += in[i];
        out[i] = in[i] + 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec < ns);
    call->out_size = n * sizeof *out;
    return 0;
}

/* Each plus one; whoever gets a -3 is killed, as by a system that is out of memory. */
RFAAS_FUNCTION(increment_but_3)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == -3)
            kill(getpid(), SIGKILL);
        out[i] = in[i] + 1;
    }
    call->out_size = n * sizeof *out;
    return 0;
}

/* The mean of three doubles. */
RFAAS_FUNCTION(mean_of_3)
{
    const double *in = call->in;
    double *out = call->out;
    size_t n = call->in_size / (3 * sizeof *in);
    for (size_t i = 0; i < n; i++)
        out[i] = (in[3 * i] + in[3 * i + 1] + in[3 * i + 2]) / 3;
    call->out_size = n * sizeof *out;
    return 0;
}

/* Classic: each plus one, made in the input. */
uint32_t classic_increment(void *args, uint32_t size, void *res);

uint32_t classic_increment(void *args, uint32_t size, void *res)
{
    int32_t *elements = args;
    for (uint32_t i = 0; i < size / sizeof *elements; i++)
        elements[i]++;
    memcpy(res, args, size);
    return size;
}
