# shellcheck shell=bash
# The one place that says where commands run: here. Redefine run for a cluster, for instance
#   run() { srun --cpus-per-task=2 asctool "$@"; }
# It must wait for the command and return its status.

run() {
  echo "+ asctool $*" >&2
  "${ASCTOOL:-asctool}" "$@"
}

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
  local pid
  for pid in $(jobs -pr); do kill -TERM -- "-$pid" 2>/dev/null || true; done
  wait || true
}
