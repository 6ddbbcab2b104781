#!/bin/bash
# Submits an array of shards, and the job that puts them together once all have ended well:
#
#   SHARDS=8 SBATCH="--partition=long" common/slurm/submit_array.sh stcn/slurm/eval_array.sbatch
#
# Submitted again after a shard has died it runs what is missing: finished shards end at once.
#
# Settings, by environment variables, besides those of the script:
#   SHARDS   number of shards (default 8)
#   SBATCH   words for sbatch, for all jobs
#   MERGE    words for sbatch, for the merge alone, such as "--gres=none --partition=cpu"

set -euo pipefail

if [ $# -ne 1 ] || [ ! -f "$1" ]; then
  echo "usage: [SHARDS=8] $0 SCRIPT.sbatch" >&2
  exit 2
fi
export SHARDS=${SHARDS:-8}
# Words of SBATCH and MERGE are meant to be split.
# shellcheck disable=SC2086
array=$(sbatch --parsable --array="0-$((SHARDS - 1))" ${SBATCH:-} "$1")
# With several clusters it is JOB;CLUSTER.
array=${array%%;*}
# shellcheck disable=SC2086
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
  --output=%x-%j.out ${SBATCH:-} ${MERGE:-} "$1")
echo "$SHARDS shards in job $array, merge in job ${merge%%;*}"
