#include "pcmref_json.h"

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64, MOST_MEMBERS = 4096 };

static const char *space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

static int is_digit(const char *at, const char *end) { return at < end && *at >= '0' && *at <= '9'; }

static const char *digits(const char *at, const char *end) {
    if (!is_digit(at, end)) return NULL;
    while (is_digit(at, end)) at++;
    return at;
}

/* Each of these returns the end of what begins at `at`, or NULL if it is not valid. */

static const char *string(const char *at, const char *end) {
    if (at >= end || *at != '"') return NULL;
    for (at++; at < end && (unsigned char)*at >= 0x20; at++) {
        if (*at == '"') return at + 1;
        if (*at == '\\' && ++at >= end) return NULL;
    }
    return NULL;
}

static const char *number(const char *at, const char *end) {
    if (at < end && *at == '-') at++;
    if (at + 1 < end && *at == '0' && is_digit(at + 1, end)) return NULL;
    at = digits(at, end);
    if (at != NULL && at < end && *at == '.') at = digits(at + 1, end);
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        at = digits(at, end);
    }
    return at;
}

static const char *word(const char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    return (size_t)(end - at) >= length && memcmp(at, text, length) == 0 ? at + length : NULL;
}

static const char *value_at(const char *at, const char *end, int depth) {
    char open;
    if (at >= end) return NULL;
    open = *at;
    if (open == '"') return string(at, end);
    if (open == 't') return word(at, end, "true");
    if (open == 'f') return word(at, end, "false");
    if (open == 'n') return word(at, end, "null");
    if (open != '[' && open != '{') return number(at, end);
    if (depth >= DEEPEST) return NULL;
    at = space(at + 1, end);
    if (at < end && *at == (open == '[' ? ']' : '}')) return at + 1;
    for (;;) {
        if (open == '{') {
            at = string(at, end);
            if (at == NULL) return NULL;
            at = space(at, end);
            if (at >= end || *at != ':') return NULL;
            at = space(at + 1, end);
        }
        at = value_at(at, end, depth + 1);
        if (at == NULL) return NULL;
        at = space(at, end);
        if (at >= end) return NULL;
        if (*at == (open == '[' ? ']' : '}')) return at + 1;
        if (*at != ',') return NULL;
        at = space(at + 1, end);
    }
}

int pcmref_json_document(pcmref_json *document) {
    const char *end;
    document->begin = space(document->begin, document->end);
    end = value_at(document->begin, document->end, 0);
    if (end == NULL || space(end, document->end) != document->end) return 0;
    document->end = end;
    return 1;
}

int pcmref_json_is(pcmref_json value, const char *text) {
    if (value.begin < value.end && *value.begin == '"') {
        value.begin++;
        value.end--;
    }
    return (size_t)(value.end - value.begin) == strlen(text) && memcmp(value.begin, text, strlen(text)) == 0;
}

/* Step to the next member of an object: `*at` begins as NULL.  Return 0 at the end, or if it is no object. */
static int next_member(pcmref_json object, const char **at, pcmref_json *key, pcmref_json *value) {
    const char *place = *at;
    if (object.begin >= object.end || *object.begin != '{') return 0;
    place = space(place == NULL ? object.begin + 1 : place, object.end);
    if (*at != NULL && *place == ',') place = space(place + 1, object.end);
    if (*place == '}') return 0;
    key->begin = place;
    key->end = string(place, object.end);
    place = space(key->end, object.end);
    value->begin = space(place + 1, object.end);
    value->end = value_at(value->begin, object.end, 0);
    *at = value->end;
    return 1;
}

int pcmref_json_member(pcmref_json object, const char *name, pcmref_json *value) {
    const char *at = NULL;
    pcmref_json key;
    while (next_member(object, &at, &key, value))
        if (pcmref_json_is(key, name)) return 1;
    return 0;
}

int pcmref_json_next(pcmref_json array, pcmref_json *place) {
    const char *at;
    if (array.begin >= array.end || *array.begin != '[') return 0;
    at = space(place->end == NULL ? array.begin + 1 : place->end, array.end);
    if (place->end != NULL && *at == ',') at = space(at + 1, array.end);
    if (*at == ']') return 0;
    place->begin = at;
    place->end = value_at(at, array.end, 0);
    return 1;
}

