/* Functions that the tests invoke: well-behaved ones, and every way not to be. */
#define _GNU_SOURCE
#include <rfaas_function.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- well-behaved ---------------------------------------------------------------- */

RFAAS_FUNCTION(echo)
{
    if (call->in_size > call->out_capacity)
        return 1;
    if (call->in_size > 0)
        memcpy(call->out, call->in, call->in_size);
    call->out_size = call->in_size;
    return 0;
}

/* Each int32 plus one. */
RFAAS_FUNCTION(increment)
{
    const int32_t *in = call->in;
    int32_t *out = call->out;
    size_t n = call->in_size / sizeof *in;
    if (n * sizeof *out > call->out_capacity)
        return 1;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] + 1;
    call->out_size = n * sizeof *out;
    return 0;
}

/* int64: sum of the input's bytes. */
RFAAS_FUNCTION(sum)
{
    const unsigned char *in = call->in;
    int64_t total = 0;
    for (size_t i = 0; i < call->in_size; i++)
        total += in[i];
    memcpy(call->out, &total, sizeof total);
    call->out_size = sizeof total;
    return 0;
}

/* Three int32: this worker, the lease's workers, the pid. */
RFAAS_FUNCTION(whoami)
{
    int32_t who[3] = {call->worker, call->workers, (int32_t)getpid()};
    memcpy(call->out, who, sizeof who);
    call->out_size = sizeof who;
    return 0;
}

