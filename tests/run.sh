#!/usr/bin/env bash
# All checks, from nothing but bash and Python 3.11 or later: lint, types, import contracts, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC2034  # read by path.sh
extras="[dev]"
. recipes/common/path.sh

ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest -n 2 --dist worksteal "$@"
