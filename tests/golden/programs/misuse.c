/* Everything that a caller can do wrong without lying about the size of his own memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcmref.h"

#define REFUSED(call)                                                                   \
    do {                                                                                \
        if ((call) >= 0 || *pcmref_error() == 0) {                                      \
            fprintf(stderr, "%d: %s was taken\n", __LINE__, #call);                     \
            return 1;                                                                   \
        }                                                                               \
    } while (0)

#define TAKEN(call)                                                                     \
    do {                                                                                \
        if ((call) != 0) {                                                              \
            fprintf(stderr, "%d: %s: %s\n", __LINE__, #call, pcmref_error());           \
            return 1;                                                                   \
        }                                                                               \
    } while (0)

int main(int count, char **arguments) {
    int one, two;
    short codes[16] = {0}, g[96] = {0}, far[16];
    long long d[6], a[6], n;
    if (count != 2) return 2;
    REFUSED(pcmref_open(NULL, NULL));
    REFUSED(pcmref_open("", ""));
    REFUSED(pcmref_open("/nowhere", "tile0"));
    REFUSED(pcmref_open(arguments[1], "another"));
    REFUSED(pcmref_close(0));
    REFUSED(pcmref_size(77, PCMREF_ROWS));
    if ((one = pcmref_open(arguments[1], NULL)) <= 0 || (two = pcmref_open(arguments[1], "tile0")) <= 0) {
        fprintf(stderr, "%s\n", pcmref_error());
        return 1;
    }
    TAKEN(pcmref_replay(one));
    TAKEN(pcmref_product(one, codes, 16, NULL, 0, d, 6));
    TAKEN(pcmref_trace(one, codes, 16, NULL, 0, a, 6, d, 6));
    REFUSED(pcmref_product(one, codes, 15, NULL, 0, d, 6));
    REFUSED(pcmref_product(one, NULL, 16, NULL, 0, d, 6));
    REFUSED(pcmref_product(one, codes, 16, NULL, 6, d, 6));
    REFUSED(pcmref_product(one, codes, 16, d, 6, d, 6));
    REFUSED(pcmref_product(one, codes, 16, NULL, 0, NULL, 6));
    REFUSED(pcmref_product(one, codes, 16, NULL, 0, d, 7));
    REFUSED(pcmref_product(one, codes, -16, NULL, 0, d, -6));
    memset(far, 0x7f, sizeof far);
    REFUSED(pcmref_product(one, far, 16, NULL, 0, d, 6));
    REFUSED(pcmref_trace(one, codes, 16, NULL, 0, NULL, 6, d, 6));
    REFUSED(pcmref_trace(one, codes, 16, NULL, 0, a, 6, NULL, 6));
    REFUSED(pcmref_load(one, NULL, 96));
    REFUSED(pcmref_load(one, g, 95));
    TAKEN(pcmref_load(one, g, 96));
    REFUSED(pcmref_select(one, -1));
    REFUSED(pcmref_select(one, 99));
    REFUSED(pcmref_matrix_of(one, 1LL << 62));
    REFUSED(pcmref_array(one, NULL, 0, &n, 1));
    REFUSED(pcmref_array(one, "code", -1, &n, 1));
    REFUSED(pcmref_array(one, "code", 0, &n, 1LL << 62));
    REFUSED(pcmref_array(one, "no such array", 0, &n, 1));
    REFUSED(pcmref_element(one, "code", 0, NULL));
    TAKEN(pcmref_close(one));
    REFUSED(pcmref_close(one));
    REFUSED(pcmref_product(one, codes, 16, NULL, 0, d, 6));
    REFUSED(pcmref_replay(one));
    TAKEN(pcmref_replay(two));
    TAKEN(pcmref_close(two));
    return 0;
}
