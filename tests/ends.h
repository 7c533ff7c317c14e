/* For tests of control: a stream and the bare socket at its other end. */
#ifndef RFAAS_TEST_ENDS_H
#define RFAAS_TEST_ENDS_H

#include "control/stream.h"

enum { MESSAGE_MAX = 1 << 20, FDS_MAX = RFAAS_STREAM_FDS_MAX };

extern struct rfaas_stream *stream; /* the end under test */
extern int raw;                     /* the other one; -1 when it is closed or taken */
extern int fds_before;              /* open descriptors at begin() */

void begin(void);
void end(void); /* checks that no descriptor is left */

/* Makes a stream of the other end too. */
struct rfaas_stream *other_stream(void);

/* That the stream's next message is make_message(call, size), with these files. */
void expect_message(uint64_t call, size_t size, const int files[], int count);
/* That asking for a message gives this status and an error with this text. */
void expect_status(int status, const char *text);
void expect_nothing(void);

#endif
