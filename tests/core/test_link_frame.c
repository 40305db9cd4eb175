/* core/link_frame.c: whose the bytes of a frame are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/link_frame.h"
#include "muster/status.h"

static void frames_are_moved_and_shared(void **state)
{
  (void)state;
  struct link_frame a, b, c;
  assert_int_equal(link_frame_init(&a, 5000), MUSTER_OK);
  memset(link_frame_data(&a), 7, 5000);
  link_frame_init_empty(&b);
  link_frame_init_empty(&c);
  link_frame_share(&b, &a);
  assert_ptr_equal(link_frame_data(&a), link_frame_data(&b)); /* the same bytes, not a copy */
  link_frame_move(&c, &a);
  assert_int_equal(link_frame_size(&a), 0);
  link_frame_finish(&b);
  assert_int_equal(link_frame_size(&c), 5000);
  assert_int_equal(link_frame_data(&c)[4999], 7);
  link_frame_finish(&c);
  link_frame_finish(&c); /* an emptied frame may be finished again */
  assert_int_equal(link_frame_size(&c), 0);
  uint8_t *heap = malloc(3000);
  heap[2999] = 9;
  assert_int_equal(link_frame_init_heap(&a, heap, 3000), MUSTER_OK);
  assert_ptr_equal(link_frame_data(&a), heap);
  link_frame_finish(&a);
}

static void a_message_begins_and_ends_empty(void **state)
{
  (void)state;
  struct link_message m;
  memset(&m, 0xff, sizeof m);
  link_message_init(&m);
  assert_int_equal(m.frame_count, 0);
  assert_int_equal(m.identity_size, 0);
  for (unsigned i = 0; i < LINK_FRAMES; i++)
    assert_int_equal(link_frame_size(&m.frame[i]), 0);
  link_frame_finish(&m.frame[1]);
  assert_int_equal(link_frame_init(&m.frame[1], 5000), MUSTER_OK);
  m.frame_count = 2;
  link_message_finish(&m); /* a leak checker tells where it forgets one */
  assert_int_equal(m.frame_count, 0);
  assert_int_equal(link_frame_size(&m.frame[1]), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(frames_are_moved_and_shared),
      cmocka_unit_test(a_message_begins_and_ends_empty),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
