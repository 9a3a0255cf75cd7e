/* Handles are numbers: a place in a table, and how often it was used, so that a closed one is not taken for its successor. */
#ifndef PCMREF_HANDLES_H
#define PCMREF_HANDLES_H

#ifdef __cplusplus
extern "C" {
#endif

enum { PCMREF_PLACES = 1024 };

typedef struct {
    struct {
        void *open;
        int used;
    } places[PCMREF_PLACES];
} pcmref_handles;

/* Return a handle of something; 0 if no place is left. */
int pcmref_handle_new(pcmref_handles *table, void *open);

/* Return what a handle is of; NULL if it is not open. */
void *pcmref_handle_get(const pcmref_handles *table, int handle);

/* Let an open handle be of something else; of NULL, to close it. */
void pcmref_handle_set(pcmref_handles *table, int handle, void *open);

#ifdef __cplusplus
}
#endif

#endif
