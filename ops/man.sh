#!/bin/bash
# The manual pages, made from each command's --help, so that there is one text: ops/man.sh MUSTER DIRECTORY. Uses help2man.
set -eu
muster=$(realpath "$1") out=$2
version=$("$muster" --version | sed -E 's/^muster //; q')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
page() { # NAME SENTENCE WORD...
  local name=$1 sentence=$2
  shift 2
  printf '#!/bin/sh\nexec %q %s "$@"\n' "$muster" "$*" >"$work/$name"
  chmod +x "$work/$name"
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)} help2man -N -s 1 -n "$sentence" --version-string="$version" --source="Muster $version" -o "$out/$name.1" "$work/$name"
}
page muster "encounter processing pipeline"
"$muster" --help | sed -nE 's/^  ([a-z]+) +(.*)$/\1\t\2/p' | while IFS=$'\t' read -r command sentence; do
  page "muster-$command" "$sentence" "$command"
done
