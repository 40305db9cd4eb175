#!/bin/bash
# kill -9 at seeded moments, many rounds: tests/kills.sh ROUNDS. Prints the seed that repeats the run.
set -eu
cd "$(dirname "$0")/.."
export ROUNDS=${1:-1000}
echo "kills: $ROUNDS rounds; each submits 100,000 records and kills something under it"
exec tests/flow/08_kills.py
