#!/bin/bash
# tests/told.sh LOG: of a part that failed, what failed first: each test or scenario with its seed and the command that replays it; then the end of the log.
# Whoever reads may have the beginning of this only.
set -u
failed='^FAILED: |^not ok - |^#   violation: |^\[  FAILED  \]'
if grep -qE "$failed" "$1"; then
  grep -E -A 3 "$failed" "$1" | head -n 60
  echo "... and the end of $1:"
fi
grep -v '^ok - ' "$1" | tail -n 40
