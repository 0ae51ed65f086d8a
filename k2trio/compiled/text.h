/* What bytes look like: literals, integers, strings, ASCII. */
#ifndef K2TRIO_TEXT_H
#define K2TRIO_TEXT_H

#include "common.h"

/* Printable ASCII that stands for itself in a JSON string. */
static unsigned char plain[256];

static void
plain_init(void)
{
    for (int byte = 0x20; byte < 0x7f; byte++) {
        plain[byte] = byte != '"' && byte != '\\';
    }
}

typedef struct {
    const char *at, *end;
} Cursor;

static inline Py_ssize_t
left(const Cursor *cursor)
{
    return cursor->end - cursor->at;
}

/* Bytes that have to stand somewhere, and masked words of them: two loads compare up to sixteen. */
typedef struct {
    Py_ssize_t size;
    uint64_t word[2], mask[2];
    char bytes[MAX_LITERAL];
} Literal;

static void
literal_init(Literal *literal, const char *bytes, Py_ssize_t size)
{
    unsigned char padded[16] = {0}, mask[16] = {0};
    Py_ssize_t head = size < 16 ? size : 16;
    memcpy(padded, bytes, (size_t)head);
    memset(mask, 0xff, (size_t)head);
    memcpy(literal->word, padded, 16);
    memcpy(literal->mask, mask, 16);
    memcpy(literal->bytes, bytes, (size_t)size);
    literal->size = size;
}

static inline int
skip(Cursor *cursor, const Literal *literal)
{
    Py_ssize_t size = literal->size;
    if (left(cursor) >= 16) {
        uint64_t word[2];
        memcpy(word, cursor->at, 16);
        if ((word[0] & literal->mask[0]) != literal->word[0]
            || (word[1] & literal->mask[1]) != literal->word[1]) {
            return 0;
        }
        if (size > 16
            && (left(cursor) < size
                || memcmp(cursor->at + 16, literal->bytes + 16, (size_t)size - 16) != 0)) {
            return 0;
        }
    }
    else if (left(cursor) < size || memcmp(cursor->at, literal->bytes, (size_t)size) != 0) {
        return 0;
    }
    cursor->at += size;
    return 1;
}

static inline int
skip_byte(Cursor *cursor, char byte)
{
    if (left(cursor) < 1 || *cursor->at != byte) {
        return 0;
    }
    cursor->at++;
    return 1;
}

static inline int
skip_bytes(Cursor *cursor, const char *bytes, Py_ssize_t size)
{
    if (left(cursor) < size || memcmp(cursor->at, bytes, (size_t)size) != 0) {
        return 0;
    }
    cursor->at += size;
    return 1;
}

/* An integer as JSON has it, of up to MAX_DIGITS; negative ones where they may be. */
static inline int
skip_integer(Cursor *cursor, int may_be_negative, int64_t *value)
{
    const char *at = cursor->at, *end = cursor->end;
    int negative = 0;
    if (may_be_negative && at < end && *at == '-') {
        negative = 1;
        at++;
    }
    const char *first = at;
    int64_t found = 0;
    while (at < end && (unsigned char)(*at - '0') < 10) {
        if (at - first == MAX_DIGITS) {
            return 0;
        }
        found = found * 10 + (*at++ - '0');
    }
    if (at == first || (*first == '0' && at - first > 1) || (negative && found == 0)) {
        return 0;
    }
    cursor->at = at;
    *value = negative ? -found : found;
    return 1;
}

/* A string of plain characters: where they begin, and how many they are. */
static inline int
skip_string(Cursor *cursor, const char **first, Py_ssize_t *size)
{
    const char *at = cursor->at, *end = cursor->end;
    if (at >= end || *at != '"') {
        return 0;
    }
    *first = ++at;
    while (at < end && plain[(unsigned char)*at]) {
        at++;
    }
    if (at >= end || *at != '"') {
        return 0;
    }
    *size = at - *first;
    cursor->at = at + 1;
    return 1;
}

static inline PyObject *
ascii(const char *first, Py_ssize_t size)
{
    PyObject *text = PyUnicode_New(size, 127);
    if (text != NULL && size > 0) {
        memcpy(PyUnicode_1BYTE_DATA(text), first, (size_t)size);
    }
    return text;
}

static inline int
is_ascii(const char *at, Py_ssize_t size)
{
    uint64_t high = 0, word;
    Py_ssize_t done = 0;
    for (; done + 8 <= size; done += 8) {
        memcpy(&word, at + done, 8);
        high |= word;
    }
    for (; done < size; done++) {
        high |= (unsigned char)at[done];
    }
    return (high & 0x8080808080808080u) == 0;
}

#endif
