#define _GNU_SOURCE /* memrchr */
#include "input.h"

#include "parse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files are read in blocks: memory doesn't grow with the file, and a file that shrinks
 * meanwhile gives an error, where mmap would give a SIGBUS. */
enum { BLOCK_SIZE = 1 << 20, COUNT_LINE_SIZE = 64 };

static bool wrong_line(const struct input *in, int64_t line, const char *expected,
                       const char *at, char *problem)
{
    char found[EXCERPT_SIZE];
    parse_excerpt(at, found);
    return problem_set(problem, "%s:%" PRId64 ": expected %s, found %s", in->path, line,
                       expected, found);
}

static bool wrong_system_call(const struct input *in, const char *what, char *problem)
{
    return problem_set(problem, "%s: cannot %s: %s", in->path, what, strerror(errno));
}

static bool has_changed(const struct input *in, char *problem)
{
    return problem_set(problem, "%s: changed while it was read", in->path);
}

ssize_t input_bytes(const struct input *in, void *buffer, size_t n, off_t offset,
                    char *problem)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = pread(in->fd, (char *)buffer + got, n - got, offset + (off_t)got);
        if (k == 0)
            break;
        if (k < 0 && errno != EINTR) {
            wrong_system_call(in, "read", problem);
            return -1;
        }
        got += k > 0 ? (size_t)k : 0;
    }
    return (ssize_t)got;
}

/* Reads the first line. Returns the offset of the second, or -1. */
static off_t read_count(struct input *in, char *problem)
{
    char line[COUNT_LINE_SIZE];
    const char *at;
    ssize_t n = input_bytes(in, line, sizeof line - 1, 0, problem);
    if (n < 0)
        return -1;
    if (n == 0) {
        problem_set(problem,
                    "%s:1: expected the number of options, found an empty file",
                    in->path);
        return -1;
    }
    line[n] = '\n'; /* where the file ends, or far behind any number */
    const char *expected = parse_count(line, &in->count, &at);
    if (expected != NULL) {
        wrong_line(in, 1, expected, at, problem);
        return -1;
    }
    return at + 1 - line < n ? at + 1 - line : n;
}

/* Finds where the first line begins that does so at `offset` or later. The bytes before
 * `body` belong to the first line of the file. -1: a problem. */
static off_t find_line(const struct input *in, off_t offset, off_t body, off_t size,
                       char *problem)
{
    char block[4096];
    if (offset <= body)
        return body;
    for (off_t at = offset - 1; at < size; at += sizeof block) {
        ssize_t n = input_bytes(in, block, sizeof block, at, problem);
        if (n < 0)
            return -1;
        const char *newline = memchr(block, '\n', (size_t)n);
        if (newline != NULL)
            return at + (newline - block) + 1;
    }
    return size;
}

static bool count_lines(struct input *in, char *buffer, char *problem)
{
    char last = '\n';
    in->size = 0;
    for (off_t at = in->begin; at < in->end;) {
        off_t want = in->end - at < BLOCK_SIZE ? in->end - at : BLOCK_SIZE;
        ssize_t n = input_bytes(in, buffer, (size_t)want, at, problem);
        if (n < 0)
            return false;
        if (n < want)
            return has_changed(in, problem);
        const char *end = buffer + n;
        for (const char *p = buffer; (p = memchr(p, '\n', (size_t)(end - p))); p++)
            in->size++;
        last = end[-1];
        at += n;
    }
    in->size += last != '\n'; /* the last line of the file may lack its end */
    return true;
}

static bool find_part(struct input *in, int part, int parts, char *problem)
{
    struct stat status;
    off_t body = read_count(in, problem);
    if (body < 0)
        return false;
    if (fstat(in->fd, &status) != 0)
        return wrong_system_call(in, "stat", problem);
    /* In this order, as size x parts might not fit into an off_t. */
    off_t length = status.st_size - body, share = length / parts, more = length % parts;
    off_t from = body + share * part + more * part / parts;
    off_t to = body + share * (part + 1) + more * (part + 1) / parts;
    in->begin = find_line(in, from, body, status.st_size, problem);
    if (in->begin < 0)
        return false;
    in->end = find_line(in, to, body, status.st_size, problem);
    if (in->end < 0)
        return false;
    char *buffer = malloc(BLOCK_SIZE);
    if (buffer == NULL)
        return problem_set(problem, "out of memory");
    bool well = count_lines(in, buffer, problem);
    free(buffer);
    return well;
}

