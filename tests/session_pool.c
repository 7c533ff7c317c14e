/* Manager, executors and a session. */
#include "session_pool.h"

#include "manager/server.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct pool pool;
static struct rfaas_manager *manager; /* if it is a thread of ours */
static int descriptors_before;

/* ---- time and processes ---------------------------------------------------------- */

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool patient(double start, double seconds)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    return seconds_now() - start < seconds;
}

char process_state(pid_t pid, unsigned long *ticks)
{
    char path[64], state = 0;
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &state, &user, &system) != 3)
        state = 0;
    fclose(file);
    if (ticks)
        *ticks = user + system;
    return state;
}

bool process_ends(pid_t pid, double seconds)
{
    double start = seconds_now();
    for (;;) {
        char state = process_state(pid, NULL);
        if (state == 0 || state == 'Z' || state == 'X')
            return true;
        if (!patient(start, seconds))
            return false;
    }
}

int descriptors_open(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK_FATAL(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Reaps all children; those that are still there after that time are killed. Workers
 * whose executor was killed are ours too: see begin. False if there were any, or an
 * executor ended with a complaint, as a sanitizer's is. */
static bool children_end(double seconds)
{
    bool ended = true;
    double start = seconds_now();
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0)
            return ended;
        for (int i = 0; i < pool.executor_count; i++)
            if (pid == pool.executors[i] && WIFEXITED(status) &&
                WEXITSTATUS(status) != 0) {
                printf("\n    executor %d: exit status %d", i, WEXITSTATUS(status));
                ended = false;
            }
        if (pid > 0 || patient(start, seconds))
            continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *children = fopen(path, "r");
        int child;
        while (children && fscanf(children, "%d", &child) == 1) {
            printf("\n    child %d is left", child);
            kill(child, SIGKILL);
        }
        if (children)
            fclose(children);
        ended = false;
        start = seconds_now();
    }
}

/* ---- starting -------------------------------------------------------------------- */

