/*
 * What the machine has: free disk and memory, as an ordinary process may use them. Any process; no state.
 */
#ifndef MUSTER_CORE_MACHINE_H
#define MUSTER_CORE_MACHINE_H

#include <stdint.h>

/* Free bytes of the file system that holds path. 0 or an errno value; then *free_bytes stays as it was. */
int machine_disk_free(const char *path, uint64_t *free_bytes);

/* Physical memory, or what a control group (v2, or v1 where that is used) above this process allows, where that is less. 0: it cannot be told. */
uint64_t machine_memory_bytes(void);
/* What may be taken now without pushing anything out to swap, within the same bounds. UINT64_MAX: it cannot be told. */
uint64_t machine_memory_available_bytes(void);

#endif
