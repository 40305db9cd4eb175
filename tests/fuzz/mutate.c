/*
 * What libFuzzer is given beside its own changes of bytes: now and then an input that the target makes, so that formats
 * whose parts must fit one another (counts, sizes) are reached at once.
 */
#include "tests/fuzz/fuzz.h"

#define MADE_OF 32u /* one in so many */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
  static struct wire made;
  struct random r = {.state = seed};
  if (!fuzz_target.make || random_below(&r, MADE_OF) > 0)
    return LLVMFuzzerMutate(data, size, size_max);
  made.size = 0;
  fuzz_target.make(&made, &r, NULL, 0);
  if (made.size > size_max)
    return LLVMFuzzerMutate(data, size, size_max);
  memcpy(data, made.bytes, made.size);
  return made.size;
}
