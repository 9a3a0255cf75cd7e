/* pcmref in C: one tile of a golden case, in integers as SPEC.md, section 8, says.  No Python, no other library.
 *
 *     int tile = pcmref_open("case", "");                          a folder that `pcmref export` wrote
 *     if (tile < 0) fail(pcmref_error());
 *     pcmref_product(tile, code, rows, NULL, 0, d, columns);       codes in, codes out
 *     pcmref_close(tile);
 *
 * Arrays are flat, in C order, of the machine's own integers; each comes with its number of elements, which must be the
 * right one.  The types are those of DPI: shortint is short, int is int, longint is long long.
 *
 * Every function but pcmref_error returns a negative number if something is wrong, and pcmref_error says what.  A handle
 * is a number: one that was closed, or never opened, is refused.  Products of one tile may run in several threads at once,
 * while no thread opens, closes, selects or loads.
 */
#ifndef PCMREF_H
#define PCMREF_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(PCMREF_API)
#define PCMREF_API __attribute__((visibility("default")))
#elif !defined(PCMREF_API)
#define PCMREF_API
#endif

/* The version of SPEC.md that this library computes. */
#define PCMREF_SPEC 3

/* What a function returns if something is wrong. */
enum {
    PCMREF_BAD_HANDLE = -1,   /* not open */
    PCMREF_BAD_ARGUMENT = -2, /* NULL, another number of elements, a number out of range */
    PCMREF_BAD_FILE = -3,     /* missing, not a case, not the one that was written */
    PCMREF_NO_MEMORY = -4,
    PCMREF_REFUSED = -5       /* a sum that the tile's register cannot hold, where that is an error */
};

/* What pcmref_size tells of a tile. */
enum {
    PCMREF_ROWS = 0,
    PCMREF_COLUMNS = 1,
    PCMREF_LINES = 2,       /* matrices of conductances: 1, of pairs; or 2, of the + and of the - devices */
    PCMREF_CONVERSIONS = 3, /* of each column in a product: lines times phases of the DAC */
    PCMREF_NOISY = 4,       /* 1 if each conversion has read noise of its own, which is loaded; else 0 */
    PCMREF_CODE_HIGH = 5,   /* largest code of the DAC */
    PCMREF_CODES_BELOW = 6, /* how many of its codes are negative: the smallest is minus that */
    PCMREF_MATRICES = 7,    /* how many matrices the case has for the tile */
    PCMREF_VECTORS = 8      /* how many vectors */
};

/* Open a tile of a case.
 *
 * folder: of the case; every array that is read is checked against its SHA-256 in case.json.
 * tile: its name, "tile0" of a tile's case, "LAYER/tile0" of a network's; "" or NULL stands for "tile0".
 *
 * Returns a handle, a positive number.  The first matrix of the case is selected.  At most 1024 tiles can be open.
 */
PCMREF_API int pcmref_open(const char *folder, const char *tile);

/* Close a tile.  Returns 0. */
PCMREF_API int pcmref_close(int handle);

/* Return a number of the tile: one of the enumeration above. */
PCMREF_API long long pcmref_size(int handle, int what);

/* Return the number of the matrix that a vector of the case meets. */
PCMREF_API int pcmref_matrix_of(int handle, long long vector);

/* Multiply with another matrix of the case from now on, matrix 0 being the first.  Returns 0. */
PCMREF_API int pcmref_select(int handle, int matrix);

/* Multiply with conductance codes of your own from now on: (lines, rows, columns), -32767 to 32767, of lines of their own
 * from 0.  Returns 0.
 */
PCMREF_API int pcmref_load(int handle, const short *g, long long gs);

/* Multiply vectors: as many as `codes` has room for, the number of rows each.
 *
 * code: (vectors, rows), codes of the DAC.
 * noise: (conversions, vectors, columns), read noise of each sum; NULL and 0 if the tile is not noisy.
 * d: (vectors, columns), the answers: codes of the ADC, or of a product with several conversions their sum, each times its
 *    factor (SPEC.md: the output code).
 *
 * Returns 0; with a negative number nothing of `d` holds.
 */
PCMREF_API int pcmref_product(int handle, const short *code, long long codes, const long long *noise, long long noises,
                              long long *d, long long ds);

/* Multiply vectors, and show what each ADC saw and gave; arguments as of pcmref_product.
 *
 * a: (conversions, vectors, columns), the sums as the register holds them.
 * d: (conversions, vectors, columns), the codes.
 */
PCMREF_API int pcmref_trace(int handle, const short *code, long long codes, const long long *noise, long long noises,
                            long long *a, long long as, long long *d, long long ds);

/* Copy `ns` elements of an array of integers of the case, from element `first` on in C order.
 *
 * name: without its tile: "code", "noise", "multiplier", "shift", "offset", "thresholds", "A", "D" ...; "g" is what is
 *       loaded, "answer" what each vector must be answered with.
 * Returns 0.
 */
PCMREF_API int pcmref_array(int handle, const char *name, long long first, long long *n, long long ns);

/* Copy one element into *n.  Returns 0. */
PCMREF_API int pcmref_element(int handle, const char *name, long long index, long long *n);

/* Multiply all vectors of the case, and return how many answers are not the expected ones; if there are some, pcmref_error
 * tells the first.  The first matrix of the case is selected afterwards.
 */
PCMREF_API long long pcmref_replay(int handle);

/* Return the version of SPEC.md. */
PCMREF_API int pcmref_spec(void);

/* Return what went wrong last in this thread: where, what was expected, what was found; "" if nothing did. */
PCMREF_API const char *pcmref_error(void);

#ifdef __cplusplus
}
#endif

#endif
