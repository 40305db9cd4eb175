/* core/metrics.c and the list: names as Prometheus has them, and samples that say what the page does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"

static struct counters_snapshot page;

static const char *reason_name(uint32_t reason) { return reason == 12 ? "TIME_IN_FUTURE" : reason == 201 ? "BUSY_CREDIT" : "unknown"; }

static bool ends_in(const char *text, const char *tail)
{
  const size_t size = strlen(text), of = strlen(tail);
  return size >= of && strcmp(text + size - of, tail) == 0;
}

/* What promtool and the conventions ask of a name: base units only, no abbreviated one, _total for totals and for nothing else. */
static void names_are_prometheus_s(void **state)
{
  (void)state;
  static const char *const abbreviated[] = {"_s",  "_ms", "_us", "_ns", "_sec",          "_b",          "_kb", "_mb",
                                            "_gb", "_m",  "_h",  "_d",  "_milliseconds", "_nanoseconds"};
  assert_true(metrics_count() > 80);
  for (uint32_t i = 0; i < metrics_count(); i++) {
    struct metric m, other;
    metrics_at(i, &m);
    assert_true(strncmp(m.name, "muster_", 7) == 0 && strspn(m.name, "abcdefghijklmnopqrstuvwxyz_") == strlen(m.name));
    assert_true(strlen(m.name) + 8 < METRIC_NAME_BYTES); /* nothing was cut */
    assert_int_equal(ends_in(m.name, "_total"), m.kind == METRIC_TOTAL);
    char stem[METRIC_NAME_BYTES];
    snprintf(stem, sizeof stem, "%.*s", (int)(strlen(m.name) - (m.kind == METRIC_TOTAL ? 6 : 0)), m.name);
    for (size_t k = 0; k < sizeof abbreviated / sizeof abbreviated[0]; k++)
      assert_false(ends_in(stem, abbreviated[k]));
    assert_false(ends_in(stem, "_count") || ends_in(stem, "_sum") || ends_in(stem, "_bucket"));
    assert_int_equal(strcmp(m.unit, "seconds") == 0, ends_in(stem, "_seconds"));
    assert_int_equal(strcmp(m.unit, "bytes") == 0, ends_in(stem, "_bytes"));
    assert_false(ends_in(m.unit, "seconds") && strcmp(m.unit, "seconds") != 0);
    assert_true(strlen(m.sentence) > 10 && !ends_in(m.sentence, "."));
    for (uint32_t k = 0; k < i; k++) { /* the names of families, as OpenMetrics has them, are all different */
      metrics_at(k, &other);
      const size_t size = strlen(other.name) - (other.kind == METRIC_TOTAL ? 6 : 0);
      assert_false(strlen(stem) == size && strncmp(stem, other.name, size) == 0);
    }
  }
}

struct heard {
  uint32_t samples;
  double sum, last;
  char text[4096]; /* label=value of each */
};

static int hear(void *context, const struct metric_sample *sample)
{
  struct heard *h = context;
  char line[128];
  h->samples++;
  h->sum += sample->value;
  h->last = sample->value;
  snprintf(line, sizeof line, "%s%s=%g ", sample->suffix, sample->label_value ? sample->label_value : "", sample->value);
  strncat(h->text, line, sizeof h->text - strlen(h->text) - 1);
  return 0;
}

static struct heard heard;
static struct metric found;

/* Hears the metric of that name in the page. */
static void listen(const char *name)
{
  for (uint32_t i = 0; i < metrics_count(); i++) {
    metrics_at(i, &found);
    if (strcmp(found.name, name) == 0) {
      heard = (struct heard){0};
      assert_int_equal(metrics_samples(&found, &page, reason_name, hear, &heard), 0);
      return;
    }
  }
  fail_msg("there is no %s", name);
}

