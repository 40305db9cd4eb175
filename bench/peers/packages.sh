#!/bin/sh
# Installs Debian packages of the peers without letting one of them start a service: `bench/peers/packages.sh PACKAGE...`, run by `make deps-peers`.
# Says what it installs. A package that cannot be had is said and left out, and the peer that needs it is reported absent; so this always exits 0,
# but for a machine on which nothing may be installed at all. Debian starts a server as it installs it, and PostgreSQL lays a cluster: while this
# runs, policy-rc.d forbids the first and a line for pg_createcluster the second. Both are taken away again, and what was there before is put back.
set -u
POLICY=/usr/sbin/policy-rc.d
CLUSTER=/etc/postgresql-common/createcluster.d/muster-peers.conf
UNITS="postgresql redis-server nats-server rabbitmq-server epmd.socket"

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
missing() { for p in "$@"; do installed "$p" || printf ' %s' "$p"; done; }
enabled() { systemctl is-enabled --quiet "$1" 2>/dev/null; }

wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null && exec sudo "$0" "$@"
  echo "muster: not root and no sudo, so these stay missing:$wanted" >&2
  exit 0
fi
echo "muster: installing Debian packages:$wanted (their services stay off)"

for u in $UNITS; do enabled "$u" && was_enabled="${was_enabled-} $u"; done
put_back() {
  rm -f "$POLICY" "$CLUSTER"
  [ -e "$POLICY.muster" ] && mv "$POLICY.muster" "$POLICY"
  rmdir --ignore-fail-on-non-empty "${CLUSTER%/*}" 2>/dev/null
  for u in $UNITS; do # what the install has enabled would start with the next boot
    case " ${was_enabled-} " in *" $u "*) ;; *) enabled "$u" && systemctl disable --quiet "$u" ;; esac
  done
  return 0
}
trap put_back EXIT
trap 'exit 69' INT TERM
[ -e "$POLICY" ] && mv "$POLICY" "$POLICY.muster"
printf '#!/bin/sh\nexit 101\n' >"$POLICY" && chmod 755 "$POLICY"
mkdir -p "${CLUSTER%/*}" && echo "create_main_cluster = false" >"$CLUSTER"

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo "muster: apt-get update failed; trying with the lists that are here" >&2
# All at once is quick; one by one finds the ones that can be had when some cannot.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $wanted >/dev/null 2>&1 || for p in $wanted; do
  apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 || true
done
absent=$(missing "$@")
[ -z "$absent" ] || echo "muster: could not install:$absent; the peers that need them will be reported absent" >&2
exit 0
