# Starts a training on the nodes of a SLURM job; the train.sbatch of every method sources it.
#
#   launch SCRIPT WORD...      runs SCRIPT with these words, one process per GPU on every node
#
# When the job's time is nearly up SLURM sends SIGUSR1 to the batch script (#SBATCH --signal=B:USR1).
# The script then leaves a file on the first node, for which every process looks after each step. All
# of them end with the same step, the first one saves, and the job is put back into the queue, where
# it waits for its next turn and continues from what was saved. It is a file because torchrun dies of
# SIGUSR1, and gives its processes 30 seconds after any signal that it passes on: too few for a slow
# step and a large checkpoint.
#
# Settings, by environment variables:
#   GPUS       processes per node (default: what SLURM gives, else 1)
#   PORT       rendezvous port (default: derived from the job's number)
#   STOP_FILE  that file (default ${TMPDIR:-/tmp}/stop-<job>); tasks of the first node must see it

launch() {
  local task status signalled hosts head nodes=${SLURM_JOB_NUM_NODES:-1} job=${SLURM_JOB_ID:-0}
  hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
  head=${hosts%%$'\n'*}
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
  # srun does not take over by itself how many cores the job's task has.
  if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
  export VIDSEG_STOP_FILE=${STOP_FILE:-${TMPDIR:-/tmp}/stop-$job}
  rm -f "$VIDSEG_STOP_FILE"
  trap 'signalled=1; touch "$VIDSEG_STOP_FILE"' USR1
  # SLURM sends SIGTERM to the tasks too. They save, and the job lasts as long as this script.
  trap signalled=1 TERM
  srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    "$PYTHON" -m torch.distributed.run \
    --nnodes="$nodes" --nproc-per-node="${GPUS:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv-id="$job" --rdzv-backend=c10d \
    --rdzv-endpoint="$head:${PORT:-$((20000 + job % 10000))}" \
    "$@" &
  task=$!
  # A trap ends `wait`, not the task.
  while :; do
    signalled= status=0
    wait "$task" || status=$?
    if [ -z "$signalled" ]; then break; fi
  done
  if [ -e "$VIDSEG_STOP_FILE" ]; then
    rm -f "$VIDSEG_STOP_FILE"
    if [ "$status" -ne 0 ]; then
      echo "job $job goes back into the queue and continues from what was saved" >&2
      scontrol requeue "$job"
      exit 0
    fi
  fi
  exit "$status"
}
