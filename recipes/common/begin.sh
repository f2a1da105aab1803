# shellcheck shell=bash
# Sourced by a recipe once its options have their defaults: reads its arguments, enters the environment, and gives it
# run, side_by_side, due STAGE, $fold_list, ${parallel[@]} and the directory $out.

common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$common/parse_options.sh"
. "$common/path.sh"
. "$common/cmd.sh"

# expand_range 1-3,5 prints 1 2 3 5.
expand_range() {
  local part
  for part in ${1//,/ }; do
    if [[ ! "$part" =~ ^[0-9]+(-[0-9]+)?$ ]]; then
      echo "not a range of folds: $1 (1-5, or 1,3)" >&2
      return 2
    fi
    seq "${part%-*}" "${part#*-}"
  done | tr '\n' ' '
}

# due N: whether stage N is to be done.
due() { [ "${stage:?}" -le "$1" ] && [ "$1" -le "${stop_stage:?}" ]; }

# shellcheck disable=SC2034  # for the recipe
fold_list=$(expand_range "${folds:?}")
parallel=() # one process a core of the machine that a stage runs on
# shellcheck disable=SC2034
[ "${jobs:?}" -eq 0 ] || parallel=(--jobs "$jobs")
[ "$jobs" -ne 0 ] || jobs=$(nproc)
mkdir -p "${out:?}"
