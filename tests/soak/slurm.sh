#!/usr/bin/env bash
# Array jobs on a real Slurm: a controller and one node on this machine's loopback, made in a folder of their own, and
# recipes/mini's first three stages through recipes/common/cmd.sh, compared with the same run here. Then one part of an
# array job is killed, and the job submitted again. Needs root and, on Debian,
#   apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
# Usage: bash tests/soak/slurm.sh [FOLDER]   (with asctool and python on the PATH; a minute)

set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
base=$(mkdir -p "${1:-/tmp}" && mktemp -d "${1:-/tmp}/asctool-slurm-XXXXXX")
chmod 755 "$base" # the socket of munge must be seen by all
pids=()
end() {
  kill "${pids[@]}" 2> /dev/null || true
  wait || true
}
trap end EXIT

for program in munged slurmctld slurmd sbatch srun; do
  command -v "$program" > /dev/null || { echo "$program is not installed; the head of $0 says what is needed" >&2; exit 4; }
done
[ "$(id -u)" -eq 0 ] || { echo "$0: the daemons want to be root" >&2; exit 4; }

export SLURM_CONF="$base/slurm.conf"
mkdir -p "$base"/{state,spool,log}
(umask 077 && head -c 1024 /dev/urandom > "$base/munge.key")
cat > "$SLURM_CONF" << END
ClusterName=asctool
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$base/munge.socket
CredType=cred/munge
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool
SlurmctldPidFile=$base/slurmctld.pid
SlurmdPidFile=$base/slurmd.pid
SlurmctldLogFile=$base/log/slurmctld
SlurmdLogFile=$base/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$(hostname -s) Default=YES MaxTime=60 State=UP
END

daemon() {
  "$@" > "$base/log/$(basename "$1").out" 2>&1 &
  pids+=($!)
}
daemon munged --foreground --force --key-file="$base/munge.key" --socket="$base/munge.socket" \
  --pid-file="$base/munged.pid" --seed-file="$base/munge.seed" --log-file="$base/log/munged"
until [ -S "$base/munge.socket" ]; do sleep 0.1; done
daemon slurmctld -D
daemon slurmd -D
for _ in $(seq 100); do
  [ "$(sinfo --noheader --format=%t 2> /dev/null)" != idle ] || break
  sleep 0.3
done
sinfo
[ "$(sinfo --noheader --format=%t)" = idle ] || { tail -n 5 "$base"/log/*; exit 4; }

# Shards of 100 kB: a corpus of seconds has several.
cat > "$base/asctool" << 'END'
#!/usr/bin/env python
import sys
from asctool.storage import shards
shards.plan_shards.__defaults__ = (100_000,)
from asctool.cli import main
main()
END
chmod +x "$base/asctool"
export ASCTOOL="$base/asctool" ASCTOOL_PARTS=3
recipe=(bash "$root/recipes/mini/run.sh" --stop-stage 3 --clips 6 --seconds 2)
"${recipe[@]}" --out "$base/here" --jobs 1
ASCTOOL_CMD=slurm "${recipe[@]}" --out "$base/slurm"

content() { python -c 'import json, sys; print(json.load(open(sys.argv[1] + "/manifest.json"))["content"])' "$1"; }
for store in denoised logmel gammatone; do
  [ "$(content "$base/here/$store")" = "$(content "$base/slurm/$store")" ] || { echo "$store differs" >&2; exit 1; }
done
echo "three stages of recipes/mini as array jobs of $ASCTOOL_PARTS parts: equal to a run here"

# Killed in one of its parts: the array fails, what the others made is kept, the same command again finishes it.
rm -r "$base/slurm/logmel"
if ASCTOOL_FAULT=before-shard:2 ASCTOOL_CMD=slurm "${recipe[@]}" --stage 3 --out "$base/slurm"; then
  echo "the recipe did not fail" >&2
  exit 1
fi
ls "$base/slurm/logmel"
ASCTOOL_CMD=slurm "${recipe[@]}" --stage 3 --out "$base/slurm"
[ "$(content "$base/here/logmel")" = "$(content "$base/slurm/logmel")" ] || { echo "logmel differs" >&2; exit 1; }
echo "array jobs whose parts were killed, submitted again: equal"
