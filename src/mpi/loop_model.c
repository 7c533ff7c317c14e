#include "mpi/loop_model.h"

/* Measurements are summed up; once the sum is this long, what it holds counts half. Longer
 * than a turn of the scheduler, short enough to follow elements that get dearer. */
static const double WINDOW_NS = 20e6;
/* A chunk that takes a worker less isn't worth a message of some hundred nanoseconds; one
 * that takes more adds nothing, and who is late by one keeps the others waiting. */
static const double CHUNK_NS_LEAST = 10e3, CHUNK_NS_MOST = 500e3;
/* Of its own work the rank does so much between two looks at the workers, which cost it
 * half a microsecond: a part of what is left, but not more than workers have in store. */
static const double STEPS = 16, STEP_NS_LEAST = 20e3, STEP_NS_MOST = 150e3;
/* Sending costs the rank time in which it could do elements: no gain above this part of
 * an element's time. */
static const double TRANSFER_MOST = 0.8;
/* How much a new measurement of sending counts: the first ones contain what is set up
 * once. */
static const double NEW = 1.0 / 8;
static const double LATENCY_RISE = 1.0 / 16;
static const double AWAY_NS = 1e6;
static const double FASTEST_RISE = 1.0 / 64;

void loop_rate_add(struct loop_rate *rate, double ns, double elements)
{
    rate->ns += ns;
    rate->elements += elements;
    if (rate->ns > WINDOW_NS) {
        rate->ns /= 2;
        rate->elements /= 2;
    }
}

double loop_rate_of(const struct loop_rate *rate)
{
    return rate->elements > 0 ? rate->ns / rate->elements : 0;
}

double loop_model_local(const struct loop_model *model)
{
    double ns = loop_rate_of(&model->local);
    return ns > 0 ? ns : loop_rate_of(&model->remote);
}

double loop_model_remote(const struct loop_model *model)
{
    double ns = loop_rate_of(&model->remote);
    return ns > 0 ? ns : loop_rate_of(&model->local);
}

double loop_model_transfer(const struct loop_model *model)
{
    return model->send + model->receive;
}

void loop_model_worked(struct loop_model *model, double ns, double elements)
{
    double each = ns / elements;
    loop_rate_add(&model->local, ns, elements);
    if (model->fastest <= 0 || each < model->fastest)
        model->fastest = each;
    else
        model->fastest += (each - model->fastest) * FASTEST_RISE;
}

void loop_model_stayed(struct loop_model *model)
{
    model->latency *= 1 - NEW;
}

/* Held to what an element costs here: a sender that was interrupted tells nothing. */
static void approach(const struct loop_model *model, double *value, double sample)
{
    double local = loop_model_local(model);
    if (local > 0 && sample > local)
        sample = local;
    *value += (sample - *value) * NEW;
}

void loop_model_sent(struct loop_model *model, double ns, double elements)
{
    approach(model, &model->send, ns / elements);
}

void loop_model_received(struct loop_model *model, double ns, double elements)
{
    approach(model, &model->receive, ns / elements);
}

void loop_model_answered(struct loop_model *model, double ns, double elements,
                         bool was_idle)
{
    double each = loop_model_remote(model);
    if (was_idle && each > 0) {
        double sample = ns - elements * each;
        if (sample < 0)
            sample = 0;
        /* Answers are seen late rather than early; but by more than a look's time only
         * if the worker didn't get its core. */
        bool sooner = sample < model->latency;
        double weight = model->latency <= 0          ? 1
                        : sooner || sample > AWAY_NS ? 0.5
                                                     : LATENCY_RISE;
        model->latency += (sample - model->latency) * weight;
        ns = ns > model->latency ? ns - model->latency : 0;
    }
    loop_rate_add(&model->remote, ns, elements);
}

double loop_model_end(const struct loop_model *model, const struct loop_outlook *o)
{
    double local = loop_model_local(model), remote = loop_model_remote(model);
    if (local <= 0 || remote <= 0)
        return 0;
    double speed = o->threads / local; /* elements per ns */
    double lost = o->sender_works ? loop_model_transfer(model) / local : 0;
    if (lost > TRANSFER_MOST && o->threads > 0)
        return o->left / speed;
    /* In the time T the threads do T * speed - lost * y elements, where y, what workers
     * get, is the sum of (T - ready) / remote over those that are ready before T. */
    double end = o->threads > 0 ? o->left / speed : -1;
    for (int round = 0; round < 3; round++) {
        double amount = o->left, rate = speed, each = (1 - lost) / remote;
        for (int i = 0; i < o->workers; i++)
            if (end < 0 || o->ready[i] < end) {
                amount += each * o->ready[i];
                rate += each;
            }
        end = rate > 0 ? amount / rate : 0;
    }
    /* Elements don't come in halves: where there are few, nobody ends before one. */
    double one = o->threads > 0 ? local : remote;
    return end < one && o->left > o->threads ? one : end;
}

double loop_model_least(const struct loop_model *model)
{
    double each = loop_model_remote(model);
    return each > 0 && each < CHUNK_NS_LEAST ? CHUNK_NS_LEAST / each : 1;
}

double loop_model_chunk(const struct loop_model *model, double end, double ready,
                        double most)
{
    double each = loop_model_remote(model);
    if (each <= 0 || end <= ready)
        return 0;
    double share = (end - ready) / each; /* all that it is to get yet */
    if (share < 0.75 || share * each < CHUNK_NS_LEAST / 2)
        return 0;
    double chunk = share / 2, least = CHUNK_NS_LEAST / each;
    if (chunk < least)
        chunk = share < least ? share : least;
    double longest = model->remote.elements > 0 ? CHUNK_NS_MOST : CHUNK_NS_LEAST;
    if (chunk > longest / each)
        chunk = longest / each;
    if (chunk > most)
        chunk = most;
    return chunk < 1 ? 1 : chunk;
}

double loop_model_step(const struct loop_model *model, double left)
{
    double each = model->fastest, ns = left * each / STEPS;
    if (each <= 0)
        return 1;
    if (ns > STEP_NS_MOST)
        ns = STEP_NS_MOST;
    if (ns < STEP_NS_LEAST)
        ns = STEP_NS_LEAST;
    return ns < each ? 1 : ns / each;
}
