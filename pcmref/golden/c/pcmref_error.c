#include "pcmref_error.h"

#include <stdarg.h>
#include <stdio.h>

#if defined(__cplusplus)
#define OF_THREAD thread_local
#elif defined(__GNUC__)
#define OF_THREAD __thread
#else
#define OF_THREAD /* one text for all threads */
#endif

static OF_THREAD char text[1024];

int pcmref_failed(int status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return status;
}

const char *pcmref_last_error(void) { return text; }
