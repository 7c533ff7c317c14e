/* Datatypes: whether data lie without gaps and in order, and packing where they
 * don't. */
#include "mpi/mpix.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The verdict on a derived datatype is kept in an attribute of it. */
enum { VERDICT_CONTIGUOUS = 1, VERDICT_PACKED = 2 };
static int verdict_key = MPI_KEYVAL_INVALID;
static pthread_once_t verdict_once = PTHREAD_ONCE_INIT;

static void verdict_key_create(void)
{
    if (MPI_Type_create_keyval(MPI_TYPE_NULL_COPY_FN, MPI_TYPE_NULL_DELETE_FN,
                               &verdict_key, NULL) != MPI_SUCCESS)
        verdict_key = MPI_KEYVAL_INVALID; /* then it is found out each time */
}

/* Packs one element whose bytes follow no pattern: if they come out as they lie, the
 * type names them in order. */
static int try_packing(MPI_Datatype type, int size, MPI_Comm comm, bool *in_order)
{
    unsigned char *plain = malloc((size_t)size), *packed = malloc((size_t)size);
    int position = 0, status = MPI_ERR_NO_MEM;
    uint32_t random = 1;
    if (plain && packed) {
        for (int i = 0; i < size; i++) {
            random = random * 1664525u + 1013904223u;
            plain[i] = (unsigned char)(random >> 24);
        }
        status = MPI_Pack(plain, 1, type, packed, size, &position, comm);
        *in_order = position == size && memcmp(plain, packed, (size_t)size) == 0;
    }
    free(plain);
    free(packed);
    return status;
}

static int derived_in_order(MPI_Datatype type, MPI_Count size, MPI_Comm comm,
                            bool *in_order)
{
    void *verdict;
    int found = 0, status = MPI_SUCCESS;
    pthread_once(&verdict_once, verdict_key_create);
    if (verdict_key != MPI_KEYVAL_INVALID)
        status = MPI_Type_get_attr(type, verdict_key, &verdict, &found);
    if (status == MPI_SUCCESS && found) {
        *in_order = (intptr_t)verdict == VERDICT_CONTIGUOUS;
        return MPI_SUCCESS;
    }
    if (size > INT_MAX)
        return MPI_ERR_TYPE;
    status = try_packing(type, (int)size, comm, in_order);
    if (status == MPI_SUCCESS && verdict_key != MPI_KEYVAL_INVALID)
        status = MPI_Type_set_attr(
            type, verdict_key,
            (void *)(intptr_t)(*in_order ? VERDICT_CONTIGUOUS : VERDICT_PACKED));
    return status;
}

/* Predefined types that were met, which are never freed, and their sizes: the usual
 * invocation asks MPI nothing. Entries are only added, each before it is counted. */
enum { NAMED_MAX = 16 };
static struct {
    MPI_Datatype type;
    MPI_Count size;
} named[NAMED_MAX];
static _Atomic int named_count;
static pthread_mutex_t named_mutex = PTHREAD_MUTEX_INITIALIZER;

MPI_Count mpix_named_size(MPI_Datatype type)
{
    /* Acquire: pairs with the release below. */
    int count = atomic_load_explicit(&named_count, memory_order_acquire);
    for (int i = 0; i < count; i++)
        if (named[i].type == type)
            return named[i].size;
    return -1;
}

