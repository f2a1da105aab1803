# shellcheck shell=bash
# Sourced by recipes of raw_resnet: the names of its systems, which are rows of Tables 2 to 5 of Jung 2020.

# options_of SYSTEM prints the settings of its network.
options_of() {
  local name first second third
  IFS=- read -r name first second third <<< "$1"
  case "$1" in
    none | codecat | codecat_transform) echo "--set tags=$name" ;;
    before_code-[0-9]) echo "--set tags=before_code --set layers=$first" ;;
    attention-[0-9]*-[0-9]) echo "--set tags=attention --set heads=$first --set layers=$second" ;;
    both-[0-9]*-[0-9]) echo "--set tags=both --set heads=$first --set layers=$second" ;;
    separate-[0-9]*-[0-9]-[0-9])
      echo "--set tags=both --set transform=separate --set heads=$first --set layers=$second --set attention_layers=$third"
      ;;
    *)
      echo "$0: no system $1 here (--help lists them)" >&2
      return 2
      ;;
  esac
}