/* Takes as many microseconds as the int32 in the input says, then gives that back. */
RFAAS_FUNCTION(work)
{
    int32_t us;
    struct timespec now, end;
    memcpy(&us, call->in, sizeof us);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += us % 1000000 * 1000l;
    end.tv_sec += us / 1000000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec < end.tv_sec ||
           (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
    memcpy(call->out, &us, sizeof us);
    call->out_size = sizeof us;
    return 0;
}

/* int32: how often this worker has been asked for it. */
RFAAS_FUNCTION(sequence)
{
    static int32_t count;
    count++;
    memcpy(call->out, &count, sizeof count);
    call->out_size = sizeof count;
    return 0;
}

/* Where its library was loaded from. */
RFAAS_FUNCTION(origin)
{
    static const char here;
    Dl_info info;
    if (dladdr(&here, &info) == 0 || strlen(info.dli_fname) > call->out_capacity)
        return 1;
    call->out_size = strlen(info.dli_fname);
    memcpy(call->out, info.dli_fname, call->out_size);
    return 0;
}

/* The name of its machine. */
RFAAS_FUNCTION(node)
{
    char name[64] = "";
    if (gethostname(name, sizeof name - 1) != 0 || strlen(name) > call->out_capacity)
        return 1;
    call->out_size = strlen(name);
    memcpy(call->out, name, call->out_size);
    return 0;
}

/* Two int64: the sizes of input and output buffer. */
RFAAS_FUNCTION(sizes)
{
    int64_t sizes[2] = {(int64_t)call->in_size, (int64_t)call->out_capacity};
    memcpy(call->out, sizes, sizeof sizes);
    call->out_size = sizeof sizes;
    return 0;
}

/* Adds a byte to the file whose name is the input. */
RFAAS_FUNCTION(append)
{
    int fd = open(call->in, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return 1;
    ssize_t n = write(fd, "x", 1);
    close(fd);
    return n == 1 ? 0 : 2;
}

/* Writes nothing. */
RFAAS_FUNCTION(nothing)
{
    (void)call;
    return 0;
}

/* Fills the output. */
RFAAS_FUNCTION(fill)
{
    memset(call->out, 0x5a, call->out_capacity);
    call->out_size = call->out_capacity;
    return 0;
}

/* Returns the int32 that is its input. */
RFAAS_FUNCTION(returns)
{
    int32_t value;
    memcpy(&value, call->in, sizeof value);
    return value;
}

/* number_100 to number_299 give their number, as an int32. */
#define NUMBER(n)                                                                      \
    RFAAS_FUNCTION(number_##n)                                                         \
    {                                                                                  \
        int32_t number = n;                                                            \
        memcpy(call->out, &number, sizeof number);                                     \
        call->out_size = sizeof number;                                                \
        return 0;                                                                      \
    }
#define TEN(n)                                                                         \
    NUMBER(n##0)                                                                       \
    NUMBER(n##1) NUMBER(n##2) NUMBER(n##3) NUMBER(n##4) NUMBER(n##5) NUMBER(n##6)      \
        NUMBER(n##7) NUMBER(n##8) NUMBER(n##9)
#define HUNDRED(n)                                                                     \
    TEN(n##0)                                                                          \
    TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8)    \
        TEN(n##9)
HUNDRED(1)
HUNDRED(2)

/* ---- badly behaved --------------------------------------------------------------- */

RFAAS_FUNCTION(crash)
{
    (void)call;
    volatile int *volatile nowhere = NULL; /* or compilers know better */
    *nowhere = 1;
    return 0;
}

RFAAS_FUNCTION(aborts)
{
    (void)call;
    abort();
}

RFAAS_FUNCTION(exits)
{
    (void)call;
    exit(3);
}

/* Never returns. */
RFAAS_FUNCTION(forever)
{
    (void)call;
    for (;;)
        pause();
    return 0;
}

/* Overflows its stack. */
static volatile int enough; /* never; but the compiler can't know */

static int deeper(volatile char *above)
{
    volatile char here[4096];
    here[0] = above[0];
    return enough ? 0 : deeper(here) + here[0];
}

RFAAS_FUNCTION(overflow_stack)
{
    (void)call;
    volatile char here[1] = {0};
    return deeper(here);
}

/* Says that it wrote more than there is room for, without doing it. */
RFAAS_FUNCTION(claims_too_much)
{
    call->out_size = call->out_capacity + 1;
    return 0;
}

/* Writes one byte too much and doesn't tell. */
RFAAS_FUNCTION(writes_one_too_much)
{
    memset(call->out, 1, call->out_capacity + 1);
    call->out_size = call->out_capacity;
    return 0;
}

/* Writes 1 MiB too much. */
RFAAS_FUNCTION(writes_far_too_much)
{
    memset(call->out, 1, call->out_capacity + (1 << 20));
    call->out_size = call->out_capacity;
    return 0;
}

/* Writes to its input. */
RFAAS_FUNCTION(writes_input)
{
    memset((void *)(uintptr_t)call->in, 0, call->in_size);
    return 0;
}

/* Leaves a child behind, whose pid is the output. */
RFAAS_FUNCTION(forks)
{
    int32_t pid = (int32_t)fork();
    if (pid == 0)
        for (;;)
            pause();
    memcpy(call->out, &pid, sizeof pid);
    call->out_size = sizeof pid;
    return 0;
}

static void *fork_child(void *pid)
{
    *(int32_t *)pid = (int32_t)fork();
    if (*(int32_t *)pid == 0)
        for (;;)
            pause();
    return NULL;
}

/* The same, in a thread that has ended when the function returns. */
RFAAS_FUNCTION(forks_in_thread)
{
    pthread_t thread;
    int32_t pid = 0;
    if (pthread_create(&thread, NULL, fork_child, &pid) != 0)
        return 1;
    pthread_join(thread, NULL);
    memcpy(call->out, &pid, sizeof pid);
    call->out_size = sizeof pid;
    return 0;
}

/* Leaves a program behind in the background of a shell, whose pid is the output. */
RFAAS_FUNCTION(shells)
{
    char line[32] = "";
    FILE *shell = popen("sleep 1000 >/dev/null & echo $!", "r");
    if (!shell || !fgets(line, sizeof line, shell))
        return 1;
    pclose(shell);
    int32_t pid = atoi(line);
    memcpy(call->out, &pid, sizeof pid);
    call->out_size = sizeof pid;
    return 0;
}

/* Starts a program that is left behind, whose pid is the output. */
RFAAS_FUNCTION(spawns)
{
    char program[] = "sleep", seconds[] = "1000";
    char *arguments[] = {program, seconds, NULL};
    pid_t child = 0;
    if (posix_spawnp(&child, program, NULL, NULL, arguments, environ) != 0)
        return 1;
    int32_t pid = (int32_t)child;
    memcpy(call->out, &pid, sizeof pid);
    call->out_size = sizeof pid;
    return 0;
}

/* ---- classic rFaaS functions ----------------------------------------------------- */

uint32_t classic_echo(void *args, uint32_t size, void *res);
uint32_t classic_reverse(void *args, uint32_t size, void *res);
uint32_t classic_claims_too_much(void *args, uint32_t size, void *res);
uint32_t classic_writes_one_too_much(void *args, uint32_t size, void *res);
uint32_t classic_writes_too_much(void *args, uint32_t size, void *res);

uint32_t classic_echo(void *args, uint32_t size, void *res)
{
    memcpy(res, args, size);
    return size;
}

/* Works in its input, as they may. */
uint32_t classic_reverse(void *args, uint32_t size, void *res)
{
    unsigned char *bytes = args;
    for (uint32_t i = 0; i < size / 2; i++) {
        unsigned char b = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = b;
    }
    memcpy(res, bytes, size);
    return size;
}

uint32_t classic_claims_too_much(void *args, uint32_t size, void *res)
{
    (void)args;
    (void)size;
    (void)res;
    return 1u << 30;
}

/* Writes one byte more than its input has, and doesn't tell. */
uint32_t classic_writes_one_too_much(void *args, uint32_t size, void *res)
{
    memcpy(res, args, size);
    memset((char *)res + size, 1, 1);
    return size;
}

/* Writes 1 MiB wherever it is. */
uint32_t classic_writes_too_much(void *args, uint32_t size, void *res)
{
    (void)args;
    (void)size;
    memset(res, 1, 1 << 20);
    return 8;
}
