/* Values of settings. */
#include "base/config_value.h"
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words -------------------------------------------------------------------- */

/* Place of `word` in "one|another", or -1. */
static int word_index(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (int i = 0;; i++) {
        size_t this = strcspn(words, "|");
        if (this == length && memcmp(words, word, length) == 0)
            return i;
        if (!words[this])
            return -1;
        words += this + 1;
    }
}

static void word_at(const char *words, int64_t index, char *text, size_t size)
{
    for (; index > 0 && *words; index--) {
        words += strcspn(words, "|");
        words += *words == '|';
    }
    snprintf(text, size, "%.*s", (int)strcspn(words, "|"), words);
}

/* ---- numbers ------------------------------------------------------------------ */

/* A decimal integer, no blanks before it; *end is what follows. */
static bool integer_parse(const char *text, int64_t *value, const char **end)
{
    char first = text[*text == '-'];
    if (first < '0' || first > '9')
        return false;
    char *rest;
    *value = strtoll(text, &rest, 10); /* too large a one ends out of any range here */
    *end = rest;
    return true;
}

static bool count_parse(const struct rfaas_value_kind *kind, const char *text,
                        int64_t *value)
{
    const char *end;
    return integer_parse(text, value, &end) && !*end && (double)*value >= kind->min &&
           (double)*value <= kind->max;
}

static const char suffixes[] = "KMG";

static bool bytes_parse(const struct rfaas_value_kind *kind, const char *text,
                        int64_t *value)
{
    const char *end;
    if (!integer_parse(text, value, &end) || *value < 0 || *value > kind->max)
        return false;
    if (*end) {
        const char *suffix = strchr(suffixes, *end);
        if (!suffix || end[1])
            return false;
        int shift = 10 * (int)(suffix - suffixes + 1);
        if (*value > INT64_MAX >> shift)
            return false;
        *value <<= shift;
    }
    return (double)*value >= kind->min && (double)*value <= kind->max;
}

static void bytes_format(int64_t value, char *text, size_t size)
{
    int suffix = -1;
    while (value != 0 && value % 1024 == 0 && suffix + 1 < (int)sizeof suffixes - 1) {
        value /= 1024;
        suffix++;
    }
    snprintf(text, size, "%lld%.*s", (long long)value, suffix >= 0,
             suffix >= 0 ? suffixes + suffix : "");
}

/* The decimal point is a point here, whatever the program's language. */
static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t begin_c_locale(void)
{
    pthread_once(&c_locale_once, make_c_locale);
    return uselocale(c_locale);
}

static bool real_parse(const struct rfaas_value_kind *kind, const char *text,
                       double *value)
{
    /* Neither blanks nor hexadecimal numbers nor "nan" nor "inf". */
    if (!*text || text[strspn(text, "0123456789.eE+-")])
        return false;
    char *end;
    locale_t before = begin_c_locale();
    double parsed = strtod(text, &end);
    uselocale(before);
    if (*end || !isfinite(parsed) || parsed < kind->min || parsed > kind->max)
        return false;
    *value = parsed;
    return true;
}

static void real_format(double value, char *text, size_t size)
{
    locale_t before = begin_c_locale();
    snprintf(text, size, "%.15g", value);
    uselocale(before);
}

/* ---- all ---------------------------------------------------------------------- */

static bool text_parse(const char *text, char *field, size_t size)
{
    size_t length = strlen(text);
    if (length >= size)
        return false;
    memcpy(field, text, length + 1);
    return true;
}

bool rfaas_value_parse(const struct rfaas_value_kind *kind, const char *values,
                       const char *text, void *field, size_t size)
{
    int64_t number = 0;
    bool good = false;
    if (kind->zero && strcmp(text, kind->zero) == 0) {
        *(int64_t *)field = 0;
        return true;
    }
    switch (kind->type) {
    case RFAAS_VALUE_TEXT:
        return text_parse(text, field, size);
    case RFAAS_VALUE_CHOICE:
        return word_index(values, text) >= 0 && text_parse(text, field, size);
    case RFAAS_VALUE_REAL:
        return real_parse(kind, text, field);
    case RFAAS_VALUE_INDEX:
        number = word_index(values, text);
        good = number >= 0;
        break;
    case RFAAS_VALUE_COUNT:
        good = count_parse(kind, text, &number);
        break;
    case RFAAS_VALUE_BYTES:
        good = bytes_parse(kind, text, &number);
        break;
    }
    if (good)
        *(int64_t *)field = number;
    return good;
}

void rfaas_value_format(const struct rfaas_value_kind *kind, const char *values,
                        const void *field, char *text, size_t size)
{
    if (kind->zero && *(const int64_t *)field == 0) {
        snprintf(text, size, "%s", kind->zero);
        return;
    }
    switch (kind->type) {
    case RFAAS_VALUE_TEXT:
    case RFAAS_VALUE_CHOICE:
        snprintf(text, size, "%s", (const char *)field);
        break;
    case RFAAS_VALUE_INDEX:
        word_at(values, *(const int64_t *)field, text, size);
        break;
    case RFAAS_VALUE_COUNT:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)field);
        break;
    case RFAAS_VALUE_BYTES:
        bytes_format(*(const int64_t *)field, text, size);
        break;
    case RFAAS_VALUE_REAL:
        real_format(*(const double *)field, text, size);
        break;
    }
}
