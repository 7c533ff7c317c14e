/* For tests of control: messages to send, and peers that don't keep to the rules. */
#ifndef RFAAS_TEST_WIRE_H
#define RFAAS_TEST_WIRE_H

#include "control/stream.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Descriptors that are open in this process. */
int open_fds(void);

/* `count` (at most 64) descriptors of files without a name, each a file of its own. */
void make_files(int fds[], int count);
void close_files(int fds[], int count);
bool same_file(int a, int b);

/* A message of about `size` bytes with the number `call`. Valid until the next one is
 * made by the same thread. */
const Rfaas__Message *make_message(uint64_t call, size_t size);
/* Whether it is the one that make_message(call, size) makes. */
bool message_is(const Rfaas__Message *message, uint64_t call, size_t size);

/* The message as a frame that claims so many descriptors; returns its size. */
size_t make_frame(unsigned char *to, const Rfaas__Message *message, unsigned claimed);
size_t make_header(unsigned char *to, size_t length, unsigned claimed);

/* One sendmsg that goes through whole, with descriptors (at most 64) or none. */
void raw_send(int socket, const void *bytes, size_t size, const int fds[], int count);

/* Waits until the socket gives its end or an error; false after `timeout_ms`. What
 * comes before the end is dropped. */
bool raw_wait_end(int socket, int timeout_ms);

#endif
