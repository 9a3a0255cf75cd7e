#include "pcmref_tile.h"

#include <string.h>

/* Numbers of 64 bits that are shifted right keep their sign, in whatever way the compiler shifts negative ones. */
static long long shifted(long long n, int places) { return n < 0 ? ~(~n >> places) : n >> places; }

static long long clipped(long long n, long long low, long long high) { return n < low ? low : n > high ? high : n; }

/* SPEC.md, section 8, "DAC" and "Conversions" */

int pcmref_phases(const pcmref_tile *tile) {
    return tile->drive == PCMREF_PARALLEL ? 1 : tile->drive == PCMREF_TWO_PHASE ? 2 : tile->bits;
}

int pcmref_conversions(const pcmref_tile *tile) { return tile->lines * pcmref_phases(tile); }

/* The level of a code in a phase. */
static short level(const pcmref_tile *tile, int code, int phase) {
    int driven = code + tile->code_offset;
    if (tile->drive == PCMREF_PARALLEL) return (short)driven;
    if (tile->drive == PCMREF_BIT_SERIAL) return (short)(shifted(driven, phase) & 1);
    return (short)(phase == 0 ? (driven > 0 ? driven : 0) : (driven < 0 ? -driven : 0));
}

/* What a code of a conversion counts: the factor of its line times that of its phase. */
static long long factor(const pcmref_tile *tile, int line, int phase) {
    long long each = 1;
    if (tile->drive == PCMREF_TWO_PHASE) each = phase == 0 ? 1 : -1;
    if (tile->drive == PCMREF_BIT_SERIAL) {
        int negative = phase == tile->bits - 1 && tile->code_low + tile->code_offset < 0;
        each = (negative ? -1LL : 1LL) * (1LL << phase);
    }
    return line == 0 ? each : -each;
}

/* "Sums": so many rows at a time that 32 bits hold them, in whatever order they are added. */

static int partial_sum(const short *level, const short *g, long long rows) {
    int sum = 0;
    long long row;
    for (row = 0; row < rows; row++) sum += level[row] * g[row];
    return sum;
}

static long long rows_at_a_time(const pcmref_tile *tile) {
    long long low = tile->code_low + tile->code_offset, high = tile->code_high + tile->code_offset;
    long long largest = tile->drive == PCMREF_BIT_SERIAL ? 1 : -low > high ? -low : high;
    return 0x7fffffffLL / (largest * PCMREF_G_MOST);
}

static long long sum_of(const short *level, const short *g, long long rows, long long each) {
    long long sum = 0, row;
    if (rows <= each) return partial_sum(level, g, rows);
    for (row = 0; row < rows; row += each) sum += partial_sum(level + row, g + row, rows - row < each ? rows - row : each);
    return sum;
}

/* "Register": what it holds of a sum; *refused where it may not be asked to. */
static long long held(const pcmref_tile *tile, long long sum, int *refused) {
    long long half;
    if (tile->register_bits == 0) return sum;
    half = 1LL << (tile->register_bits - 1);
    if (sum >= -half && sum < half) return sum;
    if (tile->beyond == PCMREF_ERROR) *refused = 1;
    if (tile->beyond == PCMREF_WRAP) return ((sum + half) & (2 * half - 1)) - half;
    return clipped(sum, -half, half - 1);
}

/* "ADC" */

/* Divide by 2^shift and round: the table of SPEC.md, in integers. */
static long long rounded(long long p, int shift, int rounding) {
    long long half;
    if (shift == 0) return p;
    half = 1LL << (shift - 1);
    switch (rounding) {
        case PCMREF_HALF_EVEN: return shifted(p + half - 1 + (shifted(p, shift) & 1), shift);
        case PCMREF_HALF_AWAY: return shifted(p + half - (p < 0), shift);
        case PCMREF_HALF_UP: return shifted(p + half, shift);
        case PCMREF_FLOOR: return shifted(p, shift);
        default: return shifted(p + (p < 0) * (2 * half - 1), shift);
    }
}

static long long fixed_point_code(const pcmref_tile *tile, long long sum, long long multiplier, int shift) {
    /* Codes beyond the limits begin below 2^53 in size (SPEC.md: other shifts are refused); 64 bits hold 2^61 and what is
     * added to it. */
    double size = (double)sum * (double)multiplier;
    if (size > 2305843009213693952.0) return tile->high;
    if (size < -2305843009213693952.0) return tile->low;
    return clipped(rounded(sum * multiplier, shift, tile->rounding), tile->low, tile->high);
}

