/* The cache of registrations alone: a device that only keeps books, and a test that says
 * itself when memory goes. What the machine says is in test_unmapping. */
#include "base/error.h"
#include "mock_device.h"
#include "test.h"

#include <pthread.h>
#include <string.h>

enum { SIZE = 64 << 10, BUFFERS = 3 * REGISTRATIONS_MAX };
static const enum rfaas_access READ = RFAAS_ACCESS_READ, WRITE = RFAAS_ACCESS_WRITE;

static struct registrations cache;
static bool seen;

/* Instead of src/client/unmapping.c. */
int unmapping_watch(struct unmapping *watch)
{
    CHECK(watch->gone == registrations_unmapped && watch->arg == &cache);
    return seen ? RFAAS_OK : rfaas_fail(RFAAS_ERR_UNSUPPORTED, "not in this test");
}

void unmapping_unwatch(struct unmapping *watch)
{
    CHECK(watch == &cache.watch);
}

bool unmapping_is_seen(struct unmapping *watch)
{
    CHECK(watch == &cache.watch);
    return seen;
}

/* Addresses only: nothing is ever there. A hole lies between neighbours. */
static char *buffer(int number)
{
    return (char *)(uintptr_t)(0x10000000 + (uintptr_t)number * 2 * SIZE);
}

static void unmap(const char *address, size_t size)
{
    registrations_unmapped(&cache, (uintptr_t)address, (uintptr_t)address + size);
}

static void begin(void)
{
    seen = true;
    CHECK_FATAL(mock_open(&cache));
    cache.bytes_max = (size_t)BUFFERS * SIZE; /* whatever this machine's limit is */
}

static void end(void)
{
    mock_close(&cache);
}

/* Used until it is registered. */
static struct registration *hold(int number, enum rfaas_access access)
{
    mock_use(&cache, buffer(number), SIZE, access);
    struct registration *entry = mock_get(&cache, buffer(number), SIZE, access);
    CHECK_FATAL(entry != NULL);
    return entry;
}

static bool use(int number)
{
    return mock_use(&cache, buffer(number), SIZE, READ);
}

/* ---- what is registered ---------------------------------------------------------- */

static void test_second_use(void)
{
    begin();
    CHECK(!use(0));
    CHECK_EQUAL(mock.tries, 0);
    for (int i = 0; i < 10; i++)
        CHECK(use(0));
    CHECK_EQUAL(mock.tries, 1);
    CHECK(mock_use(&cache, buffer(0) + 100, SIZE / 2, READ));
    CHECK(!mock_use(&cache, buffer(0) + 100, SIZE, READ)); /* more than it */
    CHECK_EQUAL(mock.count, 1);
    end();
}

static void test_access(void)
{
    begin();
    struct registration *read = hold(0, READ), *write = hold(0, WRITE);
    CHECK(read != write);
    CHECK_EQUAL(mock.offered, 1); /* what is only sent from here concerns nobody */
    registration_put(&cache, read, true);
    registration_put(&cache, write, true);
    write = hold(1, WRITE);
    read = mock_get(&cache, buffer(1), SIZE, READ);
    CHECK(read == write);
    registration_put(&cache, read, true);
    registration_put(&cache, write, true);
    read = registration_get(&cache, 1, buffer(0), SIZE, READ, true);
    CHECK_FATAL(read != NULL);
    CHECK(read->offered);
    registration_put(&cache, read, true);
    end();
}

static void test_not_worth_it(void)
{
    begin();
    for (int i = 0; i < 5; i++) {
        CHECK(!mock_use(&cache, buffer(0), MOCK_COPY_MAX, READ));
        CHECK(registration_get(&cache, 0, buffer(1), SIZE, READ, false) == NULL);
        for (int n = 10; n < 20; n++) /* a new buffer each time */
            CHECK(!use(10 * i + n));
    }
    CHECK_EQUAL(mock.tries, 0);
    end();
}

/* Buffers that the device refuses are copied, and not tried again and again. */
static void test_refused(void)
{
    begin();
    mock.limit = SIZE - 1;
    for (int i = 0; i < 5; i++)
        CHECK(!use(0));
    CHECK_EQUAL(mock.tries, 1);
    mock.limit = SIZE;
    unmap(buffer(0), SIZE);
    CHECK(!use(0) && use(0));
    end();
}

