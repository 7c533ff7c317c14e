/* What the source of a function includes.
 *
 * A function runs inside a worker process, on input that lies where the client
 * wrote it, and leaves its result in the output buffer. One library can hold
 * many functions:
 *
 *     #include <rfaas_function.h>
 *     RFAAS_FUNCTION(square)
 *     {
 *         const double *x = call->in;
 *         double *y = call->out;
 *         size_t n = call->in_size / sizeof *x;
 *         if (n * sizeof *y > call->out_capacity)
 *             return 1;
 *         for (size_t i = 0; i < n; i++)
 *             y[i] = x[i] * x[i];
 *         call->out_size = n * sizeof *y;
 *         return 0;
 *     }
 *
 * Compile it with `cc -shared -fPIC -o libsquare.so square.c`; nothing has to be
 * linked.
 *
 * Classic rFaaS functions, `uint32_t name(void *args, uint32_t size, void *res)`
 * returning the number of bytes written, need neither this header nor the macro:
 * a symbol without the mark that RFAAS_FUNCTION leaves is taken for one of them.
 */
#ifndef RFAAS_FUNCTION_H
#define RFAAS_FUNCTION_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call of a function. `in` and `out` are valid during the call only.
 *
 * in            input, in_size bytes; read-only: writing to it may end the worker.
 *               At least 8-byte aligned when the caller's buffer is.
 * out           room for out_capacity bytes, aligned to 64 bytes. Writing past it
 *               ends the invocation with an error, and possibly the worker. In a part
 *               of a loop that the caller's process does itself it is the caller's
 *               buffer, aligned as that is, and nothing guards what lies behind it.
 * out_size      set by the function: bytes of `out` that are the result (0 on entry)
 * worker        index of this worker in its lease, 0..workers-1; -1: no worker, but
 *               the process that runs the loop
 * workers       number of workers in the lease when this worker started
 */
struct rfaas_call {
    const void *in;
    size_t in_size;
    void *out;
    size_t out_capacity;
    size_t out_size;
    int worker, workers;
};

/* Defines a function. Its body returns 0..32767, which reaches the caller as
 * rfaas_result.function_status or MPI_TAG; any other value is an error there. */
#define RFAAS_FUNCTION(name)                                                       \
    RFAAS_FUNCTION_LINKAGE const char rfaas_mark_##name;                           \
    RFAAS_FUNCTION_LINKAGE int name(struct rfaas_call *call);                      \
    RFAAS_FUNCTION_DEFINE const char rfaas_mark_##name = 1;                        \
    RFAAS_FUNCTION_DEFINE int name(struct rfaas_call *call)

#ifdef __cplusplus
#define RFAAS_FUNCTION_LINKAGE extern "C" __attribute__((visibility("default")))
#define RFAAS_FUNCTION_DEFINE extern "C"
#else
#define RFAAS_FUNCTION_LINKAGE extern __attribute__((visibility("default")))
#define RFAAS_FUNCTION_DEFINE
#endif

#ifdef __cplusplus
}
#endif

#endif
