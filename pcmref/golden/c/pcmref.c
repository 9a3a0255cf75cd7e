#include "pcmref.h"

#include <stdlib.h>
#include <string.h>

#include "pcmref_case.h"
#include "pcmref_error.h"
#include "pcmref_handles.h"

/* The types of DPI are those of every machine that has it. */
typedef char short_has_16_bits[sizeof(short) == 2 ? 1 : -1];
typedef char int_has_32_bits[sizeof(int) == 4 ? 1 : -1];
typedef char long_long_has_64_bits[sizeof(long long) == 8 ? 1 : -1];

static pcmref_handles tiles;

static pcmref_case *opened(int handle) {
    pcmref_case *found = (pcmref_case *)pcmref_handle_get(&tiles, handle);
    if (found == NULL) pcmref_failed(PCMREF_BAD_HANDLE, "handle: expected that of an open tile, found %d", handle);
    return found;
}

static int no_memory(void) { return pcmref_failed(PCMREF_NO_MEMORY, "memory: expected some, found none left"); }

int pcmref_open(const char *folder, const char *tile) {
    pcmref_case *read;
    int status, handle = 0;
    if (folder == NULL) return pcmref_failed(PCMREF_BAD_ARGUMENT, "folder: expected that of a case, found NULL");
    if ((read = (pcmref_case *)malloc(sizeof *read)) == NULL) return no_memory();
    status = pcmref_case_read(folder, tile == NULL || *tile == 0 ? "tile0" : tile, read);
    if (status == 0 && (handle = pcmref_handle_new(&tiles, read)) == 0)
        status = pcmref_failed(PCMREF_NO_MEMORY, "tiles: expected at most %d open, found more", PCMREF_PLACES);
    if (status == 0) return handle;
    pcmref_case_free(read);
    free(read);
    return status;
}

int pcmref_close(int handle) {
    pcmref_case *read = opened(handle);
    if (read == NULL) return PCMREF_BAD_HANDLE;
    pcmref_handle_set(&tiles, handle, NULL);
    pcmref_case_free(read);
    free(read);
    return 0;
}

long long pcmref_size(int handle, int what) {
    const pcmref_case *read = opened(handle);
    if (read == NULL) return PCMREF_BAD_HANDLE;
    switch (what) {
        case PCMREF_ROWS: return read->tile.rows;
        case PCMREF_COLUMNS: return read->tile.columns;
        case PCMREF_LINES: return read->tile.lines;
        case PCMREF_CONVERSIONS: return pcmref_conversions(&read->tile);
        case PCMREF_NOISY: return read->noisy;
        case PCMREF_CODE_HIGH: return read->tile.code_high;
        case PCMREF_CODES_BELOW: return -read->tile.code_low;
        case PCMREF_MATRICES: return read->matrices;
        case PCMREF_VECTORS: return read->vectors;
        default: return pcmref_failed(PCMREF_BAD_ARGUMENT, "what: expected a number from 0 to 8, found %d", what);
    }
}

int pcmref_matrix_of(int handle, long long vector) {
    const pcmref_case *read = opened(handle);
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if (vector < 0 || vector >= read->vectors)
        return pcmref_failed(PCMREF_BAD_ARGUMENT, "vector: expected a number from 0 to %lld, found %lld", read->vectors - 1,
                             vector);
    return pcmref_case_matrix_of(read, vector);
}

int pcmref_select(int handle, int matrix) {
    pcmref_case *read = opened(handle);
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if (matrix < 0 || matrix >= read->matrices)
        return pcmref_failed(PCMREF_BAD_ARGUMENT, "matrix: expected a number from 0 to %d, found %d", read->matrices - 1,
                             matrix);
    return pcmref_case_select(read, matrix);
}

/* Arguments: each check keeps what is wrong, and returns whether something is. */

static int is_null(const char *name, const void *array) {
    return array == NULL && pcmref_failed(PCMREF_BAD_ARGUMENT, "%s: expected an array, found NULL", name);
}

static int has_other_size(const char *name, long long found, long long expected) {
    return found != expected &&
           pcmref_failed(PCMREF_BAD_ARGUMENT, "%s: expected %lld elements, found %lld", name, expected, found);
}

static int is_beyond(const char *name, const short *n, long long count, int low, int high) {
    short least = 0, most = 0;
    long long i;
    for (i = 0; i < count; i++) {
        least = n[i] < least ? n[i] : least;
        most = n[i] > most ? n[i] : most;
    }
    return (least < low || most > high) && pcmref_failed(PCMREF_BAD_ARGUMENT, "%s: expected %d to %d, found %d to %d", name,
                                                         low, high, least, most);
}