static void test_offer_refused(void)
{
    begin();
    mock.refuse_offers = 2;
    for (int i = 0; i < 3; i++)
        CHECK(!mock_use(&cache, buffer(0), SIZE, WRITE));
    CHECK(mock_use(&cache, buffer(0), SIZE, WRITE));
    CHECK_EQUAL(mock.tries, 1);
    end();
}

/* ---- bounds ---------------------------------------------------------------------- */

static void test_least_recently_used(void)
{
    begin();
    for (int i = 0; i < BUFFERS; i++) {
        CHECK(!use(i) && use(i));
        use(0); /* stays by that */
        CHECK(mock.count <= REGISTRATIONS_MAX);
    }
    CHECK_EQUAL(mock.count, REGISTRATIONS_MAX);
    int before = mock.tries;
    CHECK(use(0));
    for (int i = BUFFERS - REGISTRATIONS_MAX + 1; i < BUFFERS; i++)
        CHECK(use(i));
    CHECK_EQUAL(mock.tries, before);
    CHECK(!use(1));
    end();
}

/* More buffers in turn than there is room for: nothing is registered and given up in
 * vain. */
static void test_too_many(void)
{
    begin();
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < BUFFERS; i++)
            CHECK(!use(i));
    CHECK_EQUAL(mock.tries, 0);
    end();
}

static void test_bytes(void)
{
    begin();
    cache.bytes_max = 4 * SIZE;
    for (int i = 0; i < 20; i++) {
        CHECK(!use(i) && use(i));
        CHECK(mock.bytes <= 4 * SIZE);
    }
    CHECK_EQUAL(mock.count, 4);
    CHECK(use(16) && use(19) && !use(15));
    for (int i = 0; i < 3; i++)
        CHECK(!mock_use(&cache, buffer(0), 4 * SIZE + 1, READ));
    CHECK_EQUAL(mock.count, 4);
    end();
}

/* What invocations are using stays, whatever it costs others. */
static void test_in_use(void)
{
    struct registration *held[REGISTRATIONS_MAX];
    begin();
    for (int i = 0; i < REGISTRATIONS_MAX; i++)
        held[i] = hold(i, WRITE);
    for (int i = 0; i < 3; i++)
        CHECK(!use(REGISTRATIONS_MAX));
    CHECK_EQUAL(mock.count, REGISTRATIONS_MAX);
    registration_put(&cache, held[7], true);
    CHECK(!use(REGISTRATIONS_MAX) && use(REGISTRATIONS_MAX));
    for (int i = 0; i < REGISTRATIONS_MAX; i++)
        if (i != 7) {
            CHECK(held[i]->memory->base == buffer(i));
            registration_put(&cache, held[i], true);
        }
    cache.bytes_max = cache.bytes;
    held[0] = hold(1, WRITE);
    cache.bytes_max = SIZE;
    CHECK(!use(BUFFERS) && !use(BUFFERS)); /* all others go, and it isn't enough */
    CHECK_EQUAL(mock.count, 1);
    registration_put(&cache, held[0], true);
    CHECK(use(BUFFERS));
    end();
}

/* The session's own memory comes first. */
static void test_reclaim(void)
{
    struct rfaas_device *device;
    begin();
    device = cache.device->device;
    struct registration *held = hold(0, WRITE);
    for (int i = 1; i < 4; i++)
        CHECK(!use(i) && use(i));
    CHECK(use(1));
    CHECK(device->reclaim(device->reclaim_arg)); /* 2 */
    CHECK(use(1) && use(3) && mock.count == 3);
    CHECK(device->reclaim(device->reclaim_arg) && device->reclaim(device->reclaim_arg));
    CHECK(!device->reclaim(device->reclaim_arg));
    CHECK_EQUAL(mock.count, 1);
    registration_put(&cache, held, true);
    end();
}

/* ---- when memory goes ------------------------------------------------------------ */