static int setup(void **state)
{
  (void)state;
  page = (struct counters_snapshot){.role = "ingest-0",
                                    .state = PROCESS_SERVING,
                                    .alive = true,
                                    .started_us = 1700000000500000,
                                    .since_us = 1600000000000000,
                                    .state_ns = 2500000000};
  return 0;
}

static void times_are_told_in_seconds(void **state)
{
  (void)state;
  page.value[COUNTER_process_cpu_ns] = 1500000000;
  page.value[COUNTER_retry_after_ms] = 250;
  page.value[COUNTER_received_bytes] = 77;
  listen("muster_process_cpu_seconds_total");
  assert_true(heard.samples == 1 && heard.last == 1.5);
  listen("muster_retry_after_seconds");
  assert_true(heard.last == 0.25);
  listen("muster_received_bytes_total");
  assert_true(heard.last == 77);
  listen("muster_process_start_time_seconds");
  assert_true(heard.last == 1700000000.5);
  listen("muster_process_totals_since_seconds");
  assert_true(heard.last == 1600000000);
  listen("muster_process_state_age_seconds");
  assert_true(heard.last == 2.5);
}

/* A process tells what it counts and nothing else. */
static void each_tells_its_own(void **state)
{
  (void)state;
  listen("muster_commits_total");
  assert_int_equal(heard.samples, 0);
  listen("muster_batch_ack_seconds");
  assert_true(heard.samples > 3);
  strcpy(page.role, "worker-11");
  listen("muster_commits_total");
  assert_int_equal(heard.samples, 1);
  listen("muster_batch_ack_seconds");
  assert_int_equal(heard.samples, 0);
  strcpy(page.role, "run");
  listen("muster_restarts_total");
  assert_int_equal(heard.samples, 1);
  listen("muster_commits_total");
  assert_int_equal(heard.samples, 0);
  listen("muster_process_up");
  assert_true(heard.samples == 1 && heard.last == 1);
  listen("muster_node_full_in_seconds");
  assert_true(heard.samples == 0 && found.who == 0);
}

static void what_is_told_apart_has_its_label(void **state)
{
  (void)state;
  page.reason[COUNTER_RECORDS][12] = 3;
  page.reason[COUNTER_RECORDS][201] = 4;
  page.reason[COUNTER_BATCHES][201] = 5;
  page.value[COUNTER_handshakes_refused_unknown] = 6;
  page.value[COUNTER_handshakes_refused_mechanism] = 7;
  listen("muster_records_invalid_by_reason_total");
  assert_string_equal(heard.text, "TIME_IN_FUTURE=3 ");
  assert_string_equal(found.extra_label, "reason");
  listen("muster_records_handed_back_by_reason_total");
  assert_string_equal(heard.text, "BUSY_CREDIT=4 ");
  listen("muster_batches_busy_by_reason_total");
  assert_string_equal(heard.text, "BUSY_CREDIT=5 ");
  listen("muster_handshakes_refused_by_cause_total");
  assert_string_equal(heard.text, "unknown=6 revoked=0 mechanism=7 ");
  assert_string_equal(found.extra_label, "cause");
  listen("muster_process_state");
  assert_string_equal(heard.text, "starting=0 serving=1 draining=0 stopped=0 ");
  page.alive = false;
  listen("muster_process_state");
  assert_string_equal(heard.text, "starting=0 serving=0 draining=0 stopped=0 ");
  page.rows = 2;
  strcpy(page.submitter[0].name, "a");
  strcpy(page.submitter[1].name, "b");
  page.submitter[0].value[SUBMITTER_last_seen] = 2500000;
  page.submitter[1].value[SUBMITTER_records_accepted] = 9;
  listen("muster_submitter_last_seen_seconds");
  assert_string_equal(heard.text, "a=2.5 b=0 ");
  listen("muster_submitter_records_accepted_total");
  assert_string_equal(heard.text, "a=0 b=9 ");
}

struct buckets {
  double before, edge, count, sum;
  uint32_t edges;
};

