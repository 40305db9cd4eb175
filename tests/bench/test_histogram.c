/* bench/histogram.c: quantiles beside those of the sorted values, and sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "bench/histogram.h"
#include "bench/random.h"

#define VALUES 200000u

static struct histogram *new_histogram(void)
{
  struct histogram *h = calloc(1, sizeof *h);
  assert_non_null(h);
  return h;
}

static int by_value(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Each bucket begins where the one before it ends, and no bucket is wider than a thousandth of its values. */
static void buckets_are_seamless_and_narrow(void **state)
{
  (void)state;
  assert_int_equal(histogram_bucket_low(0), 0);
  for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
    uint64_t low = histogram_bucket_low(i), high = histogram_bucket_high(i);
    assert_true(low <= high);
    assert_int_equal(histogram_bucket_low(i + 1), high + 1);
    assert_true((high - low) * 1000 <= low || high == low);
  }
  assert_int_equal(histogram_bucket_high(HISTOGRAM_BUCKETS - 1), HISTOGRAM_VALUE_MAX);
}

static void a_value_is_in_its_bucket(void **state)
{
  (void)state;
  struct histogram *h = new_histogram();
  for (uint32_t bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++)
    for (int off = -1; off <= 1; off++) {
      uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off, found = 0;
      histogram_clear(h);
      histogram_record(h, value);
      for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->bucket[i]) {
          assert_in_range(value, histogram_bucket_low(i), histogram_bucket_high(i));
          found++;
        }
      assert_int_equal(found, 1);
      assert_int_equal(histogram_quantile(h, 0.5), value); /* the maximum is exact */
    }
  free(h);
}

static void quantiles_are_those_of_the_values(void **state)
{
  (void)state;
  static uint64_t values[VALUES];
  static const double shares[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
  struct histogram *h = new_histogram();
  struct random r = random_of(5);
  double sum = 0;
  for (uint32_t i = 0; i < VALUES; i++) {
    values[i] = (uint64_t)exp((double)random_below(&r, 1000000) / 40000); /* 1 ns to 72 s, even over the orders of magnitude */
    histogram_record(h, values[i]);
    sum += (double)values[i];
  }
  qsort(values, VALUES, sizeof *values, by_value);
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
    uint64_t rank = (uint64_t)ceil(shares[i] * VALUES), exact = values[rank ? rank - 1 : 0], told = histogram_quantile(h, shares[i]);
    if (told < exact || (double)(told - exact) > (double)exact * 0.001 + 1)
      fail_msg("share %g: %llu, exactly %llu", shares[i], (unsigned long long)told, (unsigned long long)exact);
  }
  assert_true(fabs(histogram_mean(h) - sum / VALUES) < 1e-6 * sum / VALUES);
  free(h);
}

static void a_sum_is_the_histogram_of_all(void **state)
{
  (void)state;
  struct histogram *all = new_histogram(), *odd = new_histogram(), *even = new_histogram();
  for (uint64_t i = 1; i <= 5000; i++) {
    histogram_record(all, i * i * i);
    histogram_record(i % 2 ? odd : even, i * i * i);
  }
  histogram_add(odd, even);
  assert_int_equal(odd->count, 5000);
  assert_memory_equal(odd->bucket, all->bucket, sizeof all->bucket);
  assert_int_equal(odd->max, all->max);
  free(all);
  free(odd);
  free(even);
}

static void what_is_too_large_is_counted_as_the_largest(void **state)
{
  (void)state;
  struct histogram *h = new_histogram();
  assert_int_equal(histogram_quantile(h, 0.5), 0);
  histogram_record(h, UINT64_MAX);
  assert_int_equal(h->count, 1);
  assert_int_equal(histogram_quantile(h, 1), HISTOGRAM_VALUE_MAX);
  free(h);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buckets_are_seamless_and_narrow),
      cmocka_unit_test(a_value_is_in_its_bucket),
      cmocka_unit_test(quantiles_are_those_of_the_values),
      cmocka_unit_test(a_sum_is_the_histogram_of_all),
      cmocka_unit_test(what_is_too_large_is_counted_as_the_largest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