static void test_unmapped(void)
{
    static const struct {
        long offset;
        size_t size;
        bool gone;
    } cases[] = {
        {0, SIZE, true},         {-SIZE, SIZE + 1, true}, {SIZE - 1, 1, true},
        {100, 100, true},        {-SIZE, 3 * SIZE, true}, {-SIZE, SIZE, false},
        {SIZE, SIZE / 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        registration_put(&cache, hold(0, WRITE), true);
        unmap(buffer(0) + cases[i].offset, cases[i].size);
        registrations_reap(&cache);
        CHECK_EQUAL(mock.count, cases[i].gone ? 0 : 1);
        CHECK_EQUAL(mock.offered, mock.count);
        CHECK_EQUAL(mock_use(&cache, buffer(0), SIZE, WRITE), !cases[i].gone);
        end();
    }
}

/* Between its uses it was another's memory. */
static void test_unmapped_before(void)
{
    begin();
    CHECK(!use(0));
    unmap(buffer(0), 1);
    CHECK(!use(0));
    CHECK_EQUAL(mock.tries, 0);
    CHECK(use(0));
    end();
}

/* The user's mistake; but what the device still writes to is not given to others. */
static void test_unmapped_in_use(void)
{
    begin();
    struct registration *held = hold(0, WRITE);
    unmap(buffer(0), SIZE);
    CHECK(!mock_use(&cache, buffer(0), SIZE, WRITE)); /* what is there now is new */
    struct registration *next = mock_get(&cache, buffer(0), SIZE, WRITE);
    CHECK(next != NULL && next != held);
    CHECK_EQUAL(mock.count, 2);
    registration_put(&cache, held, true);
    CHECK_EQUAL(mock.count, 1);
    registration_put(&cache, next, true);
    CHECK(mock_use(&cache, buffer(0), SIZE, WRITE));
    end();
}

/* A key that a lost worker had ends with the last invocation that needs it. */
static void test_not_kept(void)
{
    begin();
    struct registration *lost = hold(0, WRITE);
    struct registration *other = mock_get(&cache, buffer(0), SIZE, WRITE);
    CHECK(lost == other);
    uint32_t key = lost->memory->key;
    registration_put(&cache, lost, false);
    CHECK_EQUAL(mock.count, 1);
    CHECK(!mock_use(&cache, buffer(0), SIZE, WRITE));
    registration_put(&cache, other, true);
    CHECK_EQUAL(mock.count, 0);
    CHECK_EQUAL(mock.removed_key, key);
    end();
}

static void test_unseen(void)
{
    begin();
    CHECK(!use(0) && use(0));
    seen = false;
    CHECK(use(0)); /* nothing new is registered, nothing is noticed */
    CHECK(!use(1) && !use(1));
    registrations_reap(&cache);
    CHECK_EQUAL(mock.count, 0);
    seen = true;
    CHECK(!use(0) && !use(0));
    end();
    seen = false;
    CHECK(!mock_open(&cache));
    CHECK(!use(0) && !use(0));
    registrations_reap(&cache);
    registrations_close(&cache);
}

/* ---- threads --------------------------------------------------------------------- */

enum { ROUNDS = 20000 };

static void *unmap_all(void *arg)
{
    _Atomic bool *stop = arg;
    for (int i = 0; !atomic_load_explicit(stop, memory_order_relaxed); i++)
        unmap(buffer(i % 40), SIZE + (i % 2) * 2 * SIZE);
    return NULL;
}

/* Others free memory all the time. */
static void test_threads(void)
{
    static _Atomic bool stop;
    pthread_t threads[2];
    begin();
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    for (int i = 0; i < 2; i++)
        CHECK_FATAL(pthread_create(&threads[i], NULL, unmap_all, &stop) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        enum rfaas_access access = i % 3 ? READ : WRITE;
        struct registration *a = mock_get(&cache, buffer(i % 40), SIZE, access);
        struct registration *b = mock_get(&cache, buffer(i % 40), SIZE, access);
        if (a)
            registration_put(&cache, a, i % 5 != 0);
        if (b)
            registration_put(&cache, b, true);
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    end();
}

static const struct test tests[] = {
    {"a buffer is registered at its second use, and serves for its parts",
     test_second_use},
    {"a registration allows no more than it was made for", test_access},
    {"short, new and other devices' buffers aren't registered", test_not_worth_it},
    {"a buffer that the device refuses is copied, and tried once", test_refused},
    {"a registration that workers can't be told of isn't used", test_offer_refused},
    {"the least recently used of too many goes", test_least_recently_used},
    {"more buffers in turn than there is room for are all copied", test_too_many},
    {"bytes are bounded", test_bytes},
    {"what is in use stays", test_in_use},
    {"idle registrations make room for other memory", test_reclaim},
    {"an unmapped part ends a registration, a neighbour doesn't", test_unmapped},
    {"a buffer that was unmapped between its uses is a new one", test_unmapped_before},
    {"what is unmapped in use ends after it, and isn't found again",
     test_unmapped_in_use},
    {"a key that a lost worker had ends", test_not_kept},
    {"where unmapping isn't seen nothing is registered", test_unseen},
    {"memory goes in other threads all the time", test_threads},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return test_main("registrations", tests, argc, argv);
}
