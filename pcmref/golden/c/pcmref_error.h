/* What went wrong last in this thread. */
#ifndef PCMREF_ERROR_H
#define PCMREF_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* Keep a text, as of printf, and return `status`. */
int pcmref_failed(int status, const char *format, ...);

const char *pcmref_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
