/* Does this library give the answers of a golden case on this machine?  And how fast?
 *
 *     pcmref_check CASE [TILE]        all vectors of a case; status 0 if every answer is equal
 *     pcmref_check --time CASE [TILE] the same, then products a second, one vector a call and 1000 vectors a call
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pcmref.h"

static int failed(void) {
    fprintf(stderr, "pcmref_check: %s\n", pcmref_error());
    return 2;
}

/* Seconds of the processor for so many products, `each` vectors a call. */
static double seconds(int tile, const short *code, const long long *noise, long long *d, long long each, long long calls) {
    long long rows = pcmref_size(tile, PCMREF_ROWS), columns = pcmref_size(tile, PCMREF_COLUMNS), call;
    long long noises = noise == NULL ? 0 : pcmref_size(tile, PCMREF_CONVERSIONS) * each * columns;
    clock_t before = clock();
    for (call = 0; call < calls; call++)
        if (pcmref_product(tile, code, each * rows, noise, noises, d, each * columns) != 0) return -1;
    return (double)(clock() - before) / CLOCKS_PER_SEC;
}

static int measure(int tile) {
    enum { BATCH = 1000 };
    long long rows = pcmref_size(tile, PCMREF_ROWS), columns = pcmref_size(tile, PCMREF_COLUMNS), i, each;
    long long high = pcmref_size(tile, PCMREF_CODE_HIGH), low = -pcmref_size(tile, PCMREF_CODES_BELOW);
    long long noises = pcmref_size(tile, PCMREF_NOISY) * pcmref_size(tile, PCMREF_CONVERSIONS) * BATCH * columns;
    short *code = (short *)malloc((size_t)(BATCH * rows) * sizeof *code);
    long long *d = (long long *)malloc((size_t)(BATCH * columns) * sizeof *d);
    long long *noise = noises == 0 ? NULL : (long long *)calloc((size_t)noises, sizeof *noise);
    int status = code == NULL || d == NULL || (noises > 0 && noise == NULL) ? 2 : 0;
    for (i = 0; status == 0 && i < BATCH * rows; i++) code[i] = (short)(low + i * 7919 % (high - low + 1));
    for (each = 1; status == 0 && each <= BATCH; each *= BATCH) {
        long long calls = 1;
        double taken = seconds(tile, code, noise, d, each, calls);
        while (taken >= 0 && taken < 0.5) {
            calls *= 2;
            taken = seconds(tile, code, noise, d, each, calls);
        }
        if (taken < 0)
            status = failed();
        else
            printf("%lld x %lld, %lld vectors a call: %.0f products/s\n", rows, columns, each, (double)(calls * each) / taken);
    }
    free(code);
    free(d);
    free(noise);
    return status;
}

int main(int count, char **arguments) {
    int timed = count > 1 && strcmp(arguments[1], "--time") == 0, tile, status = 0;
    long long differ;
    count -= timed;
    arguments += timed;
    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: pcmref_check [--time] CASE [TILE]\n");
        return 2;
    }
    tile = pcmref_open(arguments[1], count == 3 ? arguments[2] : "");
    if (tile < 0) return failed();
    differ = pcmref_replay(tile);
    if (differ < 0)
        status = failed();
    else if (differ > 0) {
        printf("%s\n%lld answers differ\n", pcmref_error(), differ);
        status = 1;
    } else
        printf("all answers of %lld vectors are equal\n", pcmref_size(tile, PCMREF_VECTORS));
    if (status == 0 && timed) status = measure(tile);
    pcmref_close(tile);
    return status;
}
