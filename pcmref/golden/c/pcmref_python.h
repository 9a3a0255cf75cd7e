/* pcmref in C, what takes Python: chips of whole networks, programmed, drifted, run; and golden cases of them, for pcmref.h.
 *
 *     int chip = pcmref_chip_program("resnet32.h5", "NANDAKUMAR_2019", 0, "rtl8", "gdc");
 *     pcmref_chip_at(chip, 86400);                                  a day after programming
 *     pcmref_chip_logits(chip, pixels, 3072, 0, logits, 10);        one image
 *     pcmref_chip_export(chip, "case", "conv1", pixels, 3072);      its tiles, for pcmref_open("case", "conv1/tile0")
 *
 * Conventions as in pcmref.h; PCMREF_BAD_ARGUMENT stands for every error that pcmref raises, pcmref_error has its text.  The
 * interpreter is the one that `make python PYTHON=...` found, or the one that runs already, as in a cocotb bench.
 */
#ifndef PCMREF_PYTHON_H
#define PCMREF_PYTHON_H

#include "pcmref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What pcmref_chip_size tells. */
enum { PCMREF_HEIGHT = 0, PCMREF_WIDTH = 1, PCMREF_CHANNELS = 2, PCMREF_CLASSES = 3 };

/* Program a network onto devices; 25 s after that is now.
 *
 * network: path of its file; NULL or "" for the digits that come with pcmref.
 * model: of the devices; NULL or "" for NANDAKUMAR_2019.
 * seed: of the chip.
 * preset: paper, chip8 or rtl8; NULL or "" for rtl8.  Ranges are those in the file, or found with its calibration images.
 * compensation: none, gdc, adabs or gdc+adabs; NULL or "" for none.  AdaBS takes the file's calibration images.
 *
 * Returns a handle, a positive number.
 */
PCMREF_API int pcmref_chip_program(const char *network, const char *model, long long seed, const char *preset,
                                   const char *compensation);

/* Let another time be now, `t_s` seconds after programming, and compensate what has drifted until then.  Returns 0. */
PCMREF_API int pcmref_chip_at(int chip, double t_s);

/* Return a number of the chip's network: one of the enumeration above. */
PCMREF_API long long pcmref_chip_size(int chip, int what);

/* Run images through the chip.
 *
 * pixels: (images, height, width, channels), 0 to 255.
 * first: address of the first image, which fresh read noise goes by; the others follow.
 * logits: (images, classes).
 *
 * Returns 0; with a negative number nothing of `logits` holds.
 */
PCMREF_API int pcmref_chip_logits(int chip, const unsigned char *pixels, long long pixel_count, long long first, float *logits,
                                  long long logit_count);

/* Write the golden case of these images as a folder.
 *
 * layer: a crossbar layer; NULL or "" for all.
 *
 * Returns 0.
 */
PCMREF_API int pcmref_chip_export(int chip, const char *folder, const char *layer, const unsigned char *pixels,
                                  long long pixel_count);

/* Forget a chip.  Returns 0. */
PCMREF_API int pcmref_chip_close(int chip);

#ifdef __cplusplus
}
#endif

#endif
