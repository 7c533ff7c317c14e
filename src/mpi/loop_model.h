/* What is known of a function as the body of loops, and what follows from that. No clock,
 * no MPI: times are nanoseconds that somebody else has measured. */
#ifndef RFAAS_MPI_LOOP_MODEL_H
#define RFAAS_MPI_LOOP_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* Time per element, of the latest elements above all. */
struct loop_rate {
    double ns, elements;
};

/* Kept with the function from one loop to the next. 0: not known yet. */
struct loop_model {
    struct loop_rate local;  /* one thread of the rank */
    double fastest;          /* its time for an element when nobody disturbs it */
    struct loop_rate remote; /* one worker that always has the next chunk at hand */
    double latency;          /* of a chunk to an idle worker, besides its elements */
    double send, receive;    /* the rank's own time for an offloaded element */
};

/* A loop at some moment. */
struct loop_outlook {
    double left;         /* elements that nobody has */
    int threads;         /* of the rank that work */
    bool sender_works;   /* one of them is the one that sends and receives */
    const double *ready; /* for each worker: ns until it could begin with more */
    int workers;
};

void loop_rate_add(struct loop_rate *rate, double ns, double elements);
/* ns per element; 0: not known */
double loop_rate_of(const struct loop_rate *rate);

/* Time of one of the threads for an element; of a worker, which is taken for as fast until
 * more is known; of the rank for an offloaded one. */
double loop_model_local(const struct loop_model *model);
double loop_model_remote(const struct loop_model *model);
double loop_model_transfer(const struct loop_model *model);

/* Measured: a chunk done by a thread of the rank; a chunk's sending or receiving; a chunk that went to an idle worker. */
void loop_model_worked(struct loop_model *model, double ns, double elements);
void loop_model_sent(struct loop_model *model, double ns, double elements);
void loop_model_received(struct loop_model *model, double ns, double elements);
void loop_model_answered(struct loop_model *model, double ns, double elements,
                         bool was_idle);

/* When threads and workers would end at the same time, in ns from now, if what is left is
 * split best. Workers that aren't ready before then get none; where elements cost more to
 * send than to do it is the threads' time alone. 0: nothing is known of the function. */
double loop_model_end(const struct loop_model *model, const struct loop_outlook *o);

/* The smallest chunk that is worth a message. */
double loop_model_least(const struct loop_model *model);

/* How many elements a worker that is ready in `ready` ns should get in its next chunk, at
 * most `most`, if all is to end in `end` ns; 0: none. */
double loop_model_chunk(const struct loop_model *model, double end, double ready,
                        double most);

/* A loop went by without a chunk for a worker: what is known of them is older now. */
void loop_model_stayed(struct loop_model *model);

/* Elements for a thread until the next look at the workers, when `left` are left. */
double loop_model_step(const struct loop_model *model, double left);

#endif
