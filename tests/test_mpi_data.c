/* Data: datatypes of all shapes go in and come out as MPI packs and unpacks them, from
 * and to memory of all kinds. */
#include "mpi_pool.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function echo;
} with;

static void acquire(const char *const settings[])
{
    with.pool = shared_pool();
    with.echo = function_load(with.pool, "echo");
    with.lease = lease_acquire(with.pool, 1, settings);
}

static void release(void)
{
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPIX_Function_free(&with.echo));
}

/* Bytes without a pattern. */
static void scramble(unsigned char *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(seed >> 24);
    }
}

static int echo(const void *in, MPI_Count in_count, MPI_Datatype in_type, void *out,
                MPI_Count out_count, MPI_Datatype out_type, MPI_Status *status)
{
    MPI_Request request;
    int code = MPIX_Iinvoke(with.echo, in, in_count, in_type, out, out_count, out_type,
                            0, with.lease, &request);
    return code == MPI_SUCCESS ? MPI_Wait(&request, status) : code;
}

/* ---- datatypes ------------------------------------------------------------------- */

enum { SPAN = 8192, MIDDLE = SPAN / 2 }; /* of a buffer; where its data begin */

/* `count` of them as input, as output and as both, against MPI_Pack and MPI_Unpack.
 * Bytes between the data stay as they are. */
static void check_type(MPI_Datatype type, int count)
{
    static unsigned char plain[SPAN], packed[SPAN], out[SPAN], expected[SPAN];
    int size, position = 0, got = -1;
    MPI_Status status;
    MPI_Type_size(type, &size);
    scramble(plain, SPAN, 1);
    memset(packed, 0, SPAN);
    CHECK_OK(
        MPI_Pack(plain + MIDDLE, count, type, packed, SPAN, &position, MPI_COMM_SELF));
    CHECK_EQUAL(position, count * size);

    memset(out, 0x11, SPAN);
    CHECK_OK(echo(plain + MIDDLE, count, type, out, SPAN, MPI_BYTE, &status));
    CHECK(memcmp(out, packed, (size_t)position) == 0);
    CHECK(out[position] == 0x11);
    MPI_Get_count(&status, MPI_BYTE, &got);
    CHECK_EQUAL(got, position);

    scramble(out, SPAN, 2);
    memcpy(expected, out, SPAN);
    position = 0;
    CHECK_OK(MPI_Unpack(packed, count * size, &position, expected + MIDDLE, count, type,
                        MPI_COMM_SELF));
    CHECK_OK(echo(packed, count * size, MPI_BYTE, out + MIDDLE, count, type, &status));
    CHECK(memcmp(out, expected, SPAN) == 0);
    MPI_Get_count(&status, type, &got);
    CHECK_EQUAL(got, count);

    scramble(out, SPAN, 2);
    CHECK_OK(echo(plain + MIDDLE, count, type, out + MIDDLE, count, type, &status));
    CHECK(memcmp(out, expected, SPAN) == 0);
}

/* Also twice in a row, as it is known then; and frees it. */
static void check_derived(MPI_Datatype *type)
{
    MPI_Type_commit(type);
    for (int count = 1; count <= 5; count++)
        check_type(*type, count);
    MPI_Type_free(type);
}

static void test_named(void)
{
    acquire(NULL);
    check_type(MPI_CHAR, 7);
    check_type(MPI_DOUBLE, 100);
    check_type(MPI_LONG_DOUBLE, 3);
    check_type(MPI_2INT, 9);
    check_type(MPI_DOUBLE_INT, 5); /* has a gap */
    check_type(MPI_SHORT_INT, 6);
    release();
}

static void test_regular(void)
{
    MPI_Datatype type, inner;
    acquire(NULL);
    MPI_Type_contiguous(5, MPI_INT, &type);
    check_derived(&type);
    MPI_Type_vector(4, 2, 3, MPI_DOUBLE, &type);
    check_derived(&type);
    MPI_Type_vector(3, 4, 4, MPI_INT, &type); /* without gaps */
    check_derived(&type);
    MPI_Type_create_hvector(4, 1, -12, MPI_INT, &type); /* backwards */
    check_derived(&type);
    MPI_Type_vector(3, 1, 2, MPI_SHORT, &inner);
    MPI_Type_contiguous(3, inner, &type);
    MPI_Type_free(&inner);
    check_derived(&type);
    const int sizes[] = {6, 8}, parts[] = {2, 3}, starts[] = {3, 1};
    MPI_Type_create_subarray(2, sizes, parts, starts, MPI_ORDER_C, MPI_FLOAT, &type);
    check_derived(&type);
    MPI_Type_create_subarray(2, sizes, sizes, (const int[]){0, 0}, MPI_ORDER_FORTRAN,
                             MPI_FLOAT, &type); /* all of it */
    check_derived(&type);
    release();
}