static int is_no_noise(const pcmref_case *read, const long long *noise, long long noises, long long vectors) {
    long long i;
    if (has_other_size("noise", noises, read->noisy * pcmref_conversions(&read->tile) * vectors * read->tile.columns))
        return 1;
    if (read->noisy && is_null("noise", noise)) return 1;
    for (i = 0; i < noises; i++)
        if (noise[i] <= -PCMREF_NOISE_MOST || noise[i] >= PCMREF_NOISE_MOST)
            return pcmref_failed(PCMREF_BAD_ARGUMENT, "noise: expected less than 2^40 in size, found %lld", noise[i]);
    return 0;
}

int pcmref_load(int handle, const short *g, long long gs) {
    pcmref_case *read = opened(handle);
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if (is_null("g", g) || has_other_size("g", gs, read->tile.lines * read->tile.rows * read->tile.columns) ||
        is_beyond("g", g, gs, read->tile.lines == 2 ? 0 : -PCMREF_G_MOST, PCMREF_G_MOST))
        return PCMREF_BAD_ARGUMENT;
    if (pcmref_tile_load(&read->tile, g)) return 0;
    return pcmref_failed(PCMREF_REFUSED, "accumulator: expected sums of an input of zeros that fit %d bits, found others",
                         read->tile.register_bits);
}

/* Products */

static int refused(const pcmref_case *read, long long vector) {
    return pcmref_failed(PCMREF_REFUSED, "accumulator: expected sums of %d bits, found an overflow in vector %lld",
                         read->tile.register_bits, vector);
}

/* Multiply vectors that are known to be good; each of `d`, `seen` and `converted` may be NULL.  `noise` counts if the tile
 * is noisy. */
static int multiply(const pcmref_case *read, const short *code, const long long *noise, long long vectors, long long *d,
                    long long *seen, long long *converted) {
    const pcmref_tile *tile = &read->tile;
    long long columns = tile->columns, vector;
    short *drive = (short *)calloc((size_t)tile->stride, sizeof *drive);
    int status = 0;
    if (drive == NULL) return no_memory();
    for (vector = 0; vector < vectors && status == 0; vector++) {
        long long place = vector * columns;
        if (!pcmref_tile_multiply(tile, code + vector * tile->rows, drive, read->noisy ? noise + place : NULL,
                                  vectors * columns, d == NULL ? NULL : d + place, seen == NULL ? NULL : seen + place,
                                  converted == NULL ? NULL : converted + place, vectors * columns))
            status = refused(read, vector);
    }
    free(drive);
    return status;
}

/* Return how many vectors `codes` codes are, or a negative number if the stimulus is not one of the tile. */
static long long vectors_of(const pcmref_case *read, const short *code, long long codes, const long long *noise,
                            long long noises) {
    const pcmref_tile *tile = &read->tile;
    if (is_null("code", code) || codes < tile->rows || has_other_size("code", codes, codes / tile->rows * tile->rows) ||
        is_beyond("code", code, codes, tile->code_low, tile->code_high) ||
        is_no_noise(read, noise, noises, codes / tile->rows)) {
        if (code != NULL && codes < tile->rows) has_other_size("code", codes, tile->rows);
        return PCMREF_BAD_ARGUMENT;
    }
    return codes / tile->rows;
}

int pcmref_product(int handle, const short *code, long long codes, const long long *noise, long long noises, long long *d,
                   long long ds) {
    const pcmref_case *read = opened(handle);
    long long vectors;
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if ((vectors = vectors_of(read, code, codes, noise, noises)) < 0 || is_null("d", d) ||
        has_other_size("d", ds, vectors * read->tile.columns))
        return PCMREF_BAD_ARGUMENT;
    return multiply(read, code, noise, vectors, d, NULL, NULL);
}

int pcmref_trace(int handle, const short *code, long long codes, const long long *noise, long long noises, long long *a,
                 long long as, long long *d, long long ds) {
    const pcmref_case *read = opened(handle);
    long long vectors, each;
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if ((vectors = vectors_of(read, code, codes, noise, noises)) < 0) return PCMREF_BAD_ARGUMENT;
    each = pcmref_conversions(&read->tile) * vectors * read->tile.columns;
    if (is_null("a", a) || is_null("d", d) || has_other_size("a", as, each) || has_other_size("d", ds, each))
        return PCMREF_BAD_ARGUMENT;
    return multiply(read, code, noise, vectors, NULL, a, d);
}

/* The case */

/* The expected answers: "D", or the output code of a tile with several conversions. */
static const pcmref_case_array *expected_of(const pcmref_case *read) {
    const pcmref_case_array *combined = pcmref_case_find(read, "output-code"), *found;
    found = combined == NULL ? pcmref_case_find(read, "D") : combined;
    return found != NULL && found->expected && found->count == read->vectors * read->tile.columns ? found : NULL;
}

