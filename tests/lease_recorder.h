/* The lease state machine with a recorder behind it: ask, then expect what is told. */
#ifndef LEASE_RECORDER_H
#define LEASE_RECORDER_H

#include "manager/leases.h"
#include "test.h"

#include <stdint.h>

enum { ALICE = 1, BOB = 2, CAROL = 3, SECOND = 1000000000 };

/* What the machine told. `who` is an executor or an owner, `value` workers (of a grant
 * those that the lease has, of RETIRE those that stay), a status, a reason, or the first
 * worker that is lost. */
enum told { NOTHING, ASSIGN, WITHDRAW, RETIRE, GRANTED, REFUSED, PART_LOST, ENDED };
struct event {
    enum told told;
    uint64_t who, lease, part, call, token;
    long value;
    uint32_t first, workers; /* of a part */
    char text[320];
};

extern struct rfaas_leases *leases;
extern uint64_t now;
extern uint64_t calls; /* the last request's */

/* The parts of the last grant. */
extern struct rfaas_lease_part last_parts[16];
extern size_t last_part_count;

/* Fresh leases and an empty record. */
void begin(void);
/* Frees all; returns its argument. */
int recorder_end(int status);

/* The next thing told, or one that tells NOTHING. */
const struct event *next_event(void);
/* Drops the things told so far; returns how many. */
size_t skip_events(void);

/* The next thing told is this one. */
const struct event *expect(enum told told, uint64_t who, long value);
void expect_nothing(void);
void expect_grant(uint64_t owner, uint64_t lease, uint32_t executor, long workers);
void expect_refusal(uint64_t owner, int status, const char *text);
void expect_end(uint64_t owner, uint32_t executor, enum rfaas_lease_end reason);

/* An executor with 1 MiB for each core. */
void join(uint32_t id, uint32_t cores);
/* Workers of 1 core and 1 MiB for 10 s. */
struct rfaas_lease_request want(uint64_t owner, uint32_t workers,
                                uint64_t wait_seconds);
uint64_t ask(uint64_t owner, uint32_t workers, uint64_t wait_seconds);
/* A new executor with a lease on it, its telling expected. */
uint64_t leased(uint64_t owner, uint32_t executor, uint32_t cores, uint32_t workers);
/* All of the lease's parts there, or the one of this number but for `left` workers. */
int freed(uint32_t executor, uint64_t lease);
int freed_but(uint32_t executor, uint64_t part, uint32_t left);
/* A change of the lease's size, for its owner. */
void resize(uint64_t owner, uint64_t lease, uint32_t workers, uint64_t wait_seconds);
/* -1: there is no such executor. Checks that memory goes with the cores. */
long free_cores(uint32_t executor);

#endif
