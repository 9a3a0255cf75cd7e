/* A tile of a golden case, from its folder. */
#ifndef PCMREF_CASE_H
#define PCMREF_CASE_H

#include "pcmref_tile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An array of the case: integers, or float64 numbers. */
typedef struct {
    char *name; /* without its tile */
    int expected; /* 1 if it is an answer */
    int axes;
    long long shape[4], count;
    long long *n;
    double *x;
} pcmref_case_array;

/* Vectors `first` to `last - 1` meet matrix number `matrix`. */
typedef struct {
    long long first, last;
    int matrix;
} pcmref_case_group;

typedef struct {
    pcmref_tile tile;
    int noisy;
    int matrices, selected;
    long long vectors;
    pcmref_case_array *arrays;
    long long array_count;
    int *matrix_arrays; /* which array is which matrix */
    pcmref_case_group *groups;
    long long group_count;
} pcmref_case;

/* Read a tile of a case into `*read`, which is to be freed even if that fails.  Returns 0 or what pcmref_open returns. */
int pcmref_case_read(const char *folder, const char *tile, pcmref_case *read);

void pcmref_case_free(pcmref_case *read);

/* Return the array of this name, or NULL. */
const pcmref_case_array *pcmref_case_find(const pcmref_case *read, const char *name);

/* Load matrix number `matrix`.  Returns 0, or PCMREF_REFUSED. */
int pcmref_case_select(pcmref_case *read, int matrix);

/* Return the matrix that a vector meets. */
int pcmref_case_matrix_of(const pcmref_case *read, long long vector);

#ifdef __cplusplus
}
#endif

#endif
