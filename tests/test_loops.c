/* The books of parallel loops, and what their model concludes; no MPI, no clock. */
#include "mpi/loop_model.h"
#include "mpi/loop_work.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- books ----------------------------------------------------------------------- */

enum { ELEMENTS = 3000, BAD = 1234, HOLDERS = 6 };

struct holder {
    bool busy;
    struct loop_span span;
};

static uint32_t seed;

static unsigned below(unsigned most)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % most;
}

/* What becomes of a span: done, failed for the bad element, lost, given back. */
static void decide(struct loop_work *work, const struct loop_span *span, bool worker,
                   int decided[])
{
    bool bad = span->first <= BAD && BAD < span->first + span->count;
    unsigned fate = below(10);
    if (worker && fate == 0) {
        loop_work_lost(work, span, false, "lost");
    } else if (fate == 1) {
        loop_work_return(work, span);
    } else if (bad) {
        CHECK(worker || !span->crashed);
        loop_work_failed(work, span, worker && fate < 5, "bad");
    } else {
        loop_work_done(work, span, worker);
        for (int64_t i = span->first; i < span->first + span->count; i++)
            decided[i]++;
    }
}

/* Some hold spans at a time, in any order; in the end each element was decided once. */
static void test_once(void)
{
    static int decided[ELEMENTS];
    for (unsigned round = 0; round < 200; round++) {
        struct holder holders[HOLDERS] = {{0}};
        struct loop_work work;
        int wrong = 0;
        seed = round;
        memset(decided, 0, sizeof decided);
        loop_work_create(&work, ELEMENTS);
        if (round % 3 == 0)
            loop_work_divide(&work, below(ELEMENTS));
        for (int turn = 0; work.undecided > 0 && turn < 1000000; turn++) {
            unsigned i = below(HOLDERS);
            bool worker = i % 2;
            struct holder *h = &holders[i];
            if (h->busy)
                decide(&work, &h->span, worker, decided);
            h->busy =
                !h->busy &&
                (worker ? loop_work_take_last(&work, 1 + below(300), &h->span)
                        : loop_work_take_first(&work, 1 + below(300), false, &h->span));
        }
        for (int i = 0; i < ELEMENTS; i++)
            wrong += decided[i] != (i == BAD ? 0 : 1);
        CHECK_EQUAL(wrong, 0);
        CHECK_EQUAL(work.undecided, 0);
        CHECK_EQUAL(work.failed, 1);
        CHECK_EQUAL(work.first_failed, BAD);
        CHECK_EQUAL(work.local + work.offloaded, ELEMENTS - 1);
        loop_work_free(&work);
    }
}

static void test_alone(void)
{
    struct loop_work work;
    struct loop_span span;
    loop_work_create(&work, 100);
    loop_work_divide(&work, 60);
    CHECK(loop_work_take_last(&work, 60, &span));
    CHECK_EQUAL(span.first, 40);
    loop_work_lost(&work, &span, true, "killed");
    CHECK(loop_work_take_first(&work, 1000, false, &span));
    CHECK_EQUAL(span.count, 40); /* up to the border */
    loop_work_done(&work, &span, false);
    CHECK(!loop_work_take_first(&work, 1000, false,
                                &span)); /* a worker was lost with it */
    CHECK(!loop_work_suits_threads(&work));
    CHECK(loop_work_take_first(&work, 1000, true, &span));
    CHECK_EQUAL(span.first, 40);
    CHECK_EQUAL(work.retried, 1);
    loop_work_return(&work, &(struct loop_span){.first = 40, .count = span.count});
    CHECK(loop_work_suits_threads(&work));
    CHECK(loop_work_take_first(&work, 1000, false, &span));
    loop_work_done(&work, &span, false);
    CHECK_EQUAL(work.undecided, 0);
    loop_work_free(&work);
}

/* What has crashed a worker is nothing for threads, even when there are no workers. */
static void test_crashed(void)
{
    struct loop_work work;
    struct loop_span span;
    loop_work_create(&work, 10);
    CHECK(loop_work_take_last(&work, 10, &span));
    loop_work_failed(&work, &span, true, "signal 11");
    CHECK(!loop_work_take_first(&work, 10, true, &span));
    loop_work_condemn(&work);
    CHECK_EQUAL(work.failed, 10);
    CHECK_EQUAL(work.first_failed, 0);
    CHECK_EQUAL(work.undecided, 0);
    loop_work_free(&work);
}

