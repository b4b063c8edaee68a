#!/usr/bin/env bash
# A sweep as a Slurm job array: one shard a task.
#
#   sbatch --array=1-16 python/clusters/slurm.sh SCENARIO DIR [OPTION...]
#
# DIR is on storage that all nodes see. OPTIONs are those of `tenfold sweep` (--axis ... --samples ...). A task that was
# killed or requeued goes on where it stopped. When all are done:
#
#   tenfold merge DIR/shard-* -o sweep.parquet
#
#SBATCH --job-name=tenfold-sweep
#SBATCH --cpus-per-task=4
#SBATCH --requeue
set -euo pipefail
scenario=$1 dir=$2
shift 2
index=${SLURM_ARRAY_TASK_ID:?run it as an array: sbatch --array=1-16 $0 ...}
count=${SLURM_ARRAY_TASK_COUNT:?}
first=${SLURM_ARRAY_TASK_MIN:-1}
exec "${TENFOLD:-tenfold}" sweep "$scenario" "$@" --shard "$((index - first + 1))/$count" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --out "$dir/shard-$((index - first + 1))" --resume --quiet
