#include "pcmref_handles.h"

#include <limits.h>
#include <stddef.h>

int pcmref_handle_new(pcmref_handles *table, void *open) {
    int place = 0;
    while (place < PCMREF_PLACES && table->places[place].open != NULL) place++;
    if (place == PCMREF_PLACES) return 0;
    table->places[place].open = open;
    table->places[place].used = table->places[place].used % (INT_MAX / PCMREF_PLACES - 1) + 1;
    return table->places[place].used * PCMREF_PLACES + place;
}

void *pcmref_handle_get(const pcmref_handles *table, int handle) {
    if (handle <= 0 || table->places[handle % PCMREF_PLACES].used != handle / PCMREF_PLACES) return NULL;
    return table->places[handle % PCMREF_PLACES].open;
}

void pcmref_handle_set(pcmref_handles *table, int handle, void *open) {
    table->places[handle % PCMREF_PLACES].open = open;
}
