/* A chip of a network, from C: `chips PIXELS CASE LOGITS` with three images of digits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcmref_python.h"

#define REFUSED(call, reason)                                                            \
    do {                                                                                 \
        if ((call) >= 0 || strstr(pcmref_error(), reason) == NULL) {                     \
            fprintf(stderr, "%d: %s: %s\n", __LINE__, #call, pcmref_error());            \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

#define TAKEN(call)                                                                      \
    do {                                                                                 \
        if ((call) != 0) {                                                               \
            fprintf(stderr, "%d: %s: %s\n", __LINE__, #call, pcmref_error());            \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

enum { IMAGES = 3, PIXELS = IMAGES * 8 * 8, CLASSES = 10 };

int main(int count, char **arguments) {
    unsigned char pixels[PIXELS];
    float logits[IMAGES * CLASSES];
    int chip, other;
    FILE *file;
    if (count != 4 || (file = fopen(arguments[1], "rb")) == NULL) return 2;
    if (fread(pixels, 1, PIXELS, file) != PIXELS) return 2;
    fclose(file);
    REFUSED(pcmref_chip_program("/nowhere.h5", NULL, 0, NULL, NULL), "/nowhere.h5");
    REFUSED(pcmref_chip_program(NULL, "no such model", 0, NULL, NULL), "no such model");
    REFUSED(pcmref_chip_program(NULL, NULL, -1, NULL, NULL), "seed");
    REFUSED(pcmref_chip_program(NULL, NULL, 0, "chip9", NULL), "chip9");
    REFUSED(pcmref_chip_program(NULL, NULL, 0, NULL, "magic"), "magic");
    REFUSED(pcmref_chip_program("\xff", NULL, 0, NULL, NULL), "codec");
    chip = pcmref_chip_program(NULL, NULL, 7, "chip8", "gdc");
    other = pcmref_chip_program("", "", 8, "", "");
    if (chip <= 0 || other <= 0) {
        fprintf(stderr, "%s\n", pcmref_error());
        return 1;
    }
    if (pcmref_chip_size(chip, PCMREF_HEIGHT) != 8 || pcmref_chip_size(chip, PCMREF_WIDTH) != 8 ||
        pcmref_chip_size(chip, PCMREF_CHANNELS) != 1 || pcmref_chip_size(chip, PCMREF_CLASSES) != CLASSES)
        return 3;
    TAKEN(pcmref_chip_at(chip, 31536000));
    REFUSED(pcmref_chip_at(chip, -1), "t_s");
    TAKEN(pcmref_chip_logits(chip, pixels, PIXELS, 5, logits, IMAGES * CLASSES));
    REFUSED(pcmref_chip_logits(chip, pixels, PIXELS, 5, logits, 1), "logits: expected 30 elements, found 1");
    REFUSED(pcmref_chip_logits(chip, pixels, PIXELS - 1, 5, logits, IMAGES * CLASSES), "pixels: expected 64 for each image");
    REFUSED(pcmref_chip_logits(chip, NULL, PIXELS, 5, logits, IMAGES * CLASSES), "pixels");
    REFUSED(pcmref_chip_logits(chip, pixels, PIXELS, 5, NULL, IMAGES * CLASSES), "logits");
    REFUSED(pcmref_chip_logits(chip, pixels, PIXELS, -1, logits, IMAGES * CLASSES), "address");
    REFUSED(pcmref_chip_logits(99, pixels, PIXELS, 5, logits, IMAGES * CLASSES), "chip: expected the handle of an open one");
    REFUSED(pcmref_chip_size(chip, 4), "what");
    REFUSED(pcmref_chip_export(chip, NULL, NULL, pixels, PIXELS), "folder");
    REFUSED(pcmref_chip_export(chip, arguments[2], "no such layer", pixels, PIXELS), "no such layer");
    TAKEN(pcmref_chip_export(chip, arguments[2], "conv1", pixels, PIXELS));
    TAKEN(pcmref_chip_close(other));
    REFUSED(pcmref_chip_close(other), "chip: expected the handle of an open one");
    TAKEN(pcmref_chip_close(chip));
    if ((file = fopen(arguments[3], "wb")) == NULL) return 2;
    if (fwrite(logits, sizeof *logits, IMAGES * CLASSES, file) != IMAGES * CLASSES) return 2;
    return fclose(file) == 0 ? 0 : 2;
}
