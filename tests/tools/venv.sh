#!/usr/bin/env bash
# Makes the virtual environment DIR with PYTHON, this project in it editable; does nothing where that is done.
# usage: venv.sh PYTHON DIR EXTRAS   (run in the root of the repository)
set -euo pipefail

python=$1 dir=$2 extras=$3
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
  echo "$python is older than 3.9; name a newer one: make PYTHON=python3.11 ..." >&2
  exit 1
fi
mkdir -p .venvs
exec 9>.venvs/lock
flock 9

wanted=$("$python" -c 'import sys; print(*sys.version_info[:2])')
stamp=$(echo "$wanted $extras" && cat pyproject.toml)
[ "$(cat "$dir/.installed" 2>/dev/null)" != "$stamp" ] || exit 0

# Debian's python3 comes without ensurepip; python3-venv brings it.
"$python" -c 'import ensurepip' 2>/dev/null || bash "$(dirname "$0")/debian.sh" =python3-venv
# A folder made by another minor version is made anew; one that works is kept and only brought up to date.
if [ "$("$dir/bin/python" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)" != "$wanted" ]; then
  "$python" -m venv --clear "$dir"
fi
echo "installing the project into $dir ($("$dir/bin/python" -V))" >&2
"$dir/bin/python" -m pip install -q --disable-pip-version-check -e ".[$extras]" >&2
printf '%s\n' "$stamp" >"$dir/.installed"
