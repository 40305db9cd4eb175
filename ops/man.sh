#!/bin/bash
# The manual pages, made from each command's --help, and that of the settings from `muster config --defaults`, so that there is one text:
# ops/man.sh MUSTER DIRECTORY. Uses help2man; ops/man.sh --settings MUSTER prints the page of the settings alone, and does not.
set -eu
# A comment of two lines stands above each setting there: its sentence, and what it may be.
settings_page() { # MUSTER VERSION
  printf '.TH MUSTER.CONF 5 "" "Muster %s" "Settings"\n' "$2"
  cat <<'END'
.SH NAME
muster.conf \- settings of a Muster node
.SH DESCRIPTION
An INI file for
.B muster run \-\-config FILE.
A line that is left out has its default; options of the command line go over the file. Numbers may have their unit behind them, sizes KiB, MiB, GiB or TiB.
.B muster config \-\-defaults
writes such a file,
.B muster config \-\-check FILE
looks one over,
.B muster reload
has a running node read it again.
END
  "$1" config --defaults | awk '
    function text(s) { gsub(/\\/, "\\e", s); gsub(/-/, "\\-", s); return s }
    /^\[/ { print ".SH [" substr($0, 2, length($0) - 2) "]"; next }
    /^# / { above = above sep text(substr($0, 3)); sep = "\n.br\n"; next }
    /^[a-z_]+ = / { print ".TP\n.B " text($1) "\n" above; above = sep = ""; next }
    { above = sep = "" }'
  printf '.SH SEE ALSO\n.BR muster\\-config (1),\n.BR muster\\-reload (1),\n.BR muster\\-check (1)\n'
}
version_of() { "$1" --version | sed -E 's/^muster //; q'; }
if [ "$1" = --settings ]; then
  settings_page "$2" "$(version_of "$2")"
  exit
fi
muster=$(realpath "$1") out=$2
version=$(version_of "$muster")
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
settings_page "$muster" "$version" >"$out/muster.conf.5"
