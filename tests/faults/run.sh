#!/bin/bash
# The faults that tests/faults can bring, one file after the other, in short form (run.sh) or full (run.sh --full: more than an hour; the first
# comment of each file says how long it takes by itself). PARTS="kills clock" chooses files; without it all are run, in full form all but soak, which
# has a length of its own (make soak). Says when each begins and ends, and last "N scenarios, M violations"; what was violated, with the seed and the
# command that replays it, stands above. Logs: build/log/.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
export FORM=${FORM:-short} MUSTER_BUILD=${MUSTER_BUILD:-$PWD/$B}
[ "${1:-}" = --full ] && FORM=full
known=$(basename -s .py tests/faults/[a-z]*.py)
if [ -z "${PARTS:-}" ]; then
  PARTS=$known
  [ "$FORM" = full ] && PARTS=${known/soak/}
fi
for name in $PARTS; do
  # shellcheck disable=SC2086 # the list is a list
  case " $(echo $known) " in *" $name "*) ;; *) echo "tests/faults/run.sh: there is no part \"$name\"; known: $(echo $known)" >&2; exit 64 ;; esac
done
mkdir -p "$B/log"
scenarios=0 violations=0 broken=0
for name in $PARTS; do
  suite=tests/faults/$name.py start=$SECONDS
  log=$B/log/faults-$name.log
  echo "begins: $name ($FORM form, $(date +%H:%M:%S))"
  "$suite" >"$log" 2>&1
  code=$?
  last=$(grep -E '^[0-9]+ scenarios, [0-9]+ violations$' "$log" | tail -n 1)
  read -r tried _ bad _ <<<"${last:-0 scenarios, 0 violations}"
  scenarios=$((scenarios + tried)) violations=$((violations + bad))
  grep '^skip - ' "$log"
  if [ $code -ne 0 ] || [ "$bad" -ne 0 ] || [ "$tried" -eq 0 ]; then
    broken=1
    [ "$bad" -gt 0 ] || violations=$((violations + 1)) # one that ended before it could count
    echo "FAILED: $suite (exit $code, $((SECONDS - start)) s)"
    tests/told.sh "$log"
  else
    grep '^#   ' "$log"
    echo "ok: $name: $tried scenarios ($((SECONDS - start)) s)"
  fi
done
echo "$scenarios scenarios, $violations violations"
[ $broken -eq 0 ] && [ $scenarios -gt 0 ]
