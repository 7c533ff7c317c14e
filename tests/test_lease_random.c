/* Random operations on leases, checked against a book that is kept from what the
 * machine tells: who holds what, who waits, until when. */
#include "lease_recorder.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { EXECUTORS = 6, OWNERS = 5, LEASES = 20000, OPERATIONS = 10000 };

struct entry {
    struct rfaas_lease_request request;
    enum rfaas_lease_state state;
    uint64_t deadline;
    uint64_t wait_over; /* without the grace for cores that are coming back */
    bool answered, ended;
    uint32_t workers[EXECUTORS]; /* on each executor; 0: no part there */
};
static struct entry book[LEASES]; /* by the lease's number */
static uint64_t last;             /* the latest request's number */

/* An executor's place is used again when it has gone, its id isn't. */
static struct place {
    uint32_t id, cores; /* id 0: nobody */
} places[EXECUTORS];
static uint32_t last_executor;

static uint64_t seed;
static uint32_t below(uint32_t limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % limit;
}

static int place_of(uint64_t executor)
{
    int place = 0;
    while (place < EXECUTORS - 1 && places[place].id != executor)
        place++;
    CHECK_EQUAL(places[place].id, executor);
    return place;
}

static bool has_parts(const struct entry *entry)
{
    for (int i = 0; i < EXECUTORS; i++) {
        if (entry->workers[i])
            return true;
    }
    return false;
}

static struct entry *entry_of_call(uint64_t call)
{
    uint64_t id = last;
    while (id > 1 && book[id].request.call != call)
        id--;
    return &book[id];
}

static void answered(struct entry *entry, enum rfaas_lease_state state)
{
    CHECK(!entry->answered);
    entry->answered = true;
    entry->state = state;
}

static void book_grant(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    uint32_t workers = 0;
    answered(entry, RFAAS_LEASE_ACTIVE);
    entry->deadline = now + entry->request.duration;
    for (int i = 0; i < EXECUTORS; i++)
        workers += entry->workers[i];
    CHECK_EQUAL(event->value, workers);
    CHECK_EQUAL(event->who, entry->request.owner);
    CHECK_EQUAL(event->call, entry->request.call);
    CHECK(workers <= entry->request.workers);
    CHECK(workers >= entry->request.min_workers);
    uint64_t waiting = 1;
    while (waiting < event->lease && book[waiting].state != RFAAS_LEASE_REQUESTED)
        waiting++;
    CHECK_EQUAL(waiting, event->lease); /* nobody was overtaken */
}

static void book_event(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    switch (event->told) {
    case ASSIGN:
        entry->workers[place_of(event->who)] = (uint32_t)event->value;
        break;
    case GRANTED:
        book_grant(event);
        break;
    case REFUSED:
        answered(entry_of_call(event->call), RFAAS_LEASE_OVER);
        break;
    case PART_LOST:
        CHECK_EQUAL(entry->state, RFAAS_LEASE_ACTIVE);
        CHECK(entry->workers[place_of((uint64_t)event->value)] > 0);
        entry->workers[place_of((uint64_t)event->value)] = 0;
        break;
    case WITHDRAW:
        CHECK_EQUAL(entry->state, RFAAS_LEASE_ACTIVE);
        CHECK(entry->workers[place_of(event->who)] > 0);
        break;
    case ENDED:
        CHECK(!entry->ended);
        entry->ended = true;
        entry->state = has_parts(entry) ? RFAAS_LEASE_ENDING : RFAAS_LEASE_OVER;
        break;
    case NOTHING:
        break;
    }
}

static void book_events(void)
{
    const struct event *event;
    while ((event = next_event())->told != NOTHING)
        book_event(event);
}

/* ---- operations: those that change the book before the machine tells of it ------ */

static void op_join(void)
{
    int place = (int)below(EXECUTORS);
    if (places[place].id)
        return;
    places[place] = (struct place){++last_executor, 1 + below(8)};
    join(last_executor, places[place].cores);
}

static void ending_part_gone(struct entry *entry, int place)
{
    if (entry->state != RFAAS_LEASE_ENDING)
        return;
    entry->workers[place] = 0;
    if (!has_parts(entry))
        entry->state = RFAAS_LEASE_OVER;
}

static void op_leave(void)
{
    int place = (int)below(EXECUTORS);
    if (!places[place].id)
        return;
    rfaas_leases_leave(leases, places[place].id, now);
    book_events();
    for (uint64_t id = 1; id <= last; id++)
        ending_part_gone(&book[id], place);
    places[place] = (struct place){0, 0};
}

/* Mostly one that is in this state, else any number up to one too many. */
static uint64_t some_lease(enum rfaas_lease_state state)
{
    uint64_t id = 1 + below((uint32_t)last + 1);
    for (uint64_t i = 0; i < last && below(1000) > 0; i++) {
        uint64_t at = 1 + (id + i) % last;
        if (book[at].state == state)
            return at;
    }
    return id;
}

static void op_freed(void)
{
    uint64_t id = some_lease(RFAAS_LEASE_ENDING);
    int place = (int)below(EXECUTORS);
    while (below(20) > 0 && book[id].workers[place] == 0)
        place = (place + 1) % EXECUTORS;
    if (places[place].id && id <= last) {
        ending_part_gone(&book[id], place);
        CHECK_EQUAL(freed(places[place].id, id), RFAAS_OK);
    }
}

static bool any_ending(void)
{
    for (uint64_t id = 1; id <= last; id++) {
        if (book[id].state == RFAAS_LEASE_ENDING)
            return true;
    }
    return false;
}

