#include "parse.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum range { ANY, POSITIVE, NOT_NEGATIVE, ZERO };

enum {
    SPOT,
    STRIKE,
    RATE,
    YIELD,
    VOLATILITY,
    TIME,
    TYPE,
    DIVIDENDS,
    REFERENCE,
    FIELDS
};

static const struct {
    enum range range;
    const char *expected;
} fields[FIELDS] = {
    [SPOT] = {POSITIVE, "a spot price above 0"},
    [STRIKE] = {POSITIVE, "a strike price above 0"},
    [RATE] = {ANY, "an interest rate"},
    [YIELD] = {ZERO, "a dividend rate of 0 (dividends are not priced)"},
    [VOLATILITY] = {NOT_NEGATIVE, "a volatility of at least 0"},
    [TIME] = {NOT_NEGATIVE, "a time of at least 0"},
    [TYPE] = {ANY, "C or P"},
    [DIVIDENDS] = {ZERO, "dividends of 0 (dividends are not priced)"},
    [REFERENCE] = {ANY, "a reference price"},
};

static bool is_digit(char c)
{
    return (unsigned)(c - '0') <= 9;
}

/* '\r' counts as blank, so that files with CRLF line ends are read as well. */
static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static const char *skip_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* Appends the digits at p to x, as long as there is room: 19 fit into 64 bits. */
static const char *scan_digits(const char *p, uint64_t *x, int *room)
{
    uint64_t y = *x;
    const char *start = p;
    for (const char *end = p + *room; p < end && is_digit(*p); p++)
        y = y * 10 + (uint64_t)(*p - '0');
    *x = y;
    *room -= (int)(p - start);
    return p;
}

static const char *skip_digits(const char *p)
{
    while (is_digit(*p))
        p++;
    return p;
}

/* Returns the end of the exponent at p, p itself where there is none. */
static const char *scan_exponent(const char *p)
{
    if (*p != 'e' && *p != 'E')
        return p;
    const char *q = p + 1;
    q += *q == '-' || *q == '+';
    if (!is_digit(*q))
        return p;
    while (is_digit(*q))
        q++;
    return q;
}

/* Returns the end of the number at p, or NULL if there is none or a float can't hold
 * it.
 *
 * Numbers as they are usually written take the short way: an integer of up to 19
 * digits, at least 17 of them significant if others have to be left out, and an
 * exact power of ten: so the quotient is right to the last bits of a double, and
 * thus as a float. It is several times as fast as strtod, which does the rest. What
 * belongs to the number is decided here in any case: strtod would also take "nan" or
 * "0x1p3". */
static const char *scan_number(const char *p, float *value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                    1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                    1e14, 1e15, 1e16, 1e17, 1e18, 1e19};
    const uint64_t enough = 10000000000000000; /* 10^16: 17 digits */
    const char *start = p;
    uint64_t digits = 0;
    int room = 19, decimals = 0;
    p += *p == '-' || *p == '+';
    const char *whole = p;
    p = scan_digits(p, &digits, &room);
    bool is_short = !is_digit(*p);
    p = skip_digits(p);
    bool has_digits = p > whole;
    if (*p == '.') {
        const char *fraction = ++p;
        p = scan_digits(p, &digits, &room);
        decimals = (int)(p - fraction);
        is_short = is_short && (!is_digit(*p) || digits >= enough);
        p = skip_digits(p);
        has_digits = has_digits || p > fraction;
    }
    const char *end = scan_exponent(p);
    if (!has_digits)
        return NULL;
    double x = is_short && end == p ? (double)digits / powers[decimals]
                                    : fabs(strtod(start, NULL));
    *value = (float)(*start == '-' ? -x : x);
    return isfinite(*value) ? end : NULL;
}

static bool in_range(float x, enum range range)
{
    switch (range) {
    case POSITIVE:
        return x > 0;
    case NOT_NEGATIVE:
        return x >= 0;
    case ZERO:
        return x == 0;
    default:
        return true;
    }
}

const char *parse_option(const char *line, struct stock_option *option,
                         float *reference, const char **at)
{
    float value[FIELDS];
    const char *p = line;
    for (int i = 0; i < FIELDS; i++) {
        *at = p = skip_blanks(p);
        if (i == TYPE) {
            value[i] = *p;
            p = *p == 'C' || *p == 'P' ? p + 1 : NULL;
        } else {
            p = scan_number(p, &value[i]);
        }
        if (p == NULL || !(is_blank(*p) || *p == '\n') ||
            !in_range(value[i], fields[i].range))
            return fields[i].expected;
    }
    *at = p = skip_blanks(p);
    if (*p != '\n')
        return "the end of the line";
    option->spot = value[SPOT];
    option->strike = value[STRIKE];
    option->rate = value[RATE];
    option->volatility = value[VOLATILITY];
    option->time = value[TIME];
    option->type = (int32_t)value[TYPE];
    *reference = value[REFERENCE];
    return NULL;
}

const char *parse_count(const char *line, int *count, const char **at)
{
    int64_t n = 0;
    const char *p = skip_blanks(line);
    *at = p;
    for (; is_digit(*p) && n <= INT_MAX; p++)
        n = n * 10 + (*p - '0');
    if (n < 1 || n > INT_MAX || !(is_blank(*p) || *p == '\n'))
        return "the number of options, 1 to 2147483647";
    *at = p = skip_blanks(p);
    if (*p != '\n')
        return "the end of the line";
    *count = (int)n;
    return NULL;
}

void parse_excerpt(const char *at, char excerpt[EXCERPT_SIZE])
{
    size_t n = 0;
    if (*at == '\n') {
        strcpy(excerpt, "the end of the line");
        return;
    }
    excerpt[n++] = '"';
    while (n < EXCERPT_SIZE - 6 && !is_blank(*at) && *at != '\n') {
        excerpt[n++] = *at > ' ' && *at <= '~' ? *at : '?';
        at++;
    }
    strcpy(excerpt + n, is_blank(*at) || *at == '\n' ? "\"" : "...\"");
}
