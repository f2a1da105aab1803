# shellcheck shell=bash
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