/* A function that crashes always is given up. */
static void test_crashes_end(void)
{
    struct loop_work work;
    struct loop_span span;
    int crashes = 0;
    loop_work_create(&work, 1 << 20);
    for (; loop_work_take_last(&work, 1 << 20, &span); crashes++)
        loop_work_failed(&work, &span, true, "signal 11");
    CHECK(crashes <= 2 * LOOP_CRASHES_MOST);
    CHECK_EQUAL(work.failed, 1 << 20);
    loop_work_free(&work);
}

/* So is one with which workers are lost time and again. */
static void test_losses_end(void)
{
    struct loop_work work;
    struct loop_span span, other;
    int losses = 0;
    loop_work_create(&work, 1024);
    while (loop_work_take_last(&work, 1024, &span))
        if (span.first <= BAD % 1024 && BAD % 1024 < span.first + span.count) {
            loop_work_lost(&work, &span, true, "signal 9");
            losses++;
            CHECK(!loop_work_take_first(&work, 1024, false, &other)); /* not here */
        } else {
            loop_work_done(&work, &span, true);
        }
    CHECK(losses <= LOOP_LOSSES_MOST * 11);
    CHECK_EQUAL(work.failed, 1);
    CHECK_EQUAL(work.first_failed, BAD % 1024);
    CHECK_EQUAL(work.offloaded, 1023);
    loop_work_free(&work);
}

/* Larger chunks begin where a cache line of any type does. */
static void test_grains(void)
{
    struct loop_work work;
    struct loop_span span;
    loop_work_create(&work, 100000);
    CHECK(loop_work_take_first(&work, 1, false, &span)); /* amid a grain */
    CHECK(loop_work_take_first(&work, 100, false, &span));
    for (int i = 0; i < 20; i++) {
        CHECK(loop_work_take_first(&work, 1000, false, &span));
        CHECK_EQUAL(span.first % LOOP_GRAIN, 0);
        CHECK(loop_work_take_last(&work, 1000, &span));
        CHECK_EQUAL(span.first % LOOP_GRAIN, 0);
    }
    loop_work_free(&work);
}

/* ---- model ----------------------------------------------------------------------- */

static struct loop_model model_of(double local, double remote, double latency,
                                  double transfer)
{
    struct loop_model model = {.latency = latency, .send = transfer};
    loop_rate_add(&model.local, 1000 * local, 1000);
    loop_rate_add(&model.remote, 1000 * remote, 1000);
    return model;
}

static bool near(double value, double wanted)
{
    bool is = value > 0.99 * wanted && value < 1.01 * wanted;
    if (!is)
        printf("\n    %g is not near %g\n", value, wanted);
    return is;
}

static double end_of(const struct loop_model *model, double left, int threads,
                     const double ready[], int workers)
{
    struct loop_outlook o = {.left = left,
                             .threads = threads,
                             .sender_works = threads > 0,
                             .ready = ready,
                             .workers = workers};
    return loop_model_end(model, &o);
}

static void test_split(void)
{
    static const double idle[3] = {0, 0, 0}, late[2] = {0, 1e9}, wait[1] = {2000};
    struct loop_model even = model_of(10, 10, 0, 0), slow = model_of(10, 30, 0, 0);
    struct loop_model dear = model_of(10, 10, 0, 5), home = model_of(10, 10, 0, 9);
    CHECK(near(end_of(&even, 1000, 1, idle, 1), 5000));
    CHECK(near(end_of(&even, 1000, 1, idle, 3), 2500));
    CHECK(near(end_of(&even, 1000, 0, idle, 2), 5000));
    CHECK(near(end_of(&even, 1000, 2, idle, 0), 5000));
    CHECK(near(end_of(&even, 1000, 1, late, 2), 5000)); /* who is busy counts not */
    CHECK(near(end_of(&even, 1000, 1, wait, 1), 6000)); /* 600 and 400 of them */
    CHECK(near(end_of(&slow, 1000, 1, idle, 1), 7500)); /* 750 and 250 */
    CHECK(near(end_of(&dear, 1000, 1, idle, 1), 10000 / 1.5));
    CHECK(near(end_of(&home, 1000, 1, idle, 1), 10000)); /* as dear to send as to do */
}