static int has_other_elements(const char *name, long long count, long long first, long long ns) {
    return (ns < 0 || first < 0 || first > count || ns > count - first) &&
           pcmref_failed(PCMREF_BAD_ARGUMENT, "%.100s: expected some of %lld elements, found %lld from number %lld on", name,
                         count, ns, first);
}

/* Copy conductance codes that are loaded, in the order in which they were. */
static int loaded(const pcmref_tile *tile, long long first, long long *n, long long ns) {
    long long cells = tile->rows * tile->columns, i;
    if (has_other_elements("g", tile->lines * cells, first, ns)) return PCMREF_BAD_ARGUMENT;
    for (i = first; i < first + ns; i++) {
        long long line = i / cells, row = i % cells / tile->columns, column = i % tile->columns;
        n[i - first] = tile->g[(line * tile->columns + column) * tile->stride + row];
    }
    return 0;
}

int pcmref_array(int handle, const char *name, long long first, long long *n, long long ns) {
    const pcmref_case *read = opened(handle);
    const pcmref_case_array *array;
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if (is_null("name", name) || is_null("n", n)) return PCMREF_BAD_ARGUMENT;
    if (strcmp(name, "g") == 0) return loaded(&read->tile, first, n, ns);
    array = strcmp(name, "answer") == 0 ? expected_of(read) : pcmref_case_find(read, name);
    if (array == NULL || array->n == NULL)
        return pcmref_failed(PCMREF_BAD_ARGUMENT, "name: expected an array of integers of the tile, found %.100s", name);
    if (has_other_elements(name, array->count, first, ns)) return PCMREF_BAD_ARGUMENT;
    memcpy(n, array->n + first, (size_t)ns * sizeof *n);
    return 0;
}

int pcmref_element(int handle, const char *name, long long index, long long *n) {
    return pcmref_array(handle, name, index, n, 1);
}

/* Multiply one vector of the case, and return how many of its answers differ; or a negative number. */
static long long replay_one(pcmref_case *read, long long vector, const long long *code, const long long *noise,
                            const long long *expected, long long differ, short *codes, long long *noises, long long *d) {
    long long rows = read->tile.rows, columns = read->tile.columns, found = 0, i;
    int conversions = pcmref_conversions(&read->tile), matrix = pcmref_case_matrix_of(read, vector), status, k;
    if (matrix != read->selected && (status = pcmref_case_select(read, matrix)) != 0) return status;
    for (i = 0; i < rows; i++) codes[i] = (short)code[vector * rows + i];
    for (k = 0; read->noisy && k < conversions; k++)
        memcpy(noises + k * columns, noise + (k * read->vectors + vector) * columns, (size_t)columns * sizeof *noises);
    if ((status = multiply(read, codes, noises, 1, d, NULL, NULL)) != 0)
        return status == PCMREF_REFUSED ? refused(read, vector) : status;
    for (i = 0; i < columns; i++)
        if (d[i] != expected[vector * columns + i] && ++found + differ == 1)
            pcmref_failed(0, "vector %lld, column %lld: expected %lld, found %lld", vector, i,
                          expected[vector * columns + i], d[i]);
    return found;
}

long long pcmref_replay(int handle) {
    pcmref_case *read = opened(handle);
    const pcmref_case_array *code, *noise, *expected;
    long long differ = 0, vector, found = 0, *noises, *d;
    int status;
    short *codes;
    if (read == NULL) return PCMREF_BAD_HANDLE;
    if ((expected = expected_of(read)) == NULL)
        return pcmref_failed(PCMREF_BAD_ARGUMENT, "case: expected answers of the tile, found none");
    code = pcmref_case_find(read, "code");
    noise = pcmref_case_find(read, "noise");
    codes = (short *)malloc((size_t)read->tile.rows * sizeof *codes);
    d = (long long *)malloc((size_t)read->tile.columns * sizeof *d);
    noises = (long long *)malloc((size_t)(pcmref_conversions(&read->tile) * read->tile.columns) * sizeof *noises);
    if (codes == NULL || d == NULL || noises == NULL) found = no_memory();
    if (found == 0 && (status = pcmref_case_select(read, 0)) != 0) found = status;
    for (vector = 0; vector < read->vectors && found >= 0; vector++) {
        found = replay_one(read, vector, code->n, noise == NULL ? NULL : noise->n, expected->n, differ, codes, noises, d);
        if (found > 0) differ += found;
    }
    free(codes);
    free(d);
    free(noises);
    if (found >= 0 && (status = pcmref_case_select(read, 0)) != 0) found = status;
    return found < 0 ? found : differ;
}

int pcmref_spec(void) { return PCMREF_SPEC; }

const char *pcmref_error(void) { return pcmref_last_error(); }
