/* Random operations on leases, checked against a book that is kept from what the
 * machine tells: who holds what, who waits, until when. */
#include "lease_recorder.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { EXECUTORS = 6, OWNERS = 5, LEASES = 20000, PARTS = 40000, OPERATIONS = 10000 };

struct entry {
    struct rfaas_lease_request request;
    enum rfaas_lease_state state;
    uint64_t deadline;
    uint64_t wait_over; /* without the grace for cores that are coming back */
    bool answered, ended;
    unsigned parts;   /* with cores */
    uint32_t workers; /* numbers */
    uint32_t lost;    /* of them, as bits */
    struct growth {   /* asked for and not answered yet */
        uint64_t call, deadline, wait_over, order;
        uint32_t workers, least; /* of all */
    } growth;
    uint64_t order; /* in the queue */
};
static struct entry book[LEASES]; /* by the lease's number */
static uint64_t last;             /* the latest request's number */
static uint64_t last_order;

/* What takes cores, by its number. */
static struct book_part {
    uint64_t lease;
    int place;
    uint32_t first, workers, kept;
} parts[PARTS];
static uint64_t last_part;

/* Numbers that have to move: those of drained executors. */
static struct move {
    uint64_t lease, deadline, wait_over;
    uint32_t first, workers;
} moves[PARTS];
static size_t move_count;