/* Three elements, a thread and four workers: everybody gets at most one. */
static void test_few(void)
{
    static const double idle[4] = {1e3, 1e3, 1e3, 1e3};
    struct loop_model model = model_of(1e6, 1e6, 0, 0);
    CHECK(near(end_of(&model, 3, 1, idle, 4), 1e6));
    CHECK(loop_model_chunk(&model, 1e6, 1e3, 100) == 1);
    CHECK(loop_model_chunk(&model, 1e6, 1e6, 100) == 0);
    CHECK(near(end_of(&model, 2, 0, idle, 4), 1e6));
    CHECK(end_of(&model, 1, 1, idle, 4) < 0.5e6); /* the thread's, at once */
}

static void test_unknown(void)
{
    static const double idle[1] = {0};
    struct loop_model model = {0};
    CHECK(end_of(&model, 1000, 1, idle, 1) == 0);
    CHECK(loop_model_chunk(&model, 0, 0, 100) == 0);
    CHECK(loop_model_step(&model, 1000) == 1);
    loop_model_worked(&model, 100, 1); /* workers are taken for as fast */
    CHECK(near(end_of(&model, 1000, 1, idle, 1), 50000));
}

static void test_chunks(void)
{
    struct loop_model model = model_of(100, 100, 0, 0);
    CHECK(near(loop_model_chunk(&model, 200e3, 0, 1e9), 1000)); /* half of its share */
    CHECK(near(loop_model_chunk(&model, 200e3, 0, 300), 300));  /* the cache's size */
    CHECK(near(loop_model_chunk(&model, 1e9, 0, 1e9), 5000));   /* 500 us */
    CHECK(near(loop_model_chunk(&model, 15e3, 0, 1e9), 100));   /* 10 us, not less */
    CHECK(loop_model_chunk(&model, 4e3, 0, 1e9) == 0);
    CHECK(loop_model_chunk(&model, 15e3, 20e3, 1e9) == 0);
    struct loop_model heavy = model_of(1e6, 1e6, 0, 0);
    CHECK(loop_model_chunk(&heavy, 1e6, 0, 1e9) == 1);
    CHECK(loop_model_chunk(&heavy, 0.5e6, 0, 1e9) == 0);
}

/* The rank looks at its workers after 150 us at most, and more often towards the end; no
 * more often than that where it loses its core now and then. */
static void test_steps(void)
{
    struct loop_model model = {0};
    loop_model_worked(&model, 1000, 10);
    CHECK(near(loop_model_step(&model, 1e6), 1500));
    CHECK(near(loop_model_step(&model, 8000), 500));
    CHECK(near(loop_model_step(&model, 10), 200));
    loop_model_worked(&model, 4e6, 500);
    loop_model_worked(&model, 50000, 500);
    CHECK(near(loop_model_step(&model, 1e6), 1500));
    CHECK(loop_model_local(&model) > 1000);
    for (int i = 0; i < 1000; i++)
        loop_model_worked(&model, 50000, 250); /* elements got dearer */
    CHECK(near(loop_model_step(&model, 1e6), 750));
}

/* Answers that are seen together count for the time of all. */
static void test_learning(void)
{
    struct loop_model model = {0};
    loop_rate_add(&model.local, 10000, 1000);
    loop_model_answered(&model, 15000, 1000, true); /* 5 us besides its elements */
    CHECK(near(model.latency, 5000));
    CHECK(near(loop_model_remote(&model), 10));
    for (int i = 0; i < 3000; i++) {
        loop_model_answered(&model, 60000, 1000, false); /* seen late, */
        loop_model_answered(&model, 0, 1000, false);
        loop_model_answered(&model, 0, 1000, false); /* with two others */
    }
    CHECK(near(loop_model_remote(&model), 20));
    for (int i = 0; i < 100; i++)
        loop_model_sent(&model, 1e9, 1); /* interrupted: no more than an element */
    CHECK(near(model.send, 10));
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"each element is decided once", test_once},
        {"without workers the rank takes what was theirs", test_alone},
        {"what crashed a worker is left to workers", test_crashed},
        {"a function that always crashes is given up", test_crashes_end},
        {"an element that workers are lost with is found", test_losses_end},
        {"larger chunks are aligned", test_grains},
        {"both sides are to end at the same time", test_split},
        {"few elements are divided, too", test_few},
        {"an unknown function is tried out", test_unknown},
        {"chunks get smaller towards the end", test_chunks},
        {"steps keep their length", test_steps},
        {"costs are learned from answers", test_learning},
        {NULL, NULL},
    };
    return test_main("loops", tests, argc, argv);
}
