#!/usr/bin/env bash
# Installs the Debian packages of programs that are not there yet.
# usage: debian.sh PROGRAM=PACKAGE...   (PROGRAM is looked for on PATH; none: the package is missing for sure)
set -euo pipefail

packages=()
for pair in "$@"; do
  command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
done
[ ${#packages[@]} -gt 0 ] || exit 0

line="apt-get install -y --no-install-recommends ${packages[*]}"
if ! command -v apt-get >/dev/null; then
  echo "missing: ${packages[*]} (Debian's names), and there is no apt-get here to install them with" >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  as_root=()
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  printf 'missing: %s\ninstall them, then run this again:\n  sudo %s\n' "${packages[*]}" "$line" >&2
  exit 1
fi
echo "installing ${packages[*]}" >&2
run() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    printf 'that failed; by hand: %s\n' "$line" >&2
    exit 1
  }
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A fresh machine has no package lists, a kept one may have lists of packages that are gone.
run apt-get update
# Somebody else may be installing.
# shellcheck disable=SC2086 # the line is words
run $line -o DPkg::Lock::Timeout=300
