/* A program for test_two_nodes.sh to run on two nodes. Each rank in turn leases a worker of
 * each node, of which its own node's works, and then one alone: those who would get the
 * other node's are told what is missing. It prints
 *     rank RANK on NODE: right
 * or what isn't. */
#include <mpix_rfaas.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int rank;
static const char *wrong;

static void expect(bool right, const char *what)
{
    if (!right && !wrong)
        wrong = what;
}
#define EXPECT(condition) expect(condition, #condition)

/* Whether the worker runs a function; if not, it has to be lost. */
static bool works(MPIX_Pool pool, MPIX_Lease lease, int worker)
{
    MPIX_Function increment;
    int32_t in = rank, out = -1;
    int class;
    EXPECT(MPIX_Function_load(pool, getenv("RFAAS_TEST_FUNCTIONS"), "increment",
                              &increment) == MPI_SUCCESS);
    int code = MPIX_Invoke(increment, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, worker,
                           lease, MPI_STATUS_IGNORE);
    MPIX_Function_free(&increment);
    if (code == MPI_SUCCESS) {
        EXPECT(out == rank + 1);
        return true;
    }
    MPI_Error_class(code, &class);
    EXPECT(class == MPIX_ERR_WORKER_LOST);
    return false;
}

/* Leases one worker; on the other node it can't be reached, and that is said. */
static void use_one(MPIX_Pool pool)
{
    MPIX_Lease lease;
    char text[MPI_MAX_ERROR_STRING];
    int class, length;
    int code = MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &lease);
    if (code == MPI_SUCCESS) {
        EXPECT(works(pool, lease, 0));
        EXPECT(MPIX_Lease_release(&lease) == MPI_SUCCESS);
        return;
    }
    MPI_Error_class(code, &class);
    MPI_Error_string(code, text, &length);
    EXPECT(class == MPIX_ERR_WORKER_LOST);
    EXPECT(strstr(text, "reached over the network, which needs the transport verbs"));
}

static void use_both(MPIX_Pool pool)
{
    MPIX_Lease lease;
    int workers = 0, working = 0;
    int code = MPIX_Lease_acquire(pool, 2, MPI_INFO_NULL, &lease);
    EXPECT(code == MPI_SUCCESS);
    if (code != MPI_SUCCESS)
        return;
    MPIX_Lease_get_workers(lease, &workers);
    EXPECT(workers == 2);
    for (int i = 0; i < workers; i++)
        working += works(pool, lease, i);
    EXPECT(working == 1);
    EXPECT(MPIX_Lease_release(&lease) == MPI_SUCCESS);
}

static void check_address(MPIX_Pool pool)
{
    MPI_Info info;
    char address[256] = "";
    int found = 0;
    MPIX_Pool_get_info(pool, &info);
    MPI_Info_get(info, "manager_address", sizeof address - 1, address, &found);
    MPI_Info_free(&info);
    EXPECT(found && strncmp(address, "tcp:10.77.0.1:", 14) == 0);
}

int main(int argc, char **argv)
{
    MPI_Info info;
    MPIX_Pool pool;
    char node[64] = "";
    int ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    gethostname(node, sizeof node - 1);
    MPI_Info_create(&info);
    MPI_Info_set(info, "cores", "1");
    MPI_Info_set(info, "wait_seconds", "10");
    int code = MPIX_Pool_create(MPI_COMM_WORLD, info, &pool);
    MPI_Info_free(&info);
    if (code != MPI_SUCCESS) {
        char text[MPI_MAX_ERROR_STRING];
        int length;
        MPI_Error_string(code, text, &length);
        printf("rank %d on %s: no pool: %s\n", rank, node, text);
        MPI_Finalize();
        return 1;
    }
    check_address(pool);
    for (int turn = 0; turn < ranks; turn++) {
        if (turn == rank) {
            use_both(pool);
            use_one(pool);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    printf("rank %d on %s: %s\n", rank, node, wrong ? wrong : "right");
    MPIX_Pool_free(&pool);
    MPI_Finalize();
    return wrong != NULL;
}
