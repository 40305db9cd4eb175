/*
 * The differential test of the scan, one input at a time: LLVMFuzzerTestOneInput in fuzz_scan.c, called by libFuzzer or
 * by drive_scan.c. A broken promise is printed and ends the program with abort(). What came of the inputs is counted
 * here, so that a driver can tell whether it tried anything.
 */
#ifndef MUSTER_TESTS_FUZZ_FUZZ_SCAN_H
#define MUSTER_TESTS_FUZZ_FUZZ_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_REASONS 11 /* 0 stands for a record that was read, the others are reasons of the scan */

extern uint64_t fuzz_outcomes[FUZZ_REASONS];
extern uint64_t fuzz_stricter; /* refused, although protobuf-c takes it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
