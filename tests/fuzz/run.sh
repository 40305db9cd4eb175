#!/bin/bash
# Differential fuzz of the scan against protobuf-c, under the sanitizers.
#
#   tests/fuzz/run.sh SECONDS   half of the time the standalone driver with a seed of its own, half of it libFuzzer (where clang has it)
#   tests/fuzz/run.sh --short   200,000 inputs of the standalone driver, the same every time
#
# B is the build folder (default build), MUSTER_SEED the driver's seed. Exit 1 on a finding, with the command that shows it again; the last
# line says how many inputs were tried. What libFuzzer learns stays in $B/fuzz/corpus; tests/fuzz/corpus/scan is what both start from.
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
CC=${CC:-gcc}
OUT=$B/fuzz
SEEDS=tests/fuzz/corpus/scan
GENERATED="$B/gen/proto/encounter.pb-c.c $B/gen/proto/wire.pb-c.c"
SOURCES="tests/fuzz/fuzz_scan.c proto/scan.c proto/digest.c proto/encode.c proto/text.c $GENERATED"
FLAGS="-std=c11 -g -O1 -fno-omit-frame-pointer -D_GNU_SOURCE -I. -Iinclude -I$B/gen"
SANITIZE="address,undefined -fno-sanitize-recover=undefined"
# So that the driver's handler of SIGABRT can say which input it was.
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }
[ $# -eq 1 ] || usage
case $1 in --short) seconds=0 ;; '' | *[!0-9]* | 0) usage ;; *) seconds=$1 ;; esac

mkdir -p "$OUT/corpus"
make --no-print-directory -s B="$B" "$B"/gen/proto/{encounter,wire}.pb-c.{c,h}
# shellcheck disable=SC2086 # the lists are lists
$CC $FLAGS -fsanitize=$SANITIZE tests/fuzz/drive_scan.c $SOURCES -lprotobuf-c -o "$OUT/drive_scan"

drive() { # options of drive_scan
  if ! "$OUT/drive_scan" "$@" "$SEEDS"/* | tee "$OUT/drive_scan.log"; then
    echo "fuzz: a promise is broken (above). Again: $OUT/drive_scan $* [--only INPUT] $SEEDS/*" >&2
    exit 1
  fi
  driven=$(sed -n 's/.* \([0-9]*\) inputs:.*/\1/p' "$OUT/drive_scan.log")
}
set -o pipefail

if [ "$seconds" -eq 0 ]; then
  drive --seed "${MUSTER_SEED:-1}" --count 200000
  echo "fuzz: $driven inputs tried, no promise broken"
  exit 0
fi

half=$(((seconds + 1) / 2))
drive --seed "${MUSTER_SEED:-$(date +%s)}" --seconds $half

fuzzed=0 note=""
# shellcheck disable=SC2086
if clang $FLAGS -fsanitize=fuzzer,$SANITIZE $SOURCES -lprotobuf-c -o "$OUT/libfuzzer_scan" 2>"$OUT/clang.log"; then
  if ! "$OUT/libfuzzer_scan" -max_total_time=$half -max_len=17000 -print_final_stats=1 -verbosity=0 -artifact_prefix="$OUT/" \
    "$OUT/corpus" "$SEEDS" >"$OUT/libfuzzer.log" 2>&1; then
    tail -n 60 "$OUT/libfuzzer.log" >&2
    grep -aoE 'Running with seed|Seed: [0-9]+' "$OUT/libfuzzer.log" >&2 || true
    echo "fuzz: a promise is broken (above); $driven inputs of the driver were good before. Again, with the file that libFuzzer" \
      "names in its last lines: $OUT/drive_scan --replay FILE" >&2
    exit 1
  fi
  fuzzed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$OUT/libfuzzer.log")
else
  note="; no libFuzzer here (see $OUT/clang.log)"
fi
echo "fuzz: $((driven + fuzzed)) inputs tried ($driven by the driver, $fuzzed by libFuzzer), no promise broken$note"
