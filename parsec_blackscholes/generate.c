#include "generate.h"

#include "file.h"
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines of text that are written again and again. */
struct text {
    char *bytes;
    size_t size;
    int lines;
};

/* Blocks of this size are written about as fast as the disk takes them. */
static const size_t block_size = 1 << 20;

/* Reads the file's options, only to find out whether they are right. */
static bool check_options(const struct input *in, char *problem)
{
    struct progress none = {0};
    struct stock_option *options = calloc((size_t)in->size, sizeof *options);
    float *references = calloc((size_t)in->size, sizeof *references);
    bool well = options != NULL && references != NULL
                    ? input_read(in, options, references, &none, problem)
                    : problem_set(problem, "out of memory");
    free(options);
    free(references);
    return well;
}

/* The lines of the file, as often as they fit into a block, but at least once. */
static bool read_text(const struct input *in, struct text *text, char *problem)
{
    size_t size = (size_t)(in->end - in->begin) + 1; /* for a last line without end */
    size_t copies = size < block_size ? block_size / size : 1;
    text->bytes = malloc(size * copies);
    if (text->bytes == NULL)
        return problem_set(problem, "out of memory");
    ssize_t n = input_bytes(in, text->bytes, size - 1, in->begin, problem);
    if (n < 0)
        return false;
    if ((size_t)n != size - 1)
        return problem_set(problem, "%s: changed while it was read", in->path);
    if (text->bytes[n - 1] != '\n')
        text->bytes[n++] = '\n';
    for (size_t i = 1; i < copies; i++)
        memcpy(text->bytes + i * (size_t)n, text->bytes, (size_t)n);
    text->size = (size_t)n * copies;
    text->lines = in->count * (int)copies;
    return true;
}

static bool read_source(const char *from, struct text *text, char *problem)
{
    struct input in;
    if (!input_open(&in, from, 0, 1, problem))
        return false;
    bool well = input_check_count(&in, in.size, problem) &&
                check_options(&in, problem) && read_text(&in, text, problem);
    input_close(&in);
    return well;
}

/* The size of the first `lines` lines. */
static size_t first_lines(const struct text *text, int lines)
{
    const char *p = text->bytes;
    for (; lines > 0; lines--)
        p = (const char *)memchr(p, '\n', text->size) + 1;
    return (size_t)(p - text->bytes);
}

static bool write_options(struct file *file, const struct text *text, int count,
                          struct progress *progress, char *problem)
{
    char head[16];
    int n = snprintf(head, sizeof head, "%d\n", count);
    if (!file_write(file, head, (size_t)n, problem))
        return false;
    for (int left = count; left > 0;) {
        int lines = left < text->lines ? left : text->lines;
        size_t size = lines < text->lines ? first_lines(text, lines) : text->size;
        if (!file_write(file, text->bytes, size, problem))
            return false;
        left -= lines;
        progress_add(progress, lines);
    }
    return true;
}

bool generate(const char *path, int count, const char *from, bool show_progress,
              char *problem)
{
    struct text text = {0};
    struct progress progress;
    struct file file;
    bool well = read_source(from, &text, problem) && file_create(&file, path, problem);
    if (well) {
        progress_begin(&progress, "generate", count, show_progress);
        well = write_options(&file, &text, count, &progress, problem) &&
               file_finish(&file, problem);
        progress_end(&progress);
    }
    free(text.bytes);
    return well;
}
