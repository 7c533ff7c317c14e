/* The buffer that a function writes its output to: private to the worker, and ending
 * at memory that can't be touched, so that a function that writes too much is caught
 * and nobody else's data is hurt. */
#ifndef RFAAS_EXECUTOR_OUTPUT_H
#define RFAAS_EXECUTOR_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct rfaas_output {
    unsigned char *area; /* usable bytes, then the guard */
    size_t usable;
    unsigned char *start; /* of the current buffer */
    size_t capacity;
};

/* Room for `capacity` bytes, aligned to 64, ending at most 63 bytes before the guard;
 * those hold a pattern. NULL: out of memory. Contents are undefined. */
void *rfaas_output_prepare(struct rfaas_output *output, size_t capacity);

/* Whether the bytes between the buffer's end and the guard are as they were. */
bool rfaas_output_intact(const struct rfaas_output *output);

/* Whether `address` lies in the guard: for a signal handler. */
bool rfaas_output_guards(const struct rfaas_output *output, const void *address);

#endif