/* An executor's place is used again when it has gone, its id isn't. */
static struct place {
    uint32_t id, cores; /* id 0: nobody */
    bool draining;
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

static uint32_t bits(uint32_t first, uint32_t workers)
{
    CHECK_FATAL(first + workers < 32);
    return ((1u << workers) - 1) << first;
}

static bool any_returning(void)
{
    for (uint64_t id = 1; id <= last_part; id++)
        if (parts[id].kept < parts[id].workers)
            return true;
    return false;
}

/* Who asks now is due at this time at the earliest. */
static uint64_t due(uint64_t wait_over)
{
    uint64_t grace = now + 2 * (uint64_t)SECOND;
    return any_returning() && wait_over < grace ? grace : wait_over;
}

static void part_credit(struct book_part *part, uint32_t left)
{
    if (left >= part->workers)
        return;
    part->workers = left;
    if (part->kept > left)
        part->kept = left;
    struct entry *entry = &book[part->lease];
    if (left == 0 && --entry->parts == 0 && entry->state == RFAAS_LEASE_ENDING)
        entry->state = RFAAS_LEASE_OVER;
}

static void moves_drop(uint64_t lease, uint32_t limit)
{
    for (size_t i = move_count; i-- > 0;) {
        struct move *move = &moves[i];
        if (move->lease != lease || move->first + move->workers <= limit)
            continue;
        if (move->first < limit)
            move->workers = limit - move->first;
        else
            *move = moves[--move_count];
    }
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

static void book_assign(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    CHECK_FATAL(event->part == last_part + 1 && event->part < PARTS);
    last_part = event->part;
    parts[last_part] = (struct book_part){event->lease, place_of(event->who),
                                          event->first, event->workers, event->workers};
    entry->parts++;
    for (size_t i = 0; i < move_count; i++) {
        struct move *move = &moves[i];
        if (move->lease != event->lease || move->first != event->first)
            continue;
        CHECK(event->workers <= move->workers);
        move->first += event->workers;
        move->workers -= event->workers;
        if (move->workers == 0)
            *move = moves[--move_count];
        return;
    }
}

/* Nobody who came before still waits. */
static void check_order(uint64_t order)
{
    for (uint64_t id = 1; id <= last; id++) {
        if (book[id].state == RFAAS_LEASE_REQUESTED)
            CHECK(book[id].order >= order);
        if (book[id].growth.call)
            CHECK(book[id].growth.order >= order);
    }
}

static void book_grant(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    uint32_t workers = (uint32_t)event->value;
    CHECK_EQUAL(event->who, entry->request.owner);
    if (event->call == 0) { /* it moves */
        CHECK_EQUAL(workers, entry->workers);
        return;
    }
    if (entry->growth.call) {
        CHECK_EQUAL(event->call, entry->growth.call);
        CHECK(workers >= entry->growth.least && workers <= entry->growth.workers);
        if (workers > entry->workers)
            check_order(entry->growth.order);
        entry->growth.call = 0;
    } else if (!entry->answered) {
        CHECK_EQUAL(event->call, entry->request.call);
        CHECK(workers <= entry->request.workers);
        CHECK(workers >= entry->request.min_workers);
        check_order(entry->order);
        answered(entry, RFAAS_LEASE_ACTIVE);
        entry->deadline = now + entry->request.duration;
    } else {
        CHECK(workers <= entry->workers); /* smaller, or as it was */
        moves_drop(event->lease, workers);
        entry->lost &= bits(0, workers);
    }
    entry->workers = workers;
}

static void book_refusal(const struct event *event)
{
    for (uint64_t id = 1; id <= last; id++) {
        if (book[id].growth.call != event->call)
            continue;
        book[id].growth.call = 0;
        return;
    }
    answered(entry_of_call(event->call), RFAAS_LEASE_OVER);
}

static void book_loss(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    CHECK_EQUAL(entry->state, RFAAS_LEASE_ACTIVE);
    uint32_t lost = bits((uint32_t)event->value, event->workers);
    CHECK_EQUAL(entry->lost & lost, 0);
    entry->lost |= lost;
    for (size_t i = 0; i < move_count; i++)
        if (moves[i].lease == event->lease && moves[i].first == event->value) {
            CHECK_EQUAL(moves[i].workers, event->workers);
            moves[i] = moves[--move_count];
            return;
        }
}

static void book_event(const struct event *event)
{
    struct entry *entry = &book[event->lease];
    switch (event->told) {
    case ASSIGN:
        book_assign(event);
        break;
    case GRANTED:
        book_grant(event);
        break;
    case REFUSED:
        book_refusal(event);
        break;
    case PART_LOST:
        book_loss(event);
        break;
    case WITHDRAW:
        CHECK_EQUAL(entry->state, RFAAS_LEASE_ACTIVE);
        parts[event->part].kept = 0;
        break;
    case RETIRE:
        CHECK(parts[event->part].kept > event->value);
        parts[event->part].kept = (uint32_t)event->value;
        break;
    case ENDED:
        CHECK(!entry->ended);
        entry->ended = true;
        entry->state = entry->parts ? RFAAS_LEASE_ENDING : RFAAS_LEASE_OVER;
        moves_drop(event->lease, 0);
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
    places[place] = (struct place){++last_executor, 1 + below(8), false};
    join(last_executor, places[place].cores);
}

static void op_leave(void)
{
    int place = (int)below(EXECUTORS);
    if (!places[place].id)
        return;
    uint32_t id = places[place].id;
    for (uint64_t part = 1; part <= last_part; part++)
        if (parts[part].place == place)
            part_credit(&parts[part], 0);
    rfaas_leases_leave(leases, id, now);
    places[place].id = 0; /* what is told may be that others get its leases */
}

static void op_drain(void)
{
    int place = (int)below(EXECUTORS);
    if (!places[place].id || places[place].draining)
        return;
    places[place].draining = true;
    for (uint64_t id = 1; id <= last_part; id++) {
        struct book_part *part = &parts[id];
        if (part->place != place || part->kept == 0)
            continue;
        uint64_t wait_over = now + book[part->lease].request.wait;
        struct move move = {part->lease, 0, wait_over, part->first, part->kept};
        part->kept = 0;
        move.deadline = due(wait_over);
        moves[move_count++] = move;
    }
    rfaas_leases_drain(leases, places[place].id, now);
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
    if (last_part == 0)
        return;
    uint64_t id = 1 + below((uint32_t)last_part);
    for (uint64_t i = 0; i < last_part && parts[id].kept == parts[id].workers; i++)
        id = id % last_part + 1;
    struct book_part *part = &parts[id];
    if (part->workers == 0 || !places[part->place].id)
        return;
    uint32_t executor = places[part->place].id;
    uint32_t left = part->kept + below(part->workers - part->kept + 1);
    part_credit(part, left);
    CHECK_EQUAL(freed_but(executor, id, left), RFAAS_OK);
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
    book[last].order = ++last_order;
    book[last].deadline = due(book[last].wait_over);
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

static void op_resize(void)
{
    uint64_t id = some_lease(RFAAS_LEASE_ACTIVE);
    if (id > last)
        return;
    struct entry *entry = &book[id];
    struct rfaas_lease_change change = {.lease = id,
                                        .call = ++calls,
                                        .workers = 1 + below(10),
                                        .wait = below(6) * (uint64_t)SECOND};
    change.min_workers = below(3) ? 0 : 1 + below(change.workers);
    bool good = entry->state == RFAAS_LEASE_ACTIVE && entry->growth.call == 0;
    if (good && change.workers > entry->workers)
        entry->growth = (struct growth){
            change.call,       due(now + change.wait),
            now + change.wait, ++last_order,
            change.workers,    change.min_workers ? change.min_workers : change.workers,
        };
    rfaas_leases_resize(leases, entry->request.owner, &change, now);
    if (good)
        return;
    const struct event *refused = next_event();
    CHECK_EQUAL(refused->told, REFUSED);
    CHECK_EQUAL(refused->call, change.call);
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

static uint32_t used[EXECUTORS]; /* cores */
static uint64_t first_deadline;

static uint64_t fit(const struct rfaas_lease_request *request)
{
    uint64_t workers = 0;
    for (int i = 0; i < EXECUTORS; i++) {
        if (places[i].id && !places[i].draining)
            workers += (places[i].cores - used[i]) / request->cores_per_worker;
    }
    return workers;
}

static void check_deadline(uint64_t deadline)
{
    CHECK(deadline > now);
    if (deadline < first_deadline)
        first_deadline = deadline;
}

/* Every core is free, or one part's; every number has one worker, or will have one
 * again, or is lost. */
static void check_parts(void)
{
    static uint32_t seen[LEASES];
    for (uint64_t id = 1; id <= last; id++)
        seen[id] = book[id].lost;
    memset(used, 0, sizeof used);
    for (uint64_t id = 1; id <= last_part; id++) {
        const struct book_part *part = &parts[id];
        if (part->workers == 0)
            continue;
        used[part->place] += part->workers * book[part->lease].request.cores_per_worker;
        CHECK_EQUAL(seen[part->lease] & bits(part->first, part->kept), 0);
        seen[part->lease] |= bits(part->first, part->kept);
    }
    for (size_t i = 0; i < move_count; i++) {
        uint32_t numbers = bits(moves[i].first, moves[i].workers);
        CHECK_EQUAL(seen[moves[i].lease] & numbers, 0);
        seen[moves[i].lease] |= numbers;
    }
    for (uint64_t id = 1; id <= last; id++)
        if (book[id].state == RFAAS_LEASE_ACTIVE)
            CHECK_EQUAL(seen[id], bits(0, book[id].workers));
    for (int i = 0; i < EXECUTORS; i++)
        if (places[i].id)
            CHECK_EQUAL(free_cores(places[i].id) + used[i], places[i].cores);
}

/* Deadlines; returns the first in the queue, `least` what it waits for. */
static const struct entry *check_entries(bool returning, uint32_t *least)
{
    const struct entry *first = NULL;
    uint64_t order = UINT64_MAX;
    for (uint64_t id = 1; id <= last; id++) {
        struct entry *entry = &book[id];
        if (entry->state == RFAAS_LEASE_REQUESTED && !returning)
            entry->deadline = entry->wait_over;
        if (!returning)
            entry->growth.deadline = entry->growth.wait_over;
        if (entry->state == RFAAS_LEASE_OVER)
            continue;
        CHECK_EQUAL(rfaas_leases_state(leases, id), entry->state);
        if (entry->state != RFAAS_LEASE_ENDING)
            check_deadline(entry->deadline);
        if (entry->growth.call)
            check_deadline(entry->growth.deadline);
        if (entry->growth.call && entry->growth.order < order) {
            first = entry;
            order = entry->growth.order;
            *least = entry->growth.least - entry->workers;
        }
        if (entry->state == RFAAS_LEASE_REQUESTED && entry->order < order) {
            first = entry;
            order = entry->order;
            *least = entry->request.min_workers;
        }
    }
    return first;
}

static void check_book(void)
{
    bool returning = any_returning(), stuck = false;
    uint32_t least = 0;
    first_deadline = RFAAS_LEASES_NEVER;
    check_parts();
    const struct entry *first = check_entries(returning, &least);
    for (size_t i = 0; i < move_count; i++) {
        if (!returning)
            moves[i].deadline = moves[i].wait_over;
        check_deadline(moves[i].deadline);
        stuck = stuck || fit(&book[moves[i].lease].request) == 0;
    }
    CHECK_EQUAL(rfaas_leases_next_deadline(leases), first_deadline);
    /* The first would have been granted if it fitted. */
    if (move_count == 0 && first)
        stuck = fit(&first->request) < least;
    CHECK(stuck || (move_count == 0 && !first));
}

/* The machine stops, executors free what is withdrawn: nothing may be left over. */
static void wind_up(void)
{
    rfaas_leases_stop(leases);
    book_events();
    for (uint64_t id = 1; id <= last_part; id++) {
        struct book_part *part = &parts[id];
        if (part->workers > 0)
            CHECK_EQUAL(freed_but(places[part->place].id, id, 0), RFAAS_OK);
        part_credit(part, 0);
    }
    for (uint64_t id = 1; id <= last; id++) {
        CHECK(book[id].answered);
        CHECK_EQUAL(book[id].growth.call, 0);
        CHECK_EQUAL(rfaas_leases_state(leases, id), RFAAS_LEASE_OVER);
    }
    for (int i = 0; i < EXECUTORS; i++) {
        if (places[i].id)
            CHECK_EQUAL(free_cores(places[i].id), places[i].cores);
    }
    CHECK_EQUAL(move_count, 0);
    expect_nothing();
}

static void run_operations(uint64_t with_seed)
{
    static void (*const operations[])(void) = {
        op_request, op_request, op_request, op_request, op_freed,  op_freed, op_freed,
        op_freed,   op_release, op_release, op_renew,   op_renew,  op_join,  op_time,
        op_time,    op_time,    op_resize,  op_resize,  op_resize, op_freed,
    };
    begin();
    memset(book, 0, sizeof book);
    memset(places, 0, sizeof places);
    last = last_executor = 0;
    last_part = last_order = move_count = 0;
    seed = with_seed;
    for (int i = 0; i < OPERATIONS; i++) {
        uint32_t choice = below(1000);
        if (choice < 10)
            op_leave();
        else if (choice < 15)
            op_owner_gone();
        else if (choice < 25)
            op_drain();
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
