# shellcheck shell=bash
# Sourced by recipes and tests/run.sh: makes the virtual environment where it is missing or out of date, and enters it.
# $extras: optional dependencies to install, such as [dev]. PYTHON: the interpreter to begin with (3.11 or later).
# Where ASCTOOL names a command to use in the place of asctool, nothing is installed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv="$root/.venv"

# A stamp holds what the environment was made from; one with all extras serves for one without.
up_to_date() {
  local stamp
  for stamp in "$venv/asctool-${extras:-base}" "$venv/asctool-[dev]"; do
    cmp -s <(cat "$root/pyproject.toml" "$root/constraints.txt") "$stamp" && return
  done
  return 1
}

if [ -z "${ASCTOOL:-}" ]; then
  if ! up_to_date; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "Python 3.11 or later is needed; set PYTHON to one" >&2
      exit 4
    }
    echo "installing asctool into $venv (once; some minutes)" >&2
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv" || exit 4
    "$venv/bin/python" -m pip install --quiet --constraint "$root/constraints.txt" --editable "$root${extras:-}" || exit 4
    cat "$root/pyproject.toml" "$root/constraints.txt" > "$venv/asctool-${extras:-base}"
  fi
  export PATH="$venv/bin:$PATH"
fi
