/* JSON as text: a value is where it begins and ends; nothing is copied. */
#ifndef PCMREF_JSON_H
#define PCMREF_JSON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *begin, *end;
} pcmref_json;

/* Cut off white space around a document; return 0 unless it is one valid value, nested at most 64 deep. */
int pcmref_json_document(pcmref_json *document);

/* Find a member of an object; return 0 if it is no object, or has none of that name. */
int pcmref_json_member(pcmref_json object, const char *name, pcmref_json *value);

/* Step to the next element of an array: `place` begins as {NULL, NULL}.  Return 0 at the end, or if it is no array. */
int pcmref_json_next(pcmref_json array, pcmref_json *place);

/* Return 1 if a value is this text: a string without escapes, or null, true, false. */
int pcmref_json_is(pcmref_json value, const char *text);

/* Read an integer from `low` to `high`; return 0 if it is none. */
int pcmref_json_integer(pcmref_json value, long long low, long long high, long long *n);

/* Write a value without spaces, the members of its objects in the order of their names, into `out`, which has room for
 * value.end - value.begin characters.  Members of the outermost object that `without` names (a list that ends in NULL) are
 * left out.  Returns the end of what was written, or NULL if an object has more than 4096 members or one of them twice.
 */
char *pcmref_json_sorted(pcmref_json value, const char *const *without, char *out);

#ifdef __cplusplus
}
#endif

#endif
