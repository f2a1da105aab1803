# shellcheck shell=bash
# The one place that says where commands run. ASCTOOL_CMD chooses:
#   local   here; the default
#   dask    prep, denoise, featurize, extract and copies of augment by the workers of the Dask scheduler
#           ASCTOOL_SCHEDULER (tcp://host:8786), the rest here
#   slurm   denoise, featurize, extract and copies of augment as array jobs of ASCTOOL_PARTS parts (4 unless told
#           otherwise), the rest as a job each; ASCTOOL_SLURM holds options for sbatch and srun, such as
#           "--partition=cpu --cpus-per-task=2 --mem=4G"
# For another batch system write a run_NAME of your own: it must wait for the command and return its status.

run() {
  echo "+ asctool $*" >&2
  "run_${ASCTOOL_CMD:-local}" "$@"
}

run_local() { "${ASCTOOL:-asctool}" "$@"; }

run_dask() {
  local more=()
  if [ "$1" = prep ] || has_parts "$@"; then more=(--scheduler "${ASCTOOL_SCHEDULER:?tcp://host:8786, where it listens}"); fi
  run_local "$@" "${more[@]}"
}

run_slurm() {
  local options program
  read -ra options <<< "${ASCTOOL_SLURM:-}"
  program=$(command -v "${ASCTOOL:-asctool}")
  if has_parts "$@"; then
    slurm_array "${options[*]}" "$program" "$@"
  else
    srun --quiet --input=none --job-name="asctool-$1" "${options[@]}" "$program" "$@"
  fi
}

# has_parts STAGE ARGUMENT...: whether the stage can be made in parts.
has_parts() {
  case "$1" in
    denoise | featurize | extract) return 0 ;;
    augment) [[ " $* " =~ \ --method[\ =](time_stretch|pitch_shift) ]] ;;
    *) return 1 ;;
  esac
}

# slurm_array OPTIONS PROGRAM STAGE ARGUMENT...: one array job, its messages in ${out}/logs/slurm. Its status is that of
# the worst of its parts. A subshell, so that what it does when it is stopped is its own: the job goes too.
slurm_array() (
  read -ra options <<< "$1"
  shift
  logs="${out:-.}/logs/slurm" parts=${ASCTOOL_PARTS:-4} status=0
  mkdir -p "$logs"
  printf -v command '%q ' "$@"
  submitted=$(mktemp "$logs/submitted-XXXXXX")
  trap 'scancel "$(head -n 1 "$submitted")"; rm -f "$submitted"; exit 143' TERM INT
  sbatch --wait --parsable --array="1-$parts" --job-name="asctool-$2" --output="$logs/%x-%A-%a.log" "${options[@]}" \
    --wrap "exec $command --part \$SLURM_ARRAY_TASK_ID/$parts" > "$submitted" &
  wait $! || status=$?
  if [ "$status" -ne 0 ]; then
    echo "failed with status $status; the ends of its messages:" >&2
    tail -n 2 "$logs/asctool-$2-$(head -n 1 "$submitted")"-*.log >&2 || true
  fi
  rm -f "$submitted"
  exit "$status"
)

if ! declare -F "run_${ASCTOOL_CMD:-local}" > /dev/null; then
  echo "$0: ASCTOOL_CMD=$ASCTOOL_CMD: there are local, dask and slurm, see recipes/common/cmd.sh" >&2
  exit 2
fi

# side_by_side N LOGS FUNCTION ITEM...: "FUNCTION ITEM" for every item, N at a time, messages in LOGS/ITEM.log.
# Waits for all of them; where one fails it ends the others and returns its status.
# Each has one thread where N > 1: two trainings of one thread get through 1.4 times as much as one of two threads.
side_by_side() {
  local limit=$1 logs=$2 function=$3 item
  shift 3
  mkdir -p "$logs"
  find "$logs" -name "*.status" -delete
  trap 'end_all; exit 143' TERM
  trap 'end_all; exit 130' INT
  for item in "$@"; do
    while [ "$(jobs -pr | wc -l)" -ge "$limit" ]; do wait -n || true; done
    [ "$(worst_status "$logs")" -eq 0 ] || break
    echo "started $item, see $logs/$item.log" >&2
    [ "$limit" -eq 1 ] || export OMP_NUM_THREADS=1
    set -m # each in a process group of its own, so that all of it can be ended
    one_of_many "$logs/$item" "$function" "$item" &
    set +m
  done
  while [ "$(jobs -pr | wc -l)" -gt 0 ] && [ "$(worst_status "$logs")" -eq 0 ]; do wait -n || true; done
  end_all
  trap - TERM INT
  unset OMP_NUM_THREADS
  return "$(worst_status "$logs")"
}

# The parts of side_by_side.
one_of_many() {
  local log=$1 code=0
  shift
  set +e
  (set -e; "$@") >> "$log.log" 2>&1
  code=$?
  echo "$code" > "$log.status"
  if [ "$code" -eq 0 ]; then
    echo "done    $2" >&2
  else
    echo "failed  $2 with status $code; the end of $log.log:" >&2
    tail -n 3 "$log.log" >&2
  fi
}

worst_status() {
  (echo 0; find "$1" -name "*.status" -exec cat {} +) | sort -n | tail -n 1
}

end_all() {
  local pid running=()
  for pid in $(jobs -pr); do running+=("$pid"); done
  for pid in "${running[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  wait || true
  # The shell of a group ends at once; what it ran may still be clearing up, and holds the locks of its output.
  for pid in "${running[@]}"; do
    for _ in $(seq 300); do
      kill -0 -- "-$pid" 2>/dev/null || continue 2
      sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
  done
}