int pcmref_json_integer(pcmref_json value, long long low, long long high, long long *n) {
    unsigned long long size = 0, most = ~0ULL >> 1;
    const char *at = value.begin;
    int negative = at < value.end && *at == '-';
    if (negative) at++;
    if (at == value.end) return 0;
    for (; at < value.end; at++) {
        if (*at < '0' || *at > '9' || size > (most - 9) / 10) return 0;
        size = 10 * size + (unsigned long long)(*at - '0');
    }
    *n = negative ? -(long long)size : (long long)size;
    return *n >= low && *n <= high;
}

/* Sorting, as Python sorts names: by code points */

typedef struct {
    pcmref_json key, value;
} member;

static long hexadecimal(const char *at) {
    long n = 0;
    int place;
    for (place = 0; place < 4; place++) {
        const char *found = at[place] == 0 ? NULL : strchr("0123456789abcdef", at[place] | 0x20);
        n = 16 * n + (found == NULL ? 0 : (long)(found - "0123456789abcdef"));
    }
    return n;
}

/* The character at `*at`, which steps over it; -1 at the end of the name. */
static long character(const char **at, const char *end) {
    const char *place = *at, *known = "\"\\/bfnrt", *meant = "\"\\/\b\f\n\r\t";
    if (place >= end) return -1;
    *at = place + 1;
    if (*place != '\\' || place + 1 >= end) return (unsigned char)*place;
    *at = place + 2;
    if (place[1] == 'u' && end - place >= 6) {
        long n = hexadecimal(place + 2);
        *at = place + 6;
        return n >= 0xd800 && n < 0xe000 ? n + 0x10000 : n; /* half of a character beyond all that need no halves */
    }
    return place[1] != 0 && strchr(known, place[1]) != NULL ? meant[strchr(known, place[1]) - known] : place[1];
}

static int by_name(const void *left, const void *right) {
    pcmref_json a = ((const member *)left)->key, b = ((const member *)right)->key;
    const char *i = a.begin + 1, *j = b.begin + 1;
    long x, y;
    do {
        x = character(&i, a.end - 1);
        y = character(&j, b.end - 1);
    } while (x == y && x >= 0);
    return x < y ? -1 : x > y;
}

static char *copied(pcmref_json value, char *out) {
    size_t size = (size_t)(value.end - value.begin);
    memcpy(out, value.begin, size);
    return out + size;
}

static int named(pcmref_json key, const char *const *names) {
    for (; *names != NULL; names++)
        if (pcmref_json_is(key, *names)) return 1;
    return 0;
}

static char *sorted_object(pcmref_json object, const char *const *without, char *out) {
    static const char *const none[] = {NULL};
    member *members = (member *)malloc(MOST_MEMBERS * sizeof *members), each;
    const char *at = NULL;
    int count = 0, number;
    if (members == NULL) return NULL;
    while (count < MOST_MEMBERS && next_member(object, &at, &each.key, &each.value))
        if (!named(each.key, without)) members[count++] = each;
    qsort(members, (size_t)count, sizeof *members, by_name);
    *out++ = '{';
    for (number = 0; number < count && out != NULL; number++) {
        if (count == MOST_MEMBERS || (number > 0 && by_name(members + number - 1, members + number) == 0)) {
            out = NULL;
            break;
        }
        if (number > 0) *out++ = ',';
        out = copied(members[number].key, out);
        *out++ = ':';
        out = pcmref_json_sorted(members[number].value, none, out);
    }
    free(members);
    if (out != NULL) *out++ = '}';
    return out;
}

char *pcmref_json_sorted(pcmref_json value, const char *const *without, char *out) {
    pcmref_json place = {NULL, NULL};
    int first = 1;
    if (*value.begin == '{') return sorted_object(value, without, out);
    if (*value.begin != '[') return copied(value, out);
    *out++ = '[';
    while (pcmref_json_next(value, &place)) {
        if (!first) *out++ = ',';
        first = 0;
        out = pcmref_json_sorted(place, without, out);
        if (out == NULL) return NULL;
    }
    *out++ = ']';
    return out;
}
