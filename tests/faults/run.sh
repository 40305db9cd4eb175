#!/bin/bash
# Every fault that tests/faults can bring, in order: each of its files by itself, in short form (run.sh) or full (run.sh --full). Prints what each
# tried, and last "N scenarios, M violations"; what was violated, with the seed and the command that replays it, stands above. Logs: build/log/.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
export FORM=${FORM:-short} MUSTER_BUILD=${MUSTER_BUILD:-$PWD/$B}
[ "${1:-}" = --full ] && FORM=full
mkdir -p "$B/log"
scenarios=0 violations=0 broken=0
for suite in tests/faults/[a-z]*.py; do
  name=$(basename "$suite" .py) start=$SECONDS
  log=$B/log/faults-$name.log
  "$suite" >"$log" 2>&1
  code=$?
  last=$(grep -E '^[0-9]+ scenarios, [0-9]+ violations$' "$log" | tail -n 1)
  read -r tried _ bad _ <<<"${last:-0 scenarios, 0 violations}"
  scenarios=$((scenarios + tried)) violations=$((violations + bad))
  grep '^skip - ' "$log"
  if [ $code -ne 0 ] || [ "$bad" -ne 0 ] || [ "$tried" -eq 0 ]; then
    broken=1
    [ "$bad" -gt 0 ] || violations=$((violations + 1)) # one that ended before it could count
    echo "FAILED: $suite (exit $code)"
    grep -v '^ok - ' "$log" | head -n 60
  else
    grep '^#   ' "$log"
    echo "ok: $name: $tried scenarios ($((SECONDS - start)) s)"
  fi
done
echo "$scenarios scenarios, $violations violations"
[ $broken -eq 0 ] && [ $scenarios -gt 0 ]
