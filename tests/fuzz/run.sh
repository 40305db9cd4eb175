#!/bin/bash
# The fuzz targets, under the sanitizers: tests/fuzz/fuzz_NAME.c, what each starts from in corpus/NAME, and every finding ever made in
# found/NAME, which each run tries first.
#
#   tests/fuzz/run.sh SECONDS [TARGET]   shares the seconds over the targets: the standalone driver with a seed of its own, libFuzzer
#                                        (where clang has it), and MemorySanitizer where the target touches no library that lacks it
#   tests/fuzz/run.sh --short [TARGET]   a fixed number of inputs of the standalone driver, the same every time; about a minute for all
#
# B is the build folder (default build), MUSTER_SEED the driver's seed. Prints a table; exit 1 on a finding, with the command that shows it
# again. Logs are in $B/fuzz, and what libFuzzer learns stays in $B/fuzz/corpus.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
OUT=$B/fuzz
# MemorySanitizer takes what a library without it has written for unwritten memory. Not among these: targets over protobuf-c (scan, wire,
# answer, ingest), ZeroMQ's frames (hop and those), jansson (ndjson), inih (config), LMDB (drop).
MSAN_TARGETS="hint journal keys text"
TARGETS=$(cd tests/fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
# So that the driver's handler of SIGABRT can say which input it was.
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1 MSAN_OPTIONS=abort_on_error=1

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 64; }
[ $# -ge 1 ] && [ $# -le 2 ] || usage
case $1 in --short) seconds=0 ;; '' | *[!0-9]* | 0) usage ;; *) seconds=$1 ;; esac
if [ -n "${2:-}" ]; then
  case " $(echo $TARGETS) " in *" $2 "*) TARGETS=$2 ;; *) echo "tests/fuzz/run.sh: no target \"$2\"; there are: $(echo $TARGETS)" >&2; exit 64 ;; esac
fi

build() { # VARIANT CC KIND TARGET...: KIND_TARGET of each
  local variant=$1 cc=$2 kind=$3 name programs=""
  shift 3
  for name in "$@"; do programs="$programs $B/$variant/fuzz/${kind}_$name"; done
  # shellcheck disable=SC2086
  make --no-print-directory -s -j"$(nproc)" B="$B" VARIANT="$variant" CC="$cc" $programs
}

mkdir -p "$OUT"
# shellcheck disable=SC2086 # the lists are lists
build asan "${CC:-gcc}" drive $TARGETS || exit 1
libfuzzer=no msan=""
if [ "$seconds" -gt 0 ]; then
  # shellcheck disable=SC2086
  build fuzz clang libfuzzer $TARGETS >"$OUT/clang.log" 2>&1 && libfuzzer=yes
  for name in $TARGETS; do case " $MSAN_TARGETS " in *" $name "*) msan="$msan $name" ;; esac; done
  # shellcheck disable=SC2086
  if [ -n "$msan" ] && ! build msan clang drive $msan >"$OUT/msan.log" 2>&1; then msan=""; fi
fi

# The files of the targets are small, written for each input, and some are synced: in memory, where there is such a place.
if [ -w /dev/shm ]; then TMPDIR=/dev/shm; fi
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/muster-fuzz-XXXXXX") || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

corpus_of() { find "tests/fuzz/corpus/$1" "tests/fuzz/found/$1" -type f 2>/dev/null | sort; }

# drive PROGRAM LOG OPTIONS...: prints how many inputs were tried. Not 0: a finding, told in the log and on standard error.
drive() {
  local program=$1 log=$2 tried
  shift 2
  # shellcheck disable=SC2046 # names without blanks
  if "$program" "$@" $(corpus_of "$name") >"$log" 2>&1; then
    sed -n 's/.* \([0-9]*\) inputs:.*/\1/p' "$log"
    return 0
  fi
  { tail -n 40 "$log"; echo "fuzz: $name: a promise is broken (above, all of it in $log). Again: $program $* [--only INPUT] tests/fuzz/{corpus,found}/$name/*"; } >&2
  tried=$(sed -n 's/.*input \([0-9]*\);.*/\1/p' "$log")
  echo "${tried:-0}"
  return 1
}

fuzz() { # the same with libFuzzer
  local log=$OUT/libfuzzer_$name.log program=$B/fuzz/fuzz/libfuzzer_$name seeds="" folder
  mkdir -p "$OUT/corpus/$name"
  for folder in tests/fuzz/{corpus,found}/"$name"; do if [ -d "$folder" ]; then seeds="$seeds $folder"; fi; done
  # shellcheck disable=SC2086
  if "$program" -max_total_time="$1" -max_len=17000 -timeout=20 -print_final_stats=1 -verbosity=0 -artifact_prefix="$OUT/$name-" \
    "$OUT/corpus/$name" $seeds >"$log" 2>&1; then
    sed -n 's/^stat::number_of_executed_units: *//p' "$log"
    return 0
  fi
  { tail -n 60 "$log"; echo "fuzz: $name: a promise is broken (above). Again, with the file named there: $B/asan/fuzz/drive_$name --replay FILE"; } >&2
  echo "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | head -n 1)" | grep . || echo 0
  return 1
}

seed=${MUSTER_SEED:-1}
if [ "$seconds" -gt 0 ]; then seed=${MUSTER_SEED:-$(date +%s)}; fi
echo "fuzz: seed $seed (MUSTER_SEED)"
count=0 total=0 findings=0
for name in $TARGETS; do count=$((count + 1)); done
share=$(((seconds + count - 1) / count))
printf '%-9s %12s %12s %12s %9s\n' target driver libFuzzer MSan findings
for name in $TARGETS; do
  fuzzed=0 unread=0 found=0 part=$share ways=1
  [ $libfuzzer = yes ] && ways=2
  case " $msan " in *" $name "*) ways=$((ways + 1)) ;; esac
  part=$(((share + ways - 1) / ways))
  if [ "$seconds" -eq 0 ]; then
    driven=$(drive "$B/asan/fuzz/drive_$name" "$OUT/drive_$name.log" --seed "$seed") || found=1
  else
    driven=$(drive "$B/asan/fuzz/drive_$name" "$OUT/drive_$name.log" --seed "$seed" --seconds $part) || found=1
    if [ $libfuzzer = yes ]; then fuzzed=$(fuzz $part) || found=$((found + 1)); fi
    case " $msan " in *" $name "*)
      unread=$(drive "$B/msan/fuzz/drive_$name" "$OUT/msan_$name.log" --seed "$seed" --seconds $part) || found=$((found + 1)) ;;
    esac
  fi
  printf '%-9s %12s %12s %12s %9s\n' "$name" "$driven" "$fuzzed" "$unread" $found
  total=$((total + driven + fuzzed + unread)) findings=$((findings + found))
done
note=""
if [ "$seconds" -gt 0 ] && [ $libfuzzer = no ]; then note="; no libFuzzer here (see $OUT/clang.log)"; fi
if [ $findings -gt 0 ]; then
  echo "fuzz: $count targets, $total inputs tried, $findings findings (above)$note"
  exit 1
fi
echo "fuzz: $count targets, $total inputs tried, no promise broken$note"