static void test_irregular(void)
{
    MPI_Datatype type, inner;
    acquire(NULL);
    MPI_Type_indexed(3, (const int[]){2, 0, 3}, (const int[]){5, 9, 1}, MPI_INT, &type);
    check_derived(&type);
    /* As large as its extent, but in another order. */
    MPI_Type_indexed(2, (const int[]){1, 1}, (const int[]){1, 0}, MPI_INT, &type);
    check_derived(&type);
    MPI_Type_create_hindexed_block(3, 1, (const MPI_Aint[]){16, 0, 8}, MPI_DOUBLE,
                                   &type);
    check_derived(&type);
    /* In order, and one block: no gap at all. */
    MPI_Type_indexed(2, (const int[]){1, 2}, (const int[]){0, 1}, MPI_INT, &type);
    check_derived(&type);
    /* As large as its extent, which lies elsewhere. */
    MPI_Type_indexed(1, (const int[]){2}, (const int[]){3}, MPI_INT, &inner);
    MPI_Type_create_resized(inner, 0, 8, &type);
    MPI_Type_free(&inner);
    check_derived(&type);
    release();
}

static void test_structs(void)
{
    struct mixed {
        char c;
        double d;
        short s[3];
    };
    MPI_Datatype type, inner;
    acquire(NULL);
    const int lengths[] = {1, 1, 3};
    const MPI_Aint places[] = {offsetof(struct mixed, c), offsetof(struct mixed, d),
                               offsetof(struct mixed, s)};
    const MPI_Datatype types[] = {MPI_CHAR, MPI_DOUBLE, MPI_SHORT};
    MPI_Type_create_struct(3, lengths, places, types, &inner);
    MPI_Type_create_resized(inner, 0, sizeof(struct mixed), &type);
    check_derived(&inner);
    check_derived(&type);
    /* Two floats of the same struct, the second first. */
    MPI_Type_create_struct(2, (const int[]){1, 1}, (const MPI_Aint[]){4, 0},
                           (const MPI_Datatype[]){MPI_FLOAT, MPI_FLOAT}, &type);
    check_derived(&type);
    release();
}

static void test_resized(void)
{
    MPI_Datatype type;
    acquire(NULL);
    MPI_Type_create_resized(MPI_INT, 0, 12, &type);
    check_derived(&type);
    MPI_Type_create_resized(MPI_INT, -8, 16, &type);
    check_derived(&type);
    MPI_Type_create_resized(MPI_DOUBLE, -8, 8, &type);
    check_derived(&type);
    MPI_Type_dup(MPI_INT, &type);
    check_derived(&type);
    release();
}

/* Nothing has any size, wherever it lies and however often it is there. */
static void test_zero(void)
{
    MPI_Datatype empty;
    MPI_Status status;
    int32_t out[2] = {5, 6};
    acquire(NULL);
    MPI_Type_contiguous(0, MPI_INT, &empty);
    MPI_Type_commit(&empty);
    CHECK_OK(echo(NULL, 0, MPI_DOUBLE, NULL, 0, MPI_DOUBLE, &status));
    CHECK_OK(echo(NULL, 7, empty, NULL, 3, empty, &status));
    CHECK_OK(echo(NULL, (MPI_Count)1 << 40, empty, out, 2, MPI_INT32_T, &status));
    CHECK_OK(echo(out, 0, MPI_INT32_T, out, 0, MPI_INT32_T, &status));
    CHECK(out[0] == 5 && out[1] == 6);
    MPI_Type_free(&empty);
    release();
}