static void named_add(MPI_Datatype type, MPI_Count size)
{
    pthread_mutex_lock(&named_mutex);
    int count = atomic_load_explicit(&named_count, memory_order_relaxed);
    if (count < NAMED_MAX && mpix_named_size(type) < 0) {
        named[count].type = type;
        named[count].size = size;
        atomic_store_explicit(&named_count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&named_mutex);
}

static int is_contiguous(struct mpix_shape *shape, MPI_Comm comm)
{
    MPI_Aint lower, true_lower, true_extent;
    int integers, addresses, types, combiner;
    int status = MPI_Type_get_extent(shape->type, &lower, &shape->extent);
    if (status != MPI_SUCCESS)
        return status;
    status =
        MPI_Type_get_envelope(shape->type, &integers, &addresses, &types, &combiner);
    if (status != MPI_SUCCESS)
        return status;
    shape->contiguous = shape->type_size == shape->extent && lower == 0;
    if (!shape->contiguous || shape->type_size == 0)
        return MPI_SUCCESS;
    if (combiner == MPI_COMBINER_NAMED) {
        named_add(shape->type, shape->type_size);
        return MPI_SUCCESS;
    }
    status = MPI_Type_get_true_extent(shape->type, &true_lower, &true_extent);
    if (status != MPI_SUCCESS)
        return status;
    if (true_lower != 0 || true_extent != shape->extent) {
        shape->contiguous = false;
        return MPI_SUCCESS;
    }
    return derived_in_order(shape->type, shape->type_size, comm, &shape->contiguous);
}

int mpix_shape(const void *buffer, MPI_Count count, MPI_Datatype type, MPI_Comm comm,
               struct mpix_shape *shape)
{
    if (count < 0)
        return MPI_ERR_COUNT;
    if (type == MPI_DATATYPE_NULL)
        return MPI_ERR_TYPE;
    *shape = (struct mpix_shape){.count = count, .type = type};
    MPI_Count known = mpix_named_size(type);
    if (known >= 0)
        shape->type_size = known;
    else if (MPI_Type_size_x(type, &shape->type_size) != MPI_SUCCESS ||
             shape->type_size < 0)
        return MPI_ERR_TYPE;
    ptrdiff_t bytes;
    if (__builtin_mul_overflow(count, shape->type_size, &bytes))
        return MPI_ERR_COUNT;
    shape->bytes = (size_t)bytes;
    if (shape->bytes == 0) {
        shape->contiguous = true;
        return MPI_SUCCESS;
    }
    if (!buffer)
        return MPI_ERR_BUFFER;
    if (known >= 0) {
        shape->contiguous = true;
        return MPI_SUCCESS;
    }
    return is_contiguous(shape, comm) == MPI_SUCCESS ? MPI_SUCCESS : MPI_ERR_TYPE;
}

/* Elements that can be packed in one call, whose sizes are ints. */
static int batch(const struct mpix_shape *shape, MPI_Count left)
{
    MPI_Count most = INT_MAX / shape->type_size;
    return (int)(left < most ? left : most);
}

int mpix_pack(const struct mpix_shape *shape, const void *buffer, void *packed,
              MPI_Comm comm)
{
    const char *from = buffer;
    char *to = packed;
    for (MPI_Count done = 0, n; done < shape->count; done += n) {
        n = batch(shape, shape->count - done);
        int bytes = (int)(n * shape->type_size), position = 0;
        int status = n > 0 ? MPI_Pack(from + done * shape->extent, (int)n, shape->type,
                                      to, bytes, &position, comm)
                           : MPI_ERR_TYPE;
        if (status != MPI_SUCCESS)
            return status;
        to += bytes;
    }
    return MPI_SUCCESS;
}

/* The first `bytes` of an element, which has more: packed as it is, overlaid with what
 * has come, and unpacked again. */
static int unpack_part(const struct mpix_shape *shape, const char *from, size_t bytes,
                       char *to, MPI_Comm comm)
{
    int size = (int)shape->type_size, position = 0;
    char *element = shape->type_size <= INT_MAX ? malloc((size_t)size) : NULL;
    if (!element)
        return MPI_ERR_NO_MEM;
    int status = MPI_Pack(to, 1, shape->type, element, size, &position, comm);
    memcpy(element, from, bytes);
    position = 0;
    if (status == MPI_SUCCESS)
        status = MPI_Unpack(element, size, &position, to, 1, shape->type, comm);
    free(element);
    return status;
}

int mpix_unpack(const struct mpix_shape *shape, const void *packed, size_t bytes,
                void *buffer, MPI_Comm comm)
{
    const char *from = packed;
    char *to = buffer;
    MPI_Count count = (MPI_Count)bytes / shape->type_size;
    for (MPI_Count done = 0, n; done < count; done += n) {
        n = batch(shape, count - done);
        int size = (int)(n * shape->type_size), position = 0;
        int status = n > 0
                         ? MPI_Unpack(from, size, &position, to + done * shape->extent,
                                      (int)n, shape->type, comm)
                         : MPI_ERR_TYPE;
        if (status != MPI_SUCCESS)
            return status;
        from += size;
    }
    size_t rest = bytes % (size_t)shape->type_size;
    return rest > 0 ? unpack_part(shape, from, rest, to + count * shape->extent, comm)
                    : MPI_SUCCESS;
}
