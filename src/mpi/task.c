#include "mpi/task.h"

#include "mpi/mpix.h"

enum { TASK_HAS_REQUEST = 1, TASK_HAS_ENDED = 2 };

void mpix_task_init(struct mpix_task *task, const struct mpix_task_kind *kind)
{
    task->kind = kind;
    atomic_init(&task->owners, 2);
    atomic_init(&task->reached, 0);
}

/* One of the two owners is through with it. */
static void owner_leaves(struct mpix_task *task)
{
    int left;
    if (mpix_multiple) { /* what each has done happens before the other frees it */
        left = atomic_fetch_sub_explicit(&task->owners, 1, memory_order_acq_rel) - 1;
    } else {
        left = atomic_load_explicit(&task->owners, memory_order_relaxed) - 1;
        atomic_store_explicit(&task->owners, left, memory_order_relaxed);
    }
    if (left == 0)
        task->kind->free(task);
}

/* Completes the request when it exists and what runs has ended. */
static void reach(struct mpix_task *task, int what)
{
    int reached;
    if (mpix_multiple) { /* what led there happens before the other completes it */
        reached = atomic_fetch_or_explicit(&task->reached, what, memory_order_acq_rel);
    } else {
        reached = atomic_load_explicit(&task->reached, memory_order_relaxed);
        atomic_store_explicit(&task->reached, reached | what, memory_order_relaxed);
    }
    if ((reached | what) != (TASK_HAS_REQUEST | TASK_HAS_ENDED))
        return;
    MPI_Grequest_complete(task->request);
    owner_leaves(task);
}

void mpix_task_end(struct mpix_task *task)
{
    reach(task, TASK_HAS_ENDED);
}

/* ---- what MPI calls -------------------------------------------------------------- */

static int on_query(void *state, MPI_Status *status)
{
    const struct mpix_task *task = state;
    return mpix_query_result(task->kind->query(task, status));
}

static int on_free(void *state)
{
    owner_leaves(state);
    return MPI_SUCCESS;
}

static int on_cancel(void *state, int completed)
{
    struct mpix_task *task = state;
    /* Its end comes by progress as any other's: MPICH lets nothing complete in here. */
    if (!completed)
        task->kind->cancel(task);
    return MPI_SUCCESS;
}

int mpix_task_publish(struct mpix_task *task, MPI_Request *request)
{
    int code = mpix_request_start(on_query, on_free, on_cancel, task, &task->request);
    if (code == MPI_SUCCESS) {
        *request = task->request;
        reach(task, TASK_HAS_REQUEST);
        return MPI_SUCCESS;
    }
    /* Acquire: see reach. */
    while (
        !(atomic_load_explicit(&task->reached, memory_order_acquire) & TASK_HAS_ENDED))
        mpix_progress_poll();
    task->kind->free(task);
    return code;
}
