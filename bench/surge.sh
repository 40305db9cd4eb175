#!/bin/bash
# The main job, visibly: a node with an embedded store, the southwest surge of fiscal year 2021 submitted to it record by record, and the published figures beside
# what the store has. bench/surge.sh MUSTER DIRECTORY. Run again it resubmits the same stream to the same store, which must change nothing. Exit 0 only if every figure agrees.
set -u
muster=$1 directory=$2
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
data=$directory/data log=$directory/node.log
export MUSTER_DATA=$data
node=

stop() {
  if [ -n "$node" ] && kill -0 "$node" 2>/dev/null; then kill -TERM "$node"; wait "$node"; fi
}
trap 'stop; exit 130' INT TERM
trap 'stop; exit 141' PIPE # whoever reads has gone away: the node shall not stay behind
die() { echo "muster: $1" >&2; stop; exit "${2:-70}"; }

echo "== a node: ingest, two workers, a store under $2"
"$muster" run --data "$data" --workers 2 --listen none 2>"$log" &
node=$!
until grep -q '^muster: ready:' "$log"; do
  kill -0 "$node" 2>/dev/null || { cat "$log" >&2; die "the node did not start" 69; }
  sleep 0.05
done
grep '^muster: ready:' "$log"

echo "== fiscal year 2021, southwest: generate | submit"
MUSTER_PROGRESS=1 "$muster" submit --total 1734686 <("$muster" generate --profile fy2021-southwest --seed 2021) || die "submit ended with $?" 65

echo "== drain"
kill -TERM "$node"
wait "$node" || die "the node ended with $?, see $log"
node=
grep '^muster: stopped' "$log"

echo "== verify: everything that is stored is read again"
"$muster" verify || die "verify found faults" 1

echo "== the tally beside the published figures"
"$muster" tally --against fy2021-southwest || die "figures differ" 1

hints=(
  "make run" "the same stream again: 0 accepted, all duplicates, the tally unchanged"
  "export MUSTER_DATA=$2/data" "the data directory, for the commands below"
  "$muster run --listen none --log-level warn &" "the node, to be used by hand"
  "$muster status" "what it is doing"
  "$muster tally --by month,area" "exact counts"
  "$muster get 0:1" "one record with its receipt"
  "kill %%" "the node drains and stops"
)
width=0
for ((i = 0; i < ${#hints[@]}; i += 2)); do
  if [ ${#hints[i]} -gt $width ]; then width=${#hints[i]}; fi
done
printf '\nType next:\n'
for ((i = 0; i < ${#hints[@]}; i += 2)); do printf '  %-*s  %s\n' "$width" "${hints[i]}" "${hints[i + 1]}"; done
