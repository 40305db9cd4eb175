/* core/log_linear.h: buckets without gaps that are as narrow as they promise, at every number of steps. Quantiles beside sorted values:
 * tests/bench/test_histogram.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/log_linear.h"

static void buckets_are_seamless_and_narrow(void **state)
{
  (void)state;
  for (uint32_t bits = 0; bits <= 10; bits++) {
    const uint32_t buckets = (40 - bits) << bits;
    assert_int_equal(log_linear_low(bits, 0), 0);
    for (uint32_t i = 0; i < buckets; i++) {
      const uint64_t low = log_linear_low(bits, i), next = log_linear_low(bits, i + 1);
      assert_true(next > low);
      assert_int_equal(log_linear_bucket(bits, low), i);
      assert_int_equal(log_linear_bucket(bits, next - 1), i);
      assert_true((next - 1 - low) << bits <= low);
    }
  }
}

static void quantiles_are_upper_edges(void **state)
{
  (void)state;
  uint64_t bucket[20] = {0};
  assert_int_equal(log_linear_quantile(2, bucket, 20, 0.5), 0);
  bucket[3] = 1;
  bucket[12] = 1;
  assert_int_equal(log_linear_quantile(2, bucket, 20, 0), 3);
  assert_int_equal(log_linear_quantile(2, bucket, 20, 0.5), 3);
  assert_int_equal(log_linear_quantile(2, bucket, 20, 0.51), log_linear_low(2, 13) - 1);
  assert_int_equal(log_linear_quantile(2, bucket, 20, 1), log_linear_low(2, 13) - 1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buckets_are_seamless_and_narrow),
      cmocka_unit_test(quantiles_are_upper_edges),
  };
  return cmocka_run_group_tests_name("log_linear", tests, NULL, NULL);
}
