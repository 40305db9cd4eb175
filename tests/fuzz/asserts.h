/*
 * The stages and fixtures of the unit tests, for a fuzz target: they assert with cmocka, which needs its runner. Here a
 * broken assertion ends the program like any other broken promise. To be included before them.
 */
#ifndef MUSTER_TESTS_FUZZ_ASSERTS_H
#define MUSTER_TESTS_FUZZ_ASSERTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/fuzz/fuzz.h"

#undef assert_true
#undef assert_non_null
#undef assert_int_equal
#undef assert_in_range
#undef assert_memory_equal
#undef fail_msg
#define assert_true(c) CHECK(c, "in a stage")
#define assert_non_null(c) CHECK((c) != NULL, "in a stage")
#define assert_int_equal(a, b) CHECK((uint64_t)(a) == (uint64_t)(b), "in a stage: %lld, not %lld", (long long)(a), (long long)(b))
#define assert_in_range(value, low, high) CHECK((value) >= (low) && (value) <= (high), "in a stage: %lld", (long long)(value))
#define assert_memory_equal(a, b, size) CHECK(memcmp((a), (b), (size)) == 0, "in a stage")
#define fail_msg(...) CHECK(false, __VA_ARGS__)

#endif
