# shellcheck shell=bash
# Sourced by a recipe once its options have their defaults: reads its arguments, enters the environment, and gives it
# run, side_by_side, due STAGE, checks of options, $fold_list, ${parallel[@]} and the directory $out.

common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$common/parse_options.sh"
. "$common/path.sh"
. "$common/cmd.sh"

# What a slip in an option ends with.
slip() {
  echo "$0: $1" >&2
  exit 2
}

# whole NAME...: each of these options is a whole number.
whole() {
  local name
  for name in "$@"; do
    [[ "${!name}" =~ ^(0|[1-9][0-9]*)$ ]] || slip "--${name//_/-} takes a whole number, not '${!name}'"
  done
}

# words NAME CHOICE...: each word of this option is one of these, and none is there twice. one_of: it is one word.
words() {
  local name=$1 word seen=" "
  shift
  for word in ${!name}; do
    [[ " $* " = *" $word "* ]] || slip "--${name//_/-}: no $word; there are $*"
    [[ "$seen" != *" $word "* ]] || slip "--${name//_/-}: $word is there twice"
    seen+="$word "
  done
  [ "$seen" != " " ] || slip "--${name//_/-}: there are $*"
}

one_of() {
  words "$@"
  [[ "${!1}" != *" "* ]] || slip "--${1//_/-} takes one of ${*:2}"
}

# wholes NAME: its words are different whole numbers.
wholes() {
  local word
  for word in ${!1:-none}; do
    [[ "$word" =~ ^(0|[1-9][0-9]*)$ ]] || slip "--${1//_/-} takes different whole numbers with spaces between, not '$word'"
  done
  # shellcheck disable=SC2086  # words
  words "$1" ${!1}
}

# expand_range 1-3,5 prints 1 2 3 5.
expand_range() {
  local part numbers=()
  for part in ${1//,/ }; do
    if [[ ! "$part" =~ ^[1-9][0-9]{0,3}(-[1-9][0-9]{0,3})?$ ]] || [ "${part%-*}" -gt "${part#*-}" ]; then
      numbers=()
      break
    fi
    mapfile -t -O "${#numbers[@]}" numbers < <(seq "${part%-*}" "${part#*-}")
  done
  if [ ${#numbers[@]} -eq 0 ] || [ "$(printf '%s\n' "${numbers[@]}" | sort | uniq -d)" ]; then
    slip "not a range of folds: $1 (1-5, or 1,3; each once)"
  fi
  echo "${numbers[*]}"
}

# place_of FOLD prints how many folds come before it; device_of NUMBER which of several devices is the NUMBER-th's turn.
place_of() {
  local fold n=0
  for fold in $fold_list; do
    [ "$fold" -ne "$1" ] || break
    n=$((n + 1))
  done
  echo "$n"
}

device_of() {
  local devices
  read -ra devices <<< "${device:?}"
  echo "${devices[$1 % ${#devices[@]}]}"
}

# due N: whether stage N is to be done.
due() { [ "${stage:?}" -le "$1" ] && [ "$1" -le "${stop_stage:?}" ]; }

whole stage stop_stage jobs
# shellcheck disable=SC2034  # for the recipe
fold_list=$(expand_range "${folds:?}")
parallel=() # one process a core of the machine that a stage runs on
# shellcheck disable=SC2034
[ "${jobs:?}" -eq 0 ] || parallel=(--jobs "$jobs")
[ "$jobs" -ne 0 ] || jobs=$(nproc)
mkdir -p "${out:?}"
