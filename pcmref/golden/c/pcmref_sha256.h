/* SHA-256 (FIPS 180-4). */
#ifndef PCMREF_SHA256_H
#define PCMREF_SHA256_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Write the digest of `size` bytes as 64 hexadecimal digits and a final 0. */
void pcmref_sha256(const unsigned char *bytes, size_t size, char digits[65]);

#ifdef __cplusplus
}
#endif

#endif