/* A datatype may go before its invocation ends; one that is sent and one that waits. */
static void test_freed_type(void)
{
    enum { COUNT = 6 };
    MPI_Datatype type;
    MPI_Request requests[COUNT];
    int32_t in[4] = {1, 2, 3, 4}, out[COUNT][8];
    acquire(SETTINGS("slots=1"));
    memset(out, 0, sizeof out);
    for (int i = 0; i < COUNT; i++) {
        MPI_Type_vector(4, 1, 2, MPI_INT32_T, &type);
        MPI_Type_commit(&type);
        CHECK_OK(MPIX_Iinvoke(with.echo, in, 4, MPI_INT32_T, out[i], 1, type, 0,
                              with.lease, &requests[i]));
        MPI_Type_free(&type);
    }
    CHECK_OK(MPI_Waitall(COUNT, requests, MPI_STATUSES_IGNORE));
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < 8; j++)
            CHECK_EQUAL(out[i][j], j % 2 ? 0 : in[j / 2]);
    release();
}

/* Less than there is room for: whole elements and a part of the next, the rest as it
 * was, as with MPI_Recv. */
static void test_short_result(void)
{
    MPI_Datatype type, vector;
    MPI_Status status;
    int32_t in[20], out[40];
    int count;
    acquire(NULL);
    MPI_Type_vector(3, 1, 2, MPI_INT32_T, &vector);
    MPI_Type_create_resized(vector, 0, 24, &type);
    MPI_Type_free(&vector);
    MPI_Type_commit(&type);
    for (int i = 0; i < 20; i++)
        in[i] = 100 + i;
    for (int n = 0; n <= 15; n++) {
        memset(out, 0xff, sizeof out);
        CHECK_OK(echo(in, n, MPI_INT32_T, out, 5, type, &status));
        MPI_Get_count(&status, type, &count);
        CHECK_EQUAL(count, n % 3 ? MPI_UNDEFINED : n / 3);
        for (int i = 0; i < 40; i++)
            CHECK_EQUAL(out[i], i % 2 == 0 && i / 2 < n ? in[i / 2] : -1);
    }
    /* And one that is too long. */
    CHECK_CODE(echo(in, 20, MPI_INT32_T, out, 5, type, &status), MPI_SUCCESS, "");
    MPI_Type_free(&type);
    release();
}

/* ---- memory ---------------------------------------------------------------------- */

/* There and back, `size` bytes with a margin. */
static void check_memory(const void *in, unsigned char *out, size_t size)
{
    MPI_Status status;
    MPI_Count got = -1;
    memset(out, 0x77, size + 1);
    CHECK_OK(
        echo(in, (MPI_Count)size, MPI_BYTE, out, (MPI_Count)size, MPI_BYTE, &status));
    MPI_Get_elements_x(&status, MPI_BYTE, &got);
    CHECK_EQUAL(got, size);
    CHECK(memcmp(in, out, size) == 0);
    CHECK(out[size] == 0x77);
}

static void check_size(size_t size)
{
    unsigned char *in = malloc(size + 1), *out = malloc(size + 1), *ours, *theirs;
    CHECK_FATAL(in && out);
    CHECK_OK(MPIX_Pool_alloc_mem((MPI_Aint)size + 65, with.pool, &ours));
    CHECK_OK(MPIX_Pool_alloc_mem((MPI_Aint)size + 65, with.pool, &theirs));
    CHECK((uintptr_t)ours % 64 == 0 && (uintptr_t)theirs % 64 == 0);
    scramble(in, size, (uint32_t)size);
    check_memory(in, out, size);
    check_memory(in, ours, size);
    scramble(ours + 3, size, (uint32_t)size);
    check_memory(ours + 3, out, size); /* from within */
    check_memory(ours + 3, theirs + 64, size);
    CHECK_OK(MPIX_Pool_free_mem(with.pool, ours));
    CHECK_OK(MPIX_Pool_free_mem(with.pool, theirs));
    free(in);
    free(out);
}

static void test_sizes(void)
{
    static const size_t sizes[] = {
        1,   7,    8,    63,   64,   65,   150,   152,       153,      192,
        193, 1000, 4095, 4096, 4097, 9999, 65536, (1 << 20), 1048577u, 3000001u};
    static const char *const limits[] = {"inline_max=64", "inline_max=192",
                                         "inline_max=4096"};
    for (int l = 0; l < 3; l++) {
        acquire(SETTINGS("memory_per_worker=8M", limits[l]));
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            check_size(sizes[i]);
        release();
    }
}

