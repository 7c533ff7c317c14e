/* Values of settings: text to field and back. Part of config.c. */
#ifndef RFAAS_BASE_CONFIG_VALUE_H
#define RFAAS_BASE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

enum rfaas_value_type {
    RFAAS_VALUE_TEXT,   /* char[]: anything that fits */
    RFAAS_VALUE_CHOICE, /* char[]: one of the words in `values`, "one|another" */
    RFAAS_VALUE_INDEX,  /* int64_t: likewise, as the word's number */
    RFAAS_VALUE_COUNT,  /* int64_t */
    RFAAS_VALUE_BYTES,  /* int64_t: with K, M or G for powers of 1024 */
    RFAAS_VALUE_REAL,   /* double */
};

struct rfaas_value_kind {
    enum rfaas_value_type type;
    double min, max;  /* of numbers; exact below 2^53 */
    const char *zero; /* a word that stands for 0 */
};

/* Whether the text is such a value; only then the field is written. */
bool rfaas_value_parse(const struct rfaas_value_kind *kind, const char *values,
                       const char *text, void *field, size_t size);

/* The field's value as a text that rfaas_value_parse takes. */
void rfaas_value_format(const struct rfaas_value_kind *kind, const char *values,
                        const void *field, char *text, size_t size);

#endif
