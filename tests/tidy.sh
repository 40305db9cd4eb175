#!/bin/bash
# The house rules that a machine can check: format, the include rule, who may include which library, lint. Says what is wrong and where.
set -u
cd "$(dirname "$0")/.."
B=${B:-build}
bad=0
complain() { echo "tidy: $*"; bad=1; }

if command -v clang-format >/dev/null; then
  for f in $(git ls-files '*.c' '*.h'); do
    clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || complain "$f: not formatted (make format)"
  done
fi

# Includes run one way: include <- core <- proto <- store <- workers, include <- core <- proto <- ingest. client, ops and bench stand beside.
# bench/micro measures the rooms' insides, so it may see them; nothing sees it.
allowed() {
  case $1 in
    include) echo "" ;;
    core) echo "core" ;;
    proto) echo "core proto" ;;
    store) echo "core proto store" ;;
    workers) echo "core proto store workers" ;;
    ingest) echo "core proto ingest" ;;
    client) echo "core proto client ops" ;;
    ops) echo "core proto store ops bench client" ;;
    bench) echo "core proto bench ops" ;;
    bench/micro) echo "core proto store workers ingest bench bench/micro" ;;
  esac
}
for room in include core proto store workers ingest client ops bench bench/micro; do
  for f in $(git ls-files "$room/*.c" "$room/*.h"); do
    case $room:$f in bench:bench/micro/*) continue ;; esac
    for other in $(grep -ohE '^#include "(bench/micro|[a-z]+)/' "$f" | sed -E 's/.*"(.*)\//\1/' | sort -u); do
      [ "$other" = muster ] && continue
      case " $(allowed $room) " in *" $other "*) ;; *) complain "$f: includes from $other/, which $room/ may not" ;; esac
    done
  done
done
# The commands that live outside ops/ (submit, generate) share its manner of speaking, and nothing else of it.
grep -nE '^#include "ops/' $(git ls-files 'client/*.[ch]' 'bench/*.[ch]') | grep -vE 'ops/(commands|options|table)\.h' && complain "only commands.h, options.h and table.h of ops/ may be included outside it"
grep -nE '^#include "store/' $(git ls-files 'client/*.[ch]' 'ops/*.[ch]' 'bench/*.[ch]' ':!bench/micro') | grep -vE '"store/(read|backup)\.h"' && complain "only read.h and backup.h of store/ may be included outside store/ and workers/"
grep -lE '^#include <lmdb.h>' $(git ls-files '*.c' '*.h') | grep -v '^store/\|^bench/\(micro\|tools\|peers\)/\|^tests/store/' && complain "lmdb.h outside store/ and what measures it bare"
grep -lE '^#include <zmq.h>' $(git ls-files '*.c' '*.h') | grep -vE '^(core/link(_frame|_socket)?\.c|ingest/auth\.c|client/|tests/)' && complain "zmq.h outside core/link*.c, ingest/auth.c, client/"

git grep -nIE '\b(TODO|FIXME|HACK)\b' -- '*.c' '*.h' '*.py' '*.sh' Makefile ':!tests/tidy.sh' && complain "unfinished marks"
for f in $(git ls-files 'tests/*.c' | grep '/test_'); do grep -qE 'assert_' "$f" || complain "$f: a test without an assertion"; done

if command -v cppcheck >/dev/null; then
  make --no-print-directory -s B="$B" "$B"/gen/proto/{encounter,wire}.pb-c.{c,h} || complain "the generated headers"
  cppcheck -q --std=c11 --language=c --error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem --suppress=unusedFunction --suppress=uninitvar --suppress="*:$B/gen/*" -DPROTOBUF_C_VERSION_NUMBER=1004001 -DPROTOBUF_C_MIN_COMPILER_VERSION=1000000 \
    --enable=warning,portability -I. -Iinclude -I"$B/gen" -D_GNU_SOURCE -j2 core proto ingest workers store client ops bench/*.c bench/micro/*.c bench/tools/*.c bench/peers/peer.c || complain "cppcheck"
fi
[ $bad -eq 0 ] && echo "tidy: all right"
exit $bad
