# Sourced by recipes and tests/run.sh: makes the virtual environment where it is missing or out of date, and enters it.
# $extras: optional dependencies to install, such as [dev]. PYTHON: the interpreter to begin with (3.11 or later).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv="$root/.venv"
stamp="$venv/asctool-${extras:-base}"

if ! cmp -s <(cat "$root/pyproject.toml" "$root/constraints.txt") "$stamp"; then
  "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or later is needed; set PYTHON to one" >&2
    exit 4
  }
  echo "installing asctool into $venv (once; some minutes)" >&2
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv" || exit 4
  "$venv/bin/python" -m pip install --quiet --constraint "$root/constraints.txt" --editable "$root${extras:-}" || exit 4
  cat "$root/pyproject.toml" "$root/constraints.txt" > "$stamp"
fi
export PATH="$venv/bin:$PATH"
