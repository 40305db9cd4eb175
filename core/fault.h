/*
 * Named points at which a test can make a process fail. They exist only in builds with -DMUSTER_FAULTS (build/faults);
 * elsewhere the macro is nothing. MUSTER_FAULT="point[=text]:action[:nth]" chooses, actions: kill (SIGKILL to itself),
 * stop, fail (the macro is true), full. FAULT("worker.before-commit") is an expression: true where the call it guards
 * shall fail. FAULT_TEXT compares a text as well.
 */
#ifndef MUSTER_CORE_FAULT_H
#define MUSTER_CORE_FAULT_H

#ifdef MUSTER_FAULTS
#include <stdbool.h>
#include <stddef.h>
bool fault_hit(const char *point, const void *text, size_t text_size);
#define FAULT(point) fault_hit((point), NULL, 0)
#define FAULT_TEXT(point, text, size) fault_hit((point), (text), (size))
#else
#define FAULT(point) 0
#define FAULT_TEXT(point, text, size) 0
#endif

#endif