static int hear_bucket(void *context, const struct metric_sample *sample)
{
  struct buckets *b = context;
  if (strcmp(sample->suffix, "_bucket") == 0) {
    const double edge = strcmp(sample->label_value, "+Inf") == 0 ? 1e99 : strtod(sample->label_value, NULL);
    assert_true(edge > b->edge && sample->value >= b->before);
    b->edge = edge;
    b->before = sample->value;
    b->edges++;
  } else if (strcmp(sample->suffix, "_count") == 0) {
    b->count = sample->value;
  } else {
    assert_string_equal(sample->suffix, "_sum");
    b->sum = sample->value;
  }
  return 0;
}

static void histograms_are_cumulative(void **state)
{
  (void)state;
  struct counters_histogram *h = &page.histogram[HISTOGRAM_batch_ack];
  for (uint32_t i = 0; i < COUNTER_BUCKETS; i++)
    h->bucket[i] = i % 7;
  h->sum = UINT64_C(3000000000);
  listen("muster_batch_ack_seconds");
  struct buckets b = {.edge = -1};
  assert_int_equal(metrics_samples(&found, &page, reason_name, hear_bucket, &b), 0);
  assert_true(b.edge == 1e99 && b.edges > 20);
  assert_true(b.count == (double)counters_histogram_count(h) && b.before == b.count && b.sum == 3.0);
}

/* The walk stops where it is told to. */
static int stop_at_second(void *context, const struct metric_sample *sample)
{
  (void)sample;
  return ++*(int *)context == 2 ? 42 : 0;
}

static void a_walk_can_be_ended(void **state)
{
  (void)state;
  static const char *const names[] = {"muster_batch_ack_seconds", "muster_process_state", "muster_handshakes_refused_by_cause_total"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    int heard_so_far = 0;
    listen(names[i]);
    assert_int_equal(metrics_samples(&found, &page, reason_name, stop_at_second, &heard_so_far), 42);
    assert_int_equal(heard_so_far, 2);
  }
}

static void the_rule_is_the_lists(void **state)
{
  (void)state;
  static const enum counter_id parts[] = {COUNTER_records_accepted, COUNTER_records_duplicate,   COUNTER_records_conflict,
                                          COUNTER_records_invalid,  COUNTER_records_handed_back, COUNTER_records_in_flight};
  static const enum submitter_id columns[] = {SUBMITTER_records_accepted, SUBMITTER_records_duplicate,   SUBMITTER_records_conflict,
                                              SUBMITTER_records_invalid,  SUBMITTER_records_handed_back, SUBMITTER_records_in_flight};
  page.value[COUNTER_records_received] = page.submitter[0].value[SUBMITTER_records_received] = 63;
  for (int i = 0; i < 6; i++)
    page.value[parts[i]] = page.submitter[0].value[columns[i]] = UINT64_C(1) << i;
  listen("muster_records_unaccounted");
  assert_true(heard.samples == 1 && heard.last == 0);
  assert_int_equal(metrics_unaccounted_row(&page.submitter[0]), 0);
  for (int i = 0; i < 6; i++) {
    page.value[parts[i]]++;
    page.submitter[0].value[columns[i]]--;
    assert_int_equal(metrics_unaccounted(&page), -1);
    assert_int_equal(metrics_unaccounted_row(&page.submitter[0]), 1);
    page.value[parts[i]]--;
    page.submitter[0].value[columns[i]]++;
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_prometheus_s),
      cmocka_unit_test_setup(times_are_told_in_seconds, setup),
      cmocka_unit_test_setup(each_tells_its_own, setup),
      cmocka_unit_test_setup(what_is_told_apart_has_its_label, setup),
      cmocka_unit_test_setup(histograms_are_cumulative, setup),
      cmocka_unit_test_setup(a_walk_can_be_ended, setup),
      cmocka_unit_test_setup(the_rule_is_the_lists, setup),
  };
  return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
