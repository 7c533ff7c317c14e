/* MPI programs for test_mpi_kill.sh to kill, and others that live on beside them. Each
 * rank leases workers, keeps 64 invocations outstanding, and prints a line
 *     ready RANK PID MANAGER_ADDRESS
 * What they do then:
 *     stay               a pool of its own; waits for functions that never return
 *     watch ADDRESS PID  a guest of another's manager, with the same functions; when
 *                        the process dies, all of them must end in two seconds
 *     occupy ADDRESS     a guest that takes three cores and waits
 *     serve FILE         a pool of four cores, one for itself; works on until the file
 *                        is there, and then gets the other three
 * Exit status 0: all was as it should be. */
#include <mpix_rfaas.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTSTANDING = 64 };
static const double LOSS_SECONDS = 2, PATIENCE_SECONDS = 60;

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function function;
    int rank;
    int32_t in[OUTSTANDING], out[OUTSTANDING];
    MPI_Request requests[OUTSTANDING];
    MPI_Status statuses[OUTSTANDING];
} with;

static void fail(const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code != MPI_SUCCESS)
        MPI_Error_string(code, text, &length);
    printf("failed: rank %d: %s: %s\n", with.rank, what, text);
    fflush(stdout);
    _exit(1);
}

#define OK(call)                                                                       \
    do {                                                                               \
        int code_ = call;                                                              \
        if (code_ != MPI_SUCCESS)                                                      \
            fail(#call, code_);                                                        \
    } while (0)
#define EXPECT(condition)                                                              \
    do {                                                                               \
        if (!(condition))                                                              \
            fail(#condition, MPI_SUCCESS);                                             \
    } while (0)

static void join(const char *cores, const char *address)
{
    MPI_Info info;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    OK(MPI_Info_create(&info));
    OK(MPI_Info_set(info, "cores", cores));
    if (address) {
        OK(MPI_Info_set(info, "manager_address", address));
        OK(MPI_Info_set(info, "executors", "none"));
    }
    OK(MPIX_Pool_create(MPI_COMM_WORLD, info, &with.pool));
    OK(MPI_Info_free(&info));
}

static void start(const char *function, int workers)
{
    const char *path = getenv("RFAAS_TEST_FUNCTIONS");
    char address[MPI_MAX_INFO_VAL + 1] = "";
    int found;
    MPI_Info info;
    OK(MPIX_Function_load(with.pool, path ? path : "tests/functions.so", function,
                          &with.function));
    OK(MPIX_Lease_acquire(with.pool, workers, MPI_INFO_NULL, &with.lease));
    for (int i = 0; i < OUTSTANDING; i++) {
        with.in[i] = 1000 + i;
        OK(MPIX_Iinvoke(with.function, &with.in[i], 1, MPI_INT32_T, &with.out[i], 1,
                        MPI_INT32_T, MPIX_ANY_WORKER, with.lease, &with.requests[i]));
    }
    OK(MPIX_Pool_get_info(with.pool, &info));
    OK(MPI_Info_get(info, "manager_address", MPI_MAX_INFO_VAL, address, &found));
    OK(MPI_Info_free(&info));
    printf("ready %d %d %s\n", with.rank, (int)getpid(), address);
    fflush(stdout);
}

static int class_of(int code)
{
    int class = -1;
    MPI_Error_class(code, &class);
    return class;
}

static void stay(const char *address)
{
    if (address)
        join("1", address);
    else
        join("6", NULL);
    start("forever", address ? 3 : 1);
    int code = MPI_Waitall(OUTSTANDING, with.requests, with.statuses);
    fail("outlived itself", code);
}

static bool is_alive(pid_t pid)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    const char *state = strrchr(line, ')');
    return state && state[1] && state[2] != 'Z' && state[2] != 'X';
}

static void watch(const char *address, pid_t pid)
{
    int done = 0, code = MPI_SUCCESS;
    join("1", address);
    start("forever", 1);
    double begun = MPI_Wtime(), died = 0;
    while (!done) {
        double now = MPI_Wtime();
        code = MPI_Testall(OUTSTANDING, with.requests, &done, with.statuses);
        EXPECT(now - begun < PATIENCE_SECONDS);
        if (died == 0 && !is_alive(pid))
            died = now;
        EXPECT(died == 0 || now - died < LOSS_SECONDS);
    }
    EXPECT(class_of(code) == MPI_ERR_IN_STATUS);
    for (int i = 0; i < OUTSTANDING; i++) {
        int class = class_of(with.statuses[i].MPI_ERROR);
        if (class != MPIX_ERR_MANAGER && class != MPIX_ERR_WORKER_LOST)
            fail("wrong error", with.statuses[i].MPI_ERROR);
    }
    /* The rank goes on, with messages and with errors. */
    MPIX_Lease lease = MPIX_LEASE_NULL;
    OK(MPI_Barrier(MPI_COMM_WORLD));
    code = MPIX_Lease_acquire(with.pool, 1, MPI_INFO_NULL, &lease);
    EXPECT(class_of(code) == MPIX_ERR_MANAGER);
    OK(MPIX_Lease_release(&with.lease));
    OK(MPIX_Pool_free(&with.pool));
}

static void serve(const char *go)
{
    bool over = false;
    join("4", NULL);
    start("work", 1);
    double begun = MPI_Wtime();
    while (!over) {
        OK(MPI_Waitall(OUTSTANDING, with.requests, with.statuses));
        over = access(go, F_OK) == 0;
        EXPECT(over || MPI_Wtime() - begun < PATIENCE_SECONDS);
        for (int i = 0; i < OUTSTANDING; i++) {
            EXPECT(with.out[i] == with.in[i]);
            with.out[i] = 0;
            OK(MPIX_Iinvoke(with.function, &with.in[i], 1, MPI_INT32_T, &with.out[i], 1,
                            MPI_INT32_T, 0, with.lease, &with.requests[i]));
        }
    }
    /* The other is dead: its cores are here again. */
    MPIX_Lease lease;
    MPI_Info info;
    OK(MPI_Info_create(&info));
    OK(MPI_Info_set(info, "wait_seconds", "2"));
    OK(MPIX_Lease_acquire(with.pool, 3, info, &lease));
    OK(MPI_Info_free(&info));
    OK(MPI_Waitall(OUTSTANDING, with.requests, with.statuses));
    OK(MPIX_Pool_free(&with.pool));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &with.rank);
    if (argc == 2 && strcmp(argv[1], "stay") == 0)
        stay(NULL);
    else if (argc == 3 && strcmp(argv[1], "occupy") == 0)
        stay(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "watch") == 0)
        watch(argv[2], (pid_t)atoi(argv[3]));
    else if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    else
        fail("usage", MPI_SUCCESS);
    MPI_Finalize();
    return 0;
}