static long long float64_code(const pcmref_tile *tile, long long sum, double gain) {
    volatile double product = (double)sum * gain; /* rounded to float64 here, not kept in a wider register */
    double v = product, rest;
    long long down;
    int up;
    if (v >= (double)tile->high + 1) return tile->high;
    if (v <= (double)tile->low - 1) return tile->low;
    down = (long long)v;
    if ((double)down > v) down--;
    rest = v - (double)down;
    switch (tile->rounding) {
        case PCMREF_HALF_EVEN: up = rest > 0.5 || (rest == 0.5 && (down & 1) != 0); break;
        case PCMREF_HALF_AWAY: up = rest > 0.5 || (rest == 0.5 && down >= 0); break;
        case PCMREF_HALF_UP: up = rest >= 0.5; break;
        case PCMREF_FLOOR: up = 0; break;
        default: up = down < 0 && rest > 0;
    }
    return clipped(down + up, tile->low, tile->high);
}

static long long threshold_code(const pcmref_tile *tile, long long sum, const long long *thresholds) {
    long long first = 0, last = tile->high - tile->low;
    while (first < last) { /* all before `first` are at most the sum, `last` and all after it are more */
        long long middle = (first + last) / 2;
        if (thresholds[middle] <= sum)
            first = middle + 1;
        else
            last = middle;
    }
    return tile->low + first;
}

static long long code_of(const pcmref_tile *tile, long long sum, int line, long long column) {
    long long place = (tile->per_line ? line * tile->columns : 0) + column;
    switch (tile->converter) {
        case PCMREF_NO_ADC: return sum;
        case PCMREF_THRESHOLDS: return threshold_code(tile, sum, tile->thresholds + place * (tile->high - tile->low));
        case PCMREF_FLOAT64: return float64_code(tile, sum + tile->offset[place], tile->gain[place]);
        default: return fixed_point_code(tile, sum + tile->offset[place], tile->multiplier[place], (int)tile->shift[place]);
    }
}

/* Products */

/* Drive the rows with the levels of a phase. */
static void drive_rows(const pcmref_tile *tile, const short *code, int phase, short *drive) {
    long long row;
    if (tile->drive == PCMREF_PARALLEL && tile->code_offset == 0)
        memcpy(drive, code, (size_t)tile->rows * sizeof *drive);
    else
        for (row = 0; row < tile->rows; row++) drive[row] = level(tile, code[row], phase);
}

int pcmref_tile_multiply(const pcmref_tile *tile, const short *code, short *drive, const long long *noise,
                         long long noise_step, long long *d, long long *seen, long long *converted, long long step) {
    long long columns = tile->columns, each = rows_at_a_time(tile), column;
    int phases = pcmref_phases(tile), refused = 0, line, phase;
    if (d != NULL) memset(d, 0, (size_t)columns * sizeof *d);
    for (phase = 0; phase < phases; phase++) {
        drive_rows(tile, code, phase, drive);
        for (line = 0; line < tile->lines; line++) {
            const short *g = tile->g + line * columns * tile->stride;
            long long number = line * phases + phase, weight = factor(tile, line, phase);
            const long long *d0 = tile->d0 == NULL ? NULL : tile->d0 + number * columns;
            for (column = 0; column < columns; column++) {
                long long sum = sum_of(drive, g + column * tile->stride, tile->rows, each), result;
                if (noise != NULL) sum += noise[number * noise_step + column];
                sum = held(tile, sum, &refused);
                result = code_of(tile, sum, line, column);
                if (seen != NULL) seen[number * step + column] = sum;
                if (converted != NULL) converted[number * step + column] = result;
                if (d != NULL) d[column] += weight * (d0 == NULL ? result : result - d0[column]);
            }
        }
    }
    return !refused;
}

int pcmref_tile_load(pcmref_tile *tile, const short *g) {
    long long line, row, column, place;
    int phase, phases = pcmref_phases(tile), refused = 0;
    for (line = 0; line < tile->lines; line++)
        for (row = 0; row < tile->rows; row++)
            for (column = 0; column < tile->columns; column++)
                tile->g[(line * tile->columns + column) * tile->stride + row] =
                    g[(line * tile->rows + row) * tile->columns + column];
    if (tile->d0 == NULL) return 1;
    /* "Output code": D0 is the code of an input of zeros, without noise */
    for (line = 0; line < tile->lines; line++)
        for (phase = 0; phase < phases; phase++)
            for (column = 0; column < tile->columns; column++) {
                const short *cells = tile->g + (line * tile->columns + column) * tile->stride;
                long long sum = 0;
                for (row = 0; row < tile->rows; row++) sum += cells[row];
                place = (line * phases + phase) * tile->columns + column;
                sum = held(tile, sum * level(tile, 0, phase), &refused);
                tile->d0[place] = code_of(tile, sum, (int)line, column);
            }
    return !refused;
}
