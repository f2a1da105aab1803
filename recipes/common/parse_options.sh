# shellcheck shell=bash
# Sourced by a recipe with its own arguments: --some-name VALUE sets $some_name, which the recipe must have set before.
# --help prints the comment at the head of the recipe. An option that the recipe does not know ends it with status 2.

while [ $# -gt 0 ]; do
  case "$1" in
    --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --*)
      option=${1#--}
      variable=${option//-/_}
      if [[ ! "$variable" =~ ^[a-z_]+$ ]] || [ -z "${!variable+set}" ]; then
        echo "$0: unknown option $1 (--help lists them)" >&2
        exit 2
      fi
      if [ $# -lt 2 ]; then
        echo "$0: $1 needs a value" >&2
        exit 2
      fi
      printf -v "$variable" '%s' "$2"
      shift 2
      ;;
    *)
      echo "$0: unexpected argument $1 (--help lists the options)" >&2
      exit 2
      ;;
  esac
done