static void op_request(void)
{
    struct rfaas_lease_request request =
        want(1 + below(OWNERS), 1 + below(7), below(9));
    request.min_workers = below(3) ? request.workers : 1 + below(request.workers);
    request.cores_per_worker = 1 + below(2);
    request.memory_per_worker = (uint64_t)request.cores_per_worker << 20;
    request.duration = (1 + below(20)) * (uint64_t)SECOND;
    last++;
    book[last] = (struct entry){.request = request,
                                .state = RFAAS_LEASE_REQUESTED,
                                .wait_over = now + request.wait};
    book[last].deadline = book[last].wait_over;
    if (any_ending() && book[last].deadline < now + 2 * (uint64_t)SECOND)
        book[last].deadline = now + 2 * (uint64_t)SECOND;
    CHECK_EQUAL(rfaas_leases_request(leases, &request, now), last);
}

static void op_renew(void)
{
    uint64_t id = some_lease(RFAAS_LEASE_ACTIVE), owner = 1 + below(OWNERS);
    bool active = id <= last && book[id].state == RFAAS_LEASE_ACTIVE &&
                  book[id].request.owner == owner;
    int status = rfaas_leases_renew(leases, owner, id, 3 * (uint64_t)SECOND, now);
    CHECK_EQUAL(status == RFAAS_OK, active);
    if (active)
        book[id].deadline = now + 3 * (uint64_t)SECOND;
}

static void op_release(void)
{
    uint64_t id = some_lease(RFAAS_LEASE_ACTIVE);
    rfaas_leases_release(leases, 1 + below(OWNERS), id, now);
}

static void op_owner_gone(void)
{
    rfaas_leases_owner_gone(leases, 1 + below(OWNERS), now);
}

static void op_time(void)
{
    now += below(3000) * (uint64_t)1000000;
    rfaas_leases_advance(leases, now);
}

/* ---- invariants ---------------------------------------------------------------- */

static uint64_t fit(const struct rfaas_lease_request *request, const uint32_t used[])
{
    uint64_t workers = 0;
    for (int i = 0; i < EXECUTORS; i++) {
        if (places[i].id)
            workers += (places[i].cores - used[i]) / request->cores_per_worker;
    }
    return workers;
}

static void check_book(void)
{
    uint32_t used[EXECUTORS] = {0};
    uint64_t first_deadline = RFAAS_LEASES_NEVER;
    const struct entry *first_waiting = NULL;
    bool coming_back = any_ending();
    for (uint64_t id = 1; id <= last; id++) {
        struct entry *entry = &book[id];
        if (entry->state == RFAAS_LEASE_REQUESTED && !coming_back)
            entry->deadline = entry->wait_over;
        if (entry->state == RFAAS_LEASE_OVER)
            continue;
        CHECK_EQUAL(rfaas_leases_state(leases, id), entry->state);
        for (int i = 0; i < EXECUTORS; i++)
            used[i] += entry->workers[i] * entry->request.cores_per_worker;
        if (entry->state == RFAAS_LEASE_REQUESTED && !first_waiting)
            first_waiting = entry;
        if (entry->state != RFAAS_LEASE_ENDING && entry->deadline < first_deadline)
            first_deadline = entry->deadline;
    }
    for (int i = 0; i < EXECUTORS; i++) {
        if (places[i].id)
            CHECK_EQUAL(free_cores(places[i].id) + used[i], places[i].cores);
    }
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), first_deadline);
    CHECK(first_deadline > now);
    if (first_waiting) /* would have been granted if it fitted */
        CHECK(fit(&first_waiting->request, used) < first_waiting->request.min_workers);
}

/* The machine stops, executors free what is withdrawn: nothing may be left over. */
static void wind_up(void)
{
    rfaas_leases_stop(leases);
    book_events();
    for (uint64_t id = 1; id <= last; id++) {
        CHECK(book[id].answered);
        for (int i = 0; i < EXECUTORS; i++) {
            if (book[id].workers[i])
                CHECK_EQUAL(freed(places[i].id, id), RFAAS_OK);
        }
        CHECK_EQUAL(rfaas_leases_state(leases, id), RFAAS_LEASE_OVER);
    }
    for (int i = 0; i < EXECUTORS; i++) {
        if (places[i].id)
            CHECK_EQUAL(free_cores(places[i].id), places[i].cores);
    }
    expect_nothing();
}

static void run_operations(uint64_t with_seed)
{
    static void (*const operations[])(void) = {
        op_request, op_request, op_request, op_request, op_freed, op_freed,
        op_freed,   op_freed,   op_release, op_release, op_renew, op_renew,
        op_join,    op_time,    op_time,    op_time,
    };
    begin();
    memset(book, 0, sizeof book);
    memset(places, 0, sizeof places);
    last = last_executor = 0;
    seed = with_seed;
    for (int i = 0; i < OPERATIONS; i++) {
        uint32_t choice = below(1000);
        if (choice < 10)
            op_leave();
        else if (choice < 15)
            op_owner_gone();
        else
            operations[choice % (sizeof operations / sizeof *operations)]();
        book_events();
        check_book();
    }
    wind_up();
}

static void test_random(void)
{
    run_operations(1);
}

static void test_random_again(void)
{
    run_operations(20240229);
}

static const struct test tests[] = {
    {"10,000 random operations keep free + used = total and the queue fair",
     test_random},
    {"and so do 10,000 others", test_random_again},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return recorder_end(test_main("leases at random", tests, argc, argv));
}
