#!/bin/bash
# Every test, in the order in which a fault is nearest its cause: tidy, builds, units, counts (instructions a record), fuzz (short), mutants (a handful), flows, faults (short), the sanitizers' runs of units
# and flows, valgrind.
# Prints what failed, and last "N passed, N failed". SUITES="units flows" chooses, and builds what those need; logs are kept in build/log/.
set -u
cd "$(dirname "$0")/.."
export B=build
LOG=$B/log
ALL=${SUITES:+yes} # a suite that is asked for by name is run whole
KNOWN="tidy builds units counts fuzz mutants flows faults asan valgrind"
SUITES=${SUITES:-$KNOWN}
KNOWN="$KNOWN coverage" # not of a run of everything: make coverage
JOBS=$(nproc)
passed=0 failed=0 skipped=0
mkdir -p "$LOG"

for suite in $SUITES; do
  case " $KNOWN " in *" $suite "*) ;; *) echo "tests/run.sh: there is no suite \"$suite\"; known: $KNOWN" >&2; exit 64 ;; esac
done

has() { case " $SUITES " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
pass() { passed=$((passed + $1)); }
fail() { failed=$((failed + $1)); echo "FAILED: $2"; }

# one NAME COMMAND...: one check; of its output only what failed is shown
one() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$LOG/$name.log" 2>&1; then
    pass 1
    echo "ok: $name ($((SECONDS - start)) s)"
  else
    fail 1 "$name"
    tests/told.sh "$LOG/$name.log"
  fi
}

LEFT_OUT="" # programs that units does not run
# units VARIANT [WRAPPER...]: every cmocka program of a variant, one a processor at a time; its own counts are added up
units() {
  local variant=$1 dir=$B start=$SECONDS p=0 f=0 name log code ok bad names=""
  shift
  [ "$variant" = release ] || dir=$B/$variant
  for test in $(find tests -name 'test_*.c' | sort); do
    name=${test#tests/} name=${name%.c}
    case " $LEFT_OUT " in *" $name "*) continue ;; esac
    names="$names $name"
    log=$LOG/unit-$variant${1:+-$(basename "$1")}-${name//\//-}.log
    while [ "$(jobs -pr | wc -l)" -ge "$JOBS" ]; do wait -n; done
    { timeout 600 "$@" "$dir/tests/$name" >"$log" 2>&1; echo $? >"$log.code"; } &
  done
  wait
  for name in $names; do
    log=$LOG/unit-$variant${1:+-$(basename "$1")}-${name//\//-}.log
    code=$(cat "$log.code")
    ok=$(grep -c '^\[       OK \]' "$log")
    bad=$(grep -c '^\[  FAILED  \] [a-z_0-9]*$' "$log")
    bad=$((bad / 2))
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    p=$((p + ok)) f=$((f + bad))
    if [ "$bad" -gt 0 ]; then
      echo "FAILED: unit $variant ${1:-} $name (exit $code)"
      grep -vE '^\[ +(OK|RUN) ' "$log" | tail -n 25
    fi
  done
  pass $p
  failed=$((failed + f))
  echo "units, $variant${1:+ under $(basename "$1")}: $p ok, $f not ok ($((SECONDS - start)) s)"
}

# flows VARIANT ABREAST FILES...: the real executable, so many files at a time; counts TAP lines
flows() {
  local variant=$1 abreast=$2 start=$SECONDS p=0 f=0 log code ok bad
  shift 2
  for test in "$@"; do
    log=$LOG/flow-$variant-$(basename "$test" .py).log
    while [ "$(jobs -pr | wc -l)" -ge "$abreast" ]; do wait -n; done
    { MUSTER_VARIANT=$variant timeout 1200 "$test" >"$log" 2>&1; echo $? >"$log.code"; } &
  done
  wait
  for test in "$@"; do
    log=$LOG/flow-$variant-$(basename "$test" .py).log
    code=$(cat "$log.code")
    ok=$(grep -c '^ok - ' "$log")
    bad=$(grep -c '^not ok - ' "$log")
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    skipped=$((skipped + $(grep -c '^skip - ' "$log")))
    grep '^skip - ' "$log"
    p=$((p + ok)) f=$((f + bad))
    if [ "$bad" -gt 0 ]; then
      echo "FAILED: flow $variant $(basename "$test") (exit $code)"
      tests/told.sh "$log"
    fi
  done
  pass $p
  failed=$((failed + f))
  echo "flows, $variant, $abreast abreast: $p ok, $f not ok ($((SECONDS - start)) s)"
}

build() { make --no-print-directory -j"$JOBS" VARIANT="$1" "${@:2}"; }

# needs SUITE...: whether one of those is run
needs() { for suite in "$@"; do has "$suite" && return 0; done; return 1; }

if has tidy; then one tidy tests/tidy.sh; fi
before=$failed
if needs builds flows faults coverage valgrind; then one build-gcc build release all unit tools peers faults-tools; fi
if needs builds units mutants flows faults asan; then one build-faults build faults all unit; fi
if needs builds asan; then one build-asan build asan all unit; fi
if has coverage; then one build-coverage build coverage all unit; fi
if has builds; then one build-clang make --no-print-directory -j"$JOBS" B=$B/clang CC=clang all; fi
if [ "$failed" -gt "$before" ]; then # tests of what was not built say nothing
  echo "$passed passed, $failed failed"
  exit 1
fi
if has units; then units faults; fi
if has counts; then
  one counts make --no-print-directory bench-check
  if grep '^skip - ' "$LOG/counts.log"; then # of another compiler than the baseline: nothing was judged
    passed=$((passed - 1)) skipped=$((skipped + 1))
  fi
fi
if has fuzz; then one fuzz tests/fuzz/run.sh --short; fi
if has mutants; then one mutants tests/mutants/run.py --short; fi
ALONE="tests/flow/08*.py tests/flow/09*.py tests/flow/1[2345]*.py" # of kills, of many records and of rates
ABREAST="tests/flow/06*.py tests/flow/0[1-57]*.py tests/flow/1[01678]*.py" # the longest first
# shellcheck disable=SC2086 # patterns
if has flows; then
  flows release "$JOBS" $ABREAST
  flows release 1 $ALONE
fi
if has faults; then one faults env FORM=short SEED="${SEED:-21}" tests/faults/run.sh; fi # the same every time; make faults looks further
if has asan; then
  export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 MUSTER_SLOW=4
  units asan
  # shellcheck disable=SC2086
  flows asan "$JOBS" tests/flow/0[24]*.py # where bytes of others come in; the rest takes long there
  SEED="${SEED:-21}" ROUNDS=6 flows asan 1 tests/faults/kills.py
  unset ASAN_OPTIONS UBSAN_OPTIONS MUSTER_SLOW
fi
if has coverage; then
  export MUSTER_SLOW=4
  units coverage
  flows coverage 1 tests/flow/[0-9]*.py
  SEED="${SEED:-21}" ROUNDS=6 flows coverage 1 tests/faults/kills.py
  unset MUSTER_SLOW
fi
if has valgrind; then
  LEFT_OUT="store/test_guard" # reads where nothing is, on purpose: errors to valgrind
  if [ -z "$ALL" ]; then # those that take longest; make valgrind runs them, and the asan suite looks for their leaks
    LEFT_OUT="$LEFT_OUT store/test_backup store/test_commit store/test_hint store/test_index store/test_reader store/test_restore store/test_store"
    LEFT_OUT="$LEFT_OUT store/test_tally store/test_verify store/test_quarantine store/test_backup_check ops/test_deaths ops/test_supervise proto/test_text bench/test_generate bench/test_stream"
  fi
  units release valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible
fi

if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