/* The first line that comes from the descriptor, which is closed. */
static bool read_line(int fd, char line[128])
{
    size_t length = 0;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (length < 127 && poll(&ready, 1, PATIENCE_SECONDS * 1000) == 1 &&
           read(fd, line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = '\0';
    close(fd);
    return length > 0;
}

/* Starts a program whose descriptor `out` is a pipe, and reads a line from it. */
static pid_t start(const char *path, char *const arguments[], int out, char line[128])
{
    int ends[2];
    pid_t pid;
    posix_spawn_file_actions_t files;
    CHECK_FATAL(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], out);
    int error = posix_spawn(&pid, path, &files, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    bool said = error == 0 && read_line(ends[0], line);
    if (!said)
        printf("\n    %s: %s\n", path, error ? strerror(error) : "says nothing");
    CHECK_FATAL(said);
    return pid;
}

pid_t program_start(const char *const arguments[], char line[128])
{
    char *argv[8] = {(char[]){"test"}};
    for (int i = 0; arguments[i]; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    return start("/proc/self/exe", argv, STDOUT_FILENO, line);
}

pid_t executor_start(int cores)
{
    const char *path = getenv("RFAAS_EXECUTOR");
    char number[16], line[128];
    char *arguments[] = {(char[]){"rfaas-executor"},
                         (char[]){"--manager"},
                         pool.address,
                         (char[]){"--cores"},
                         number,
                         (char[]){"--log-level"},
                         (char[]){"none"},
                         (char[]){"--ready-fd"},
                         (char[]){"9"},
                         NULL};
    snprintf(number, sizeof number, "%d", cores);
    if (getenv("RFAAS_TEST_LOG"))
        arguments[6] = getenv("RFAAS_TEST_LOG");
    pid_t pid = start(path ? path : "./rfaas-executor", arguments, 9, line);
    if (strcmp(line, "ready") != 0)
        printf("\n    executor: %s\n", line);
    CHECK_FATAL(strcmp(line, "ready") == 0);
    CHECK_FATAL(pool.executor_count < 4);
    return pool.executors[pool.executor_count++] = pid;
}

rfaas_session *session_open(void)
{
    char setting[160];
    rfaas_session *session = NULL;
    snprintf(setting, sizeof setting, "manager_address=%s", pool.address);
    CHECK_OK_FATAL(rfaas_session_open(SETTINGS(setting), &session));
    return session;
}

static void begin(void)
{
    session_end();
    manager_end();
    for (int i = 0; i < pool.executor_count; i++)
        if (pool.executors[i] > 0)
            kill(pool.executors[i], SIGCONT);
    children_end(5);
    memset(&pool, 0, sizeof pool);
    /* Orphans become our children, so that none can hide. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    descriptors_before = descriptors_open();
}

void pool_begin(int cores)
{
    begin();
    CHECK_OK_FATAL(rfaas_key_create(&pool.key));
    CHECK_OK_FATAL(rfaas_manager_start("", "", &pool.key, &manager));
    snprintf(pool.address, sizeof pool.address, "%s", rfaas_manager_address(manager));
    executor_start(cores);
    pool.session = session_open();
}

void pool_begin_with_program(int cores, pid_t *program)
{
    const char *path = getenv("RFAAS_MANAGER");
    char line[128];
    begin();
    *program = start(path ? path : "./rfaas-manager",
                     (char *[]){(char[]){"rfaas-manager"}, NULL}, STDOUT_FILENO, line);
    CHECK_FATAL(sscanf(line, "manager_address=%127s", pool.address) == 1);
    executor_start(cores);
    pool.session = session_open();
}

/* ---- ending ---------------------------------------------------------------------- */

void session_end(void)
{
    rfaas_session_close(pool.session);
    pool.session = NULL;
}

void manager_end(void)
{
    rfaas_manager_stop(manager);
    manager = NULL;
}

/* ThreadSanitizer leaves a file of a process that is killed as it begins. */
static void sanitizer_files_remove(void)
{
    char pattern[300];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%.250s/tsan.rodata.*",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

void pool_end(void)
{
    session_end();
    manager_end();
    CHECK(children_end(PATIENCE_SECONDS));
    sanitizer_files_remove();
    pool.executor_count = 0;
    CHECK_EQUAL(descriptors_open(), descriptors_before);
}

/* ---- calls ----------------------------------------------------------------------- */

void check_status(int actual, int status, const char *words, const char *call,
                  const char *file, int line)
{
    char text[700];
    const char *error = actual == RFAAS_OK ? "" : rfaas_last_error();
    snprintf(text, sizeof text, "%.120s: %d, not %d; \"%.300s\", not \"%.120s\"", call,
             actual, status, error, words);
    CU_assertImplementation(actual == status && strstr(error, words) != NULL,
                            (unsigned)line, text, file, "", CU_FALSE);
}

rfaas_lease *lease_of(int workers, const char *const settings[])
{
    rfaas_lease *lease = NULL;
    CHECK_OK_FATAL(rfaas_lease_acquire(pool.session, workers, settings, &lease));
    return lease;
}

const char *functions_path(void)
{
    const char *path = getenv("RFAAS_TEST_FUNCTIONS");
    return path ? path : "tests/functions.so";
}

rfaas_function *function_of(const char *name)
{
    rfaas_function *function = NULL;
    CHECK_OK_FATAL(
        rfaas_function_load(pool.session, functions_path(), name, &function));
    return function;
}

bool increments(rfaas_function *increment, rfaas_lease *lease, int worker,
                int32_t value)
{
    int32_t out = 0;
    rfaas_request *request;
    struct rfaas_result result;
    return rfaas_invoke(lease, worker, increment, &value, sizeof value, &out,
                        sizeof out, &request) == RFAAS_OK &&
           rfaas_wait(&request, &result) == RFAAS_OK && request == NULL &&
           result.status == RFAAS_OK && result.function_status == 0 &&
           result.out_size == sizeof out && out == value + 1 &&
           (worker == RFAAS_ANY_WORKER || result.worker == worker);
}

pid_t worker_pid(rfaas_lease *lease, int worker)
{
    int32_t who[3] = {0};
    rfaas_request *request;
    rfaas_function *whoami = function_of("whoami");
    CHECK_OK_FATAL(
        rfaas_invoke(lease, worker, whoami, NULL, 0, who, sizeof who, &request));
    CHECK_OK_FATAL(rfaas_wait(&request, NULL));
    rfaas_function_free(whoami);
    CHECK_EQUAL(who[0], worker);
    CHECK_EQUAL(who[1], rfaas_lease_workers(lease));
    CHECK_FATAL(who[2] > 1);
    return who[2];
}

/* ---- batches --------------------------------------------------------------------- */

void batch_add(struct batch *batch, rfaas_lease *lease, int worker,
               rfaas_function *function, int count, int32_t first)
{
    CHECK_FATAL(batch->count + count <= BATCH_MAX);
    for (int n = 0; n < count; n++) {
        int i = batch->count++;
        batch->in[i] = first + n;
        batch->out[i] = INT32_MIN;
        batch->requests[i] = NULL;
        batch->texts[i][0] = '\0';
        CHECK_OK_FATAL(rfaas_invoke(lease, worker, function, &batch->in[i],
                                    sizeof batch->in[i], &batch->out[i],
                                    sizeof batch->out[i], &batch->requests[i]));
    }
}

bool batch_wait(struct batch *batch, double seconds)
{
    double start = seconds_now();
    for (int i = 0; i < batch->count; i++) {
        if (!batch->requests[i])
            continue;
        int status;
        while ((status = rfaas_test(&batch->requests[i], &batch->results[i])) ==
               RFAAS_IN_PROGRESS)
            if (!patient(start, seconds))
                return false;
        if (status != RFAAS_OK)
            snprintf(batch->texts[i], sizeof batch->texts[i], "%s", rfaas_last_error());
    }
    return true;
}

int batch_count(const struct batch *batch, int first, int count, int status)
{
    int found = 0;
    for (int i = first; i < first + count; i++)
        found += !batch->requests[i] && batch->results[i].status == status;
    return found;
}

int batch_right(const struct batch *batch, int first, int count, int32_t more)
{
    int right = 0;
    for (int i = first; i < first + count; i++)
        right += !batch->requests[i] && batch->results[i].status == RFAAS_OK &&
                 batch->results[i].out_size == sizeof batch->out[i] &&
                 batch->out[i] == batch->in[i] + more;
    return right;
}
