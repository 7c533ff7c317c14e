#include "output.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_SIZE = 1 << 20 };

/* Writes x with that many digits. */
static char *write_digits(char *text, int digits, uint32_t x)
{
    for (int i = digits - 1; i >= 0; i--) {
        text[i] = (char)('0' + x % 10);
        x /= 10;
    }
    return text + digits;
}

static int count_digits(uint32_t x)
{
    int n = 1;
    while (x >= 10) {
        x /= 10;
        n++;
    }
    return n;
}

/* Floats from 2^-10 up to 2^24 are integers below 2^58 over 2^34: 18 decimals come
 * from them by integer arithmetic, nine at a time so that nothing overflows, and
 * several times as fast as from printf, which does the others. What is cut off
 * behind the last decimal rounds as in printf: to the nearest, a half to the even
 * digit. */
int output_format(char text[PRICE_SIZE], float price)
{
    const uint64_t billion = 1000000000, one = (uint64_t)1 << 34;
    if (!(price >= 0x1p-10f && price < 0x1p24f))
        return snprintf(text, PRICE_SIZE, "%.18f\n", (double)price);
    uint64_t scaled = (uint64_t)(price * 0x1p34f);
    uint64_t whole = scaled / one;
    uint64_t next = scaled % one * billion;
    uint64_t high = next / one;
    next = next % one * billion;
    uint64_t low = next / one, cut = next % one;
    low += cut > one / 2 || (cut == one / 2 && low % 2 == 1);
    high += low / billion;
    whole += high / billion;
    char *p = write_digits(text, count_digits((uint32_t)whole), (uint32_t)whole);
    *p++ = '.';
    p = write_digits(p, 9, (uint32_t)(high % billion));
    p = write_digits(p, 9, (uint32_t)(low % billion));
    *p++ = '\n';
    *p = '\0';
    return (int)(p - text);
}

static bool write_lines(struct file *file, char *buffer, const float *prices, int n,
                        struct progress *progress, char *problem)
{
    int written = 0;
    size_t used = (size_t)snprintf(buffer, BUFFER_SIZE, "%d\n", n);
    for (int i = 0; i < n; i++) {
        used += (size_t)output_format(buffer + used, prices[i]);
        if (used + PRICE_SIZE <= BUFFER_SIZE && i + 1 < n)
            continue;
        if (!file_write(file, buffer, used, problem))
            return false;
        progress_add(progress, i - written);
        written = i;
        used = 0;
    }
    return true;
}

bool output_write(struct file *file, const float *prices, int n,
                  struct progress *progress, char *problem)
{
    char *buffer = malloc(BUFFER_SIZE);
    if (buffer == NULL) {
        file_discard(file);
        return problem_set(problem, "out of memory");
    }
    bool well = write_lines(file, buffer, prices, n, progress, problem);
    free(buffer);
    return well;
}
