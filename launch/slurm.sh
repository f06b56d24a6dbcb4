#!/usr/bin/env bash
# One run as a SLURM job that survives preemption and the time limit. Adjust the lines below, then
#   sbatch launch/slurm.sh --config mnist-cvae --output runs/mnist-cvae
# from the checkout, which all nodes must see. First start and restart are the same command.
#SBATCH --job-name=distvae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=distvae-%j.log
#SBATCH --signal=B:USR1@120
set -euo pipefail

if [ -z "${SLURM_JOB_ID-}" ]; then
  echo "error: this is a job script: sbatch launch/slurm.sh [flags of distvae train]" >&2
  exit 2
fi
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_ADDR=${hosts%%$'\n'*}
export MASTER_ADDR
export MASTER_PORT=${MASTER_PORT:-$((10000 + SLURM_JOB_ID % 20000))}
export NNODES=$SLURM_NNODES
export NPROC_PER_NODE=${NPROC_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}

# One task on each node, each with the processes of that node; its SLURM_NODEID is its number. srun
# does not take --cpus-per-task over from the job by itself.
# shellcheck disable=SC2016
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" bash -c 'NODE_RANK=$SLURM_NODEID exec launch/multi_node.sh "$@"' task "$@" &
step=$!

# Before the time limit, or where preemption is set to send it, SIGUSR1 comes here alone: training is
# told by SIGTERM, writes a checkpoint and ends, and the job goes back into the queue. The SIGTERM of
# a preemption reaches training by itself, and SLURM requeues.
caught=
requeue=
trap 'caught=1; requeue=1; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1
trap 'caught=1' TERM
while :; do
  status=0
  wait "$step" || status=$?
  [ -n "$caught" ] || break
  caught= # a signal ended the wait, not the step
done
[ -z "$requeue" ] || scontrol requeue "$SLURM_JOB_ID"
exit "$status"