bool input_open(struct input *in, const char *path, int part, int parts, char *problem)
{
    struct stat status;
    *in = (struct input){.path = path};
    /* Not blocking, so that a pipe without a writer is refused as well. */
    in->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (in->fd < 0)
        return wrong_system_call(in, "open", problem);
    if (fstat(in->fd, &status) != 0)
        wrong_system_call(in, "stat", problem);
    else if (!S_ISREG(status.st_mode))
        problem_set(problem, "%s: expected a regular file, found %s", path,
                    S_ISDIR(status.st_mode) ? "a directory" : "a device or pipe");
    else if (find_part(in, part, parts, problem))
        return true;
    input_close(in);
    return false;
}

void input_close(struct input *in)
{
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
}

bool input_check_count(const struct input *in, int64_t lines, char *problem)
{
    if (lines < in->count)
        return problem_set(problem,
                           "%s:%" PRId64 ": expected option %" PRId64
                           " of %d, found the end of the file",
                           in->path, lines + 2, lines + 1, in->count);
    if (lines > in->count)
        return problem_set(problem,
                           "%s:%" PRId64 ": expected the end of the file after %d "
                           "options, found %" PRId64 " more lines",
                           in->path, (int64_t)in->count + 2, in->count,
                           lines - in->count);
    return true;
}

/* What input_read has done so far: `lines` options. */
struct reading {
    const struct input *in;
    struct stock_option *options;
    float *references;
    int64_t lines;
};

/* Parses the lines that end before `end`. Returns the beginning of the next, or
 * NULL. */
static const char *read_lines(struct reading *r, const char *line, const char *end,
                              char *problem)
{
    while (line < end) {
        const char *at;
        if (r->lines == r->in->size) {
            has_changed(r->in, problem);
            return NULL;
        }
        const char *expected =
            parse_option(line, &r->options[r->lines], &r->references[r->lines], &at);
        if (expected != NULL) {
            wrong_line(r->in, r->in->first + r->lines + 2, expected, at, problem);
            return NULL;
        }
        r->lines++;
        line = at + 1;
    }
    return line;
}

static bool read_blocks(struct reading *r, char *buffer, struct progress *progress,
                        char *problem)
{
    size_t kept = 0; /* bytes of a line that the last block has begun */
    for (off_t next = r->in->begin; next < r->in->end;) {
        off_t want = r->in->end - next, room = (off_t)(BLOCK_SIZE - kept);
        want = want < room ? want : room;
        ssize_t n = input_bytes(r->in, buffer + kept, (size_t)want, next, problem);
        if (n < 0)
            return false;
        if (n < want)
            return has_changed(r->in, problem);
        next += n;
        size_t filled = kept + (size_t)n;
        if (next == r->in->end && buffer[filled - 1] != '\n')
            buffer[filled++] = '\n';
        const char *end = memrchr(buffer, '\n', filled);
        if (end == NULL) {
            buffer[filled] = '\n';
            return wrong_line(r->in, r->in->first + r->lines + 2,
                              "a line of less than 1 MiB", buffer, problem);
        }
        const char *rest = read_lines(r, buffer, end + 1, problem);
        if (rest == NULL)
            return false;
        kept = filled - (size_t)(rest - buffer);
        memmove(buffer, rest, kept);
        progress_add(progress, (double)n);
    }
    return r->lines == r->in->size || has_changed(r->in, problem);
}

bool input_read(const struct input *in, struct stock_option *options, float *references,
                struct progress *progress, char *problem)
{
    struct reading r = {.in = in, .options = options, .references = references};
    char *buffer = malloc(BLOCK_SIZE + 1);
    if (buffer == NULL)
        return problem_set(problem, "out of memory");
    bool well = read_blocks(&r, buffer, progress, problem);
    free(buffer);
    return well;
}
