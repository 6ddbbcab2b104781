# One shard of an evaluation or prediction in a SLURM job, or the merge of all shards; the
# eval_array.sbatch and predict_array.sbatch of every method source it in the root folder.
#
#   "${shard[@]}"          the flags of this job: in a job array those of the shard with the number of
#                          the task, in any other job those that put the shards together
#   run PROGRAM WORD...    runs python with these words
#
# Settings, by environment variables:
#   SHARDS   number of shards (default: number of tasks of the array, which count from 0)
#   PYTHON   interpreter (default $REPO/.venv/bin/python)

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  shard=(--num-shards "${SHARDS:-$SLURM_ARRAY_TASK_COUNT}" --shard "$SLURM_ARRAY_TASK_ID")
elif [ -n "${SHARDS:-}" ]; then
  shard=(--num-shards "$SHARDS" --merge)
else
  echo "error: SHARDS is missing: submit an array (sbatch --array=0-7), or SHARDS=8 to merge" >&2
  exit 2
fi

run() {
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-4}}
  # srun does not take over by itself how many cores the job's task has.
  if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
  exec srun --ntasks=1 "${PYTHON:-$REPO/.venv/bin/python}" "$@"
}
