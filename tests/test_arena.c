/* The arena alone, on memories of `shm`, with a user who may refuse a region. */
#include "client/arena.h"
#include "test.h"

#include <dirent.h>
#include <string.h>

/* Who is told of regions: refuses the next `refusals`. */
static struct {
    int refusals, added, removed;
} user;

static struct client_device shm;
static struct arena arena;

static int added(const struct rfaas_memory *memory, int device, void *arg)
{
    CHECK(arg == &user && device == 0);
    CHECK(memory->base != NULL && memory->key != 0);
    if (user.refusals > 0) {
        user.refusals--;
        return RFAAS_ERR_NO_MEMORY;
    }
    user.added++;
    return RFAAS_OK;
}

static void removed(uint32_t key, int device, void *arg)
{
    CHECK(arg == &user && key != 0 && device == 0);
    user.removed++;
}

static void begin(void)
{
    static const struct memory_calls calls = {.added = added, .removed = removed};
    memset(&user, 0, sizeof user);
    const struct rfaas_device_options any = {.gid_index = -1};
    shm.transport = rfaas_transport_find("shm");
    CHECK_FATAL(shm.transport->device_open(&any, &shm.device) == RFAAS_OK);
    arena = (struct arena){
        .devices = &shm, .device_count = 1, .calls = &calls, .arg = &user};
}

static void end(void)
{
    arena_free(&arena);
    shm.transport->device_close(shm.device);
}

static int descriptors_open(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK_FATAL(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* What the arena has, in numbers. */
struct books {
    int descriptors;
    size_t regions, kept, room[ARENA_CLASSES];
};

static struct books books_now(void)
{
    struct books books = {.descriptors = descriptors_open(),
                          .regions = arena.region_count,
                          .kept = arena.kept};
    for (int class = 0; class < ARENA_CLASSES; class ++)
        books.room[class] = arena.free[class].room;
    return books;
}

static void check_books(const struct books *before)
{
    struct books now = books_now();
    CHECK_EQUAL(now.descriptors, before->descriptors);
    CHECK_EQUAL(now.regions, before->regions);
    CHECK_EQUAL(now.kept, before->kept);
    CHECK(memcmp(now.room, before->room, sizeof now.room) == 0);
}

/* A piece that can be written to and given back, and whose key is known. */
static void check_piece(void *piece, size_t size)
{
    CHECK_FATAL(piece != NULL);
    memset(piece, 0x5a, size);
    CHECK(arena_memory(&arena, piece, size, 0) != NULL);
    CHECK(arena_put(&arena, piece));
    CHECK(!arena_put(&arena, piece));
}

static void test_refused(void)
{
    static const size_t sizes[] = {64, 5000, 1 << 20, (1 << 20) + 1, 8 << 20};
    begin();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct books before = books_now();
        user.refusals = 20;
        for (int n = 0; n < 20; n++)
            CHECK(arena_get(&arena, sizes[i]) == NULL);
        CHECK_EQUAL(user.refusals, 0);
        check_books(&before);
        check_piece(arena_get(&arena, sizes[i]), sizes[i]);
    }
    CHECK_EQUAL(user.removed, 0);
    CHECK_EQUAL(user.added, (int)arena.region_count);
    end();
}

/* Pieces of earlier regions are as good as before, and those that are free are given
 * out although no region can be added. */
static void test_refused_when_full(void)
{
    enum { SIZE = 1 << 20, PIECES = 16 }; /* a region has so many of this size */
    unsigned char *pieces[PIECES];
    begin();
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = arena_get(&arena, SIZE);
        CHECK_FATAL(pieces[i] != NULL);
        memset(pieces[i], i, SIZE);
    }
    CHECK_EQUAL(arena.region_count, 1);
    struct books before = books_now();
    user.refusals = 2;
    CHECK(arena_get(&arena, SIZE) == NULL);
    check_books(&before);
    CHECK(arena_put(&arena, pieces[3]));
    CHECK(arena_get(&arena, SIZE) == pieces[3]);
    CHECK(arena_get(&arena, SIZE) == NULL);
    CHECK_EQUAL(user.refusals, 0);
    check_piece(arena_get(&arena, SIZE), SIZE);
    CHECK_EQUAL(arena.region_count, 2);
    for (int i = 0; i < PIECES; i++) {
        CHECK(pieces[i][0] == i && pieces[i][SIZE - 1] == i);
        CHECK(arena_put(&arena, pieces[i]));
    }
    end();
}

/* Large regions that are kept serve while no other can be added. */
static void test_refused_but_kept(void)
{
    enum { SIZE = 3 << 20 };
    begin();
    void *piece = arena_get(&arena, SIZE);
    check_piece(piece, SIZE);
    struct books before = books_now();
    user.refusals = 1;
    CHECK(arena_get(&arena, 4 * SIZE) == NULL);
    check_books(&before);
    CHECK(arena_get(&arena, SIZE) == piece);
    CHECK_EQUAL(arena.kept, 0);
    end();
}

static const struct test tests[] = {
    {"a region that is refused leaves nothing, and the next one serves", test_refused},
    {"a full arena that is refused a region goes on", test_refused_when_full},
    {"large pieces that are kept serve when regions are refused",
     test_refused_but_kept},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("arena", tests, argc, argv);
}