/* Around what a slot holds. */
static void test_around_a_slot(void)
{
    acquire(SETTINGS("memory_per_worker=1M", "slots=16"));
    for (size_t size = (1 << 16) - 300; size <= (1 << 16) + 20; size += 20)
        check_size(size);
    release();
}

static void test_64_mib(void)
{
    acquire(NULL);
    if (mpi_rank == 0)
        check_size(64 << 20);
    release();
    MPI_Barrier(MPI_COMM_WORLD);
}

/* More bytes than an int counts, in and out. None of them is touched: memory of that
 * size needn't be there. */
static void test_large_counts(void)
{
    const MPI_Count count = 2200000000;
    char *in, *out;
    int64_t sizes[2] = {0, 0};
    MPI_Request request;
    acquire(NULL);
    MPIX_Function function = function_load(with.pool, "sizes");
    CHECK_OK(MPIX_Pool_alloc_mem((MPI_Aint)count, with.pool, &in));
    CHECK_OK(MPIX_Pool_alloc_mem((MPI_Aint)count, with.pool, &out));
    CHECK_OK(MPIX_Iinvoke(function, in, count, MPI_BYTE, out, count, MPI_BYTE, 0,
                          with.lease, &request));
    CHECK_OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    memcpy(sizes, out, sizeof sizes);
    CHECK_EQUAL(sizes[0], count);
    CHECK_EQUAL(sizes[1], count);
    CHECK_OK(MPIX_Pool_free_mem(with.pool, in));
    CHECK_OK(MPIX_Pool_free_mem(with.pool, out));
    CHECK_OK(MPIX_Function_free(&function));
    release();
}

static const int constants[4] = {1, 2, 3, 4};

static void test_kinds(void)
{
    unsigned char on_stack[300], out_on_stack[301];
    static unsigned char in_static[300], out_static[301];
    acquire(NULL);
    scramble(on_stack, sizeof on_stack, 3);
    scramble(in_static, sizeof in_static, 4);
    check_memory(on_stack, out_on_stack, 300);
    check_memory(in_static, out_static, 300);
    check_memory(constants, out_static, sizeof constants);
    size_t size = 1 << 20;
    unsigned char *mapped =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_FATAL(mapped != MAP_FAILED);
    scramble(mapped, size, 5);
    mprotect(mapped, size, PROT_READ); /* input is only read */
    unsigned char *out = malloc(size + 1);
    check_memory(mapped, out, size);
    check_memory(mapped, out, 100);
    munmap(mapped, size);
    free(out);
    release();
}

static void test_pool_memory(void)
{
    enum { COUNT = 200 };
    unsigned char *pieces[COUNT], *piece;
    acquire(NULL);
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(MPIX_Pool_alloc_mem(i * i, with.pool, &pieces[i]));
        CHECK((uintptr_t)pieces[i] % 64 == 0);
        memset(pieces[i], i, (size_t)(i * i));
    }
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < i * i; j += 97)
            CHECK_EQUAL(pieces[i][j], i);
    CHECK_CODE(MPIX_Pool_free_mem(with.pool, pieces[9] + 64), MPI_ERR_BASE, "");
    for (int i = 0; i < COUNT; i++) {
        piece = pieces[i];
        CHECK_OK(MPIX_Pool_free_mem(with.pool, piece));
        CHECK_CODE(MPIX_Pool_free_mem(with.pool, piece), MPI_ERR_BASE, "");
    }
    release();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"named datatypes", test_named},
        {"contiguous, vector, subarray", test_regular},
        {"indexed, in another order", test_irregular},
        {"structs with gaps", test_structs},
        {"resized", test_resized},
        {"no elements, and elements of no size", test_zero},
        {"a datatype is freed first", test_freed_type},
        {"results shorter than the buffer", test_short_result},
        {"sizes from 1 byte to 3 MB", test_sizes},
        {"sizes around that of a slot", test_around_a_slot},
        {"64 MiB", test_64_mib},
        {"more bytes than an int counts", test_large_counts},
        {"memory of all kinds", test_kinds},
        {"memory of the pool", test_pool_memory},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: data", tests, MPI_THREAD_SINGLE, argc, argv);
}
