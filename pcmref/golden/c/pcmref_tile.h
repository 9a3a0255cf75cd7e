/* The arithmetic of one tile: SPEC.md, section 8, from the codes of the DAC to the output code.  No file, no handle. */
#ifndef PCMREF_TILE_H
#define PCMREF_TILE_H

#ifdef __cplusplus
extern "C" {
#endif

enum { PCMREF_PARALLEL, PCMREF_TWO_PHASE, PCMREF_BIT_SERIAL };
enum { PCMREF_NO_ADC, PCMREF_FIXED_POINT, PCMREF_FLOAT64, PCMREF_THRESHOLDS };
enum { PCMREF_HALF_EVEN, PCMREF_HALF_AWAY, PCMREF_HALF_UP, PCMREF_FLOOR, PCMREF_TOWARD_ZERO };
enum { PCMREF_ERROR, PCMREF_SATURATE, PCMREF_WRAP };

/* What a tile can be at most.  No noise of SPEC.md, section 4, is as large as that. */
enum { PCMREF_G_MOST = 32767, PCMREF_ROWS_MOST = 65536, PCMREF_COLUMNS_MOST = 65536 };
#define PCMREF_NOISE_MOST (1LL << 40)

typedef struct {
    long long rows, columns;
    int lines;

    /* the DAC */
    int drive;
    int code_low, code_high;
    int code_offset; /* what is added to a code before it drives its row */
    int bits;

    /* the register of a sum */
    int register_bits; /* 0: as wide as it takes */
    int beyond;

    /* the ADCs: arrays of (lines or 1, columns); thresholds (lines or 1, columns, high - low) */
    int converter;
    int per_line; /* 1 if each line has settings of its own */
    int low, high;
    int rounding;
    long long *multiplier, *shift, *offset, *thresholds;
    double *gain;

    /* what is loaded: conductance codes, (lines, columns, stride), rows beyond the last being 0 */
    long long stride;
    short *g;
    long long *d0; /* (conversions, columns), codes of an input of zeros; NULL where they are 0 */
} pcmref_tile;

/* How many phases a product has, and how many conversions each column. */
int pcmref_phases(const pcmref_tile *tile);
int pcmref_conversions(const pcmref_tile *tile);

/* Load conductance codes, (lines, rows, columns), into `tile->g`, and set `tile->d0`.
 * Returns 0 if a sum of an input of zeros is one that the register refuses.
 */
int pcmref_tile_load(pcmref_tile *tile, const short *g);

/* Multiply one vector; `drive` is room for `tile->stride` codes.
 *
 * noise: NULL, or that of column c in conversion k at noise[k * noise_step + c].
 * d: columns, the output codes, or NULL.
 * seen, converted: NULL, or A and D of column c in conversion k go to [k * step + c].
 * Returns 0 if the register refuses a sum.
 */
int pcmref_tile_multiply(const pcmref_tile *tile, const short *code, short *drive, const long long *noise,
                         long long noise_step, long long *d, long long *seen, long long *converted, long long step);

#ifdef __cplusplus
}
#endif

#endif
