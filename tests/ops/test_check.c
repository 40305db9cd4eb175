/* The judgements of muster check: what is ok, a warning or a failure on machines that this one is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/timex.h>
#include <sysexits.h>

#include "core/limits.h"
#include "ops/check.h"

static struct ops_check_list list;

/* The verdict of the one line that was added; what is not ok says what to do. */
static enum ops_check_verdict only(void)
{
  assert_int_equal(list.count, 1);
  const struct ops_check_line *line = &list.line[0];
  assert_true(line->found[0] && line->area[0]);
  assert_int_equal(line->remedy[0] != '\0', line->verdict != CHECK_OK);
  assert_int_equal(line->code != EX_OK, line->verdict == CHECK_FAIL);
  list.count = 0;
  return line->verdict;
}

static enum ops_check_verdict mount(const char *type, const char *options)
{
  ops_check_judge_mount(&list, type, options);
  return only();
}

static void file_systems(void **state)
{
  (void)state;
  assert_int_equal(mount("ext4", "rw,relatime,rw"), CHECK_OK);
  assert_int_equal(mount("xfs", "rw,noatime,rw,noquota"), CHECK_OK);
  assert_int_equal(mount("ext4", "ro,relatime,rw"), CHECK_FAIL);
  assert_int_equal(mount("ext4", "rw,errors=remount-ro"), CHECK_OK); /* a part of a word is none */
  assert_int_equal(mount("ext4", "rw,nobarrier"), CHECK_WARN);
  assert_int_equal(mount("ext4", "rw,barrier=0"), CHECK_WARN);
  assert_int_equal(mount("ext4", "rw,data=writeback"), CHECK_WARN);
  assert_int_equal(mount("tmpfs", "rw"), CHECK_WARN);
  assert_int_equal(mount("nfs4", "rw,vers=4.2"), CHECK_FAIL);
  assert_int_equal(mount("overlay", "rw"), CHECK_WARN);
}

static void the_mount_that_a_path_lies_on(void **state)
{
  (void)state;
  static const char info[] = "26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
                             "40 26 0:40 / /var/lib rw,nosuid - xfs /dev/vdb rw,noquota\n"
                             "41 26 0:41 / /var/lib/with\\040blank ro master:3 shared:2 - ext3 /dev/vdc ro\n"
                             "42 26 0:42 / /var/lib rw - tmpfs none rw,size=4k\n";
  char type[64], options[512];
  assert_true(ops_check_find_mount(info, "/srv/d", type, options));
  assert_string_equal(type, "ext4");
  assert_string_equal(options, "rw,relatime,rw,discard");
  assert_true(ops_check_find_mount(info, "/var/lib/with blank/d", type, options));
  assert_string_equal(type, "ext3");
  assert_true(ops_check_find_mount(info, "/var/lib/d", type, options)); /* the later one covers the first */
  assert_string_equal(type, "tmpfs");
  assert_true(ops_check_find_mount(info, "/var/library", type, options));
  assert_string_equal(type, "ext4");
  assert_false(ops_check_find_mount("", "/", type, options));
}

static enum ops_check_verdict sync_of(uint64_t ns, bool volatile_fs)
{
  ops_check_judge_sync(&list, ns, volatile_fs);
  return only();
}

static void flushes(void **state)
{
  (void)state;
  assert_int_equal(sync_of(300000, false), CHECK_OK);
  assert_int_equal(sync_of(800, false), CHECK_WARN);
  assert_int_equal(sync_of(800, true), CHECK_OK);
  assert_int_equal(sync_of(200000000, false), CHECK_WARN);
}

static enum ops_check_verdict space_of(uint64_t free_bytes, uint64_t reserve_bytes)
{
  ops_check_judge_space(&list, free_bytes, reserve_bytes);
  return only();
}

static void space(void **state)
{
  (void)state;
  assert_int_equal(space_of(100 * LIMIT_GIB, 256 * LIMIT_MIB), CHECK_OK);
  assert_int_equal(space_of(512 * LIMIT_MIB, 256 * LIMIT_MIB), CHECK_WARN);
  assert_int_equal(space_of(255 * LIMIT_MIB, 256 * LIMIT_MIB), CHECK_FAIL);
  assert_int_equal(space_of(0, 0), CHECK_OK);
}

static enum ops_check_verdict clock_of(int state, int status)
{
  ops_check_judge_clock(&list, state, status, 16000);
  return only();
}

static void clocks(void **state)
{
  (void)state;
  assert_int_equal(clock_of(TIME_OK, 0), CHECK_OK);
  assert_int_equal(clock_of(TIME_ERROR, 0), CHECK_WARN);
  assert_int_equal(clock_of(TIME_OK, STA_UNSYNC), CHECK_WARN);
}

static enum ops_check_verdict swap_of(const char *text)
{
  ops_check_judge_swap(&list, text);
  return only();
}

static void swaps(void **state)
{
  (void)state;
#define HEADING "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
  assert_int_equal(swap_of(HEADING), CHECK_OK);
  assert_int_equal(swap_of(""), CHECK_OK);
  assert_int_equal(swap_of(HEADING "/dev/dm-1  partition 1 0 -2\n/dev/zram0 partition 1 0 100\n"), CHECK_OK);
  assert_int_equal(swap_of(HEADING "/dev/dm-1  partition 1 0 -2\n/swapfile file 1 0 -3\n"), CHECK_WARN);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(file_systems), cmocka_unit_test(the_mount_that_a_path_lies_on),
                                     cmocka_unit_test(flushes),      cmocka_unit_test(space),
                                     cmocka_unit_test(clocks),       cmocka_unit_test(swaps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
