/* core/listen.c: the ports of several ingests, and what is no endpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/listen.h"

static void each_ingest_has_its_own_port(void **state)
{
  (void)state;
  const struct {
    const char *listen, *bound;
    uint32_t index;
  } right[] = {{"tcp://127.0.0.1:7411", "tcp://127.0.0.1:7411", 0},
               {"tcp://127.0.0.1:7411", "tcp://127.0.0.1:7414", 3},
               {"tcp://[::1]:7411", "tcp://[::1]:7412", 1},
               {"tcp://*:0", "tcp://*:0", 9}};
  const char *const wrong[] = {"127.0.0.1:7411",        "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:x",
                               "tcp://127.0.0.1:70000", "tcp://a:65535",   "udp://a:1",        "tcp://127.0.0.1:12x"};
  char out[LISTEN_ENDPOINT_BYTES];
  for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
    struct failure failure = FAILURE_NONE;
    assert_int_equal(listen_endpoint(out, right[i].listen, right[i].index, &failure), MUSTER_OK);
    assert_string_equal(out, right[i].bound);
  }
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct failure failure = FAILURE_NONE;
    assert_int_equal(listen_endpoint(out, wrong[i], 1, &failure), MUSTER_ERR_CONFIG);
    assert_true(failure.text[0] != '\0');
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_ingest_has_its_own_port)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
