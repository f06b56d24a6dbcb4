#!/usr/bin/env bash
# One run on several machines. Start the same command on every machine, each with its NODE_RANK.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 launch/multi_node.sh [flags of distvae train]

On every machine the same, but for NODE_RANK. After a crash or a preemption type the same again: the
run goes on from its newest whole checkpoint (--resume auto is added). All machines must see the run
folder, so --output belongs on a shared file system.

  NNODES              machines                                         1
  NODE_RANK           this machine, from 0                             0
  MASTER_ADDR         address of machine 0, as the others see it       127.0.0.1
  MASTER_PORT         a port that is free on it                        29500
  NPROC_PER_NODE      processes on each machine                        its GPUs, else 1
  CONFIG_FILE         Accelerate's configuration                       accelerate_configs/multi_node.yaml
  ACCELERATE_USE_CPU  1: train on the CPU, over gloo
  GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME
                      the network interface to use, where the one that belongs to the machine's
                      host name is not it (ip -brief address lists them)
TEXT
}

case "${1-}" in
  -h | --help)
    usage
    exit 0
    ;;
esac

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nodes=${NNODES:-1}
rank=${NODE_RANK:-0}
if [ "$nodes" -gt 1 ] && [ -z "${MASTER_ADDR-}" ]; then
  echo "error: NNODES is $nodes and MASTER_ADDR is not set: give the address of machine 0" >&2
  exit 2
fi
if [ "$rank" -ge "$nodes" ]; then
  echo "error: NODE_RANK is $rank and NNODES $nodes: the machines count from 0" >&2
  exit 2
fi
each=${NPROC_PER_NODE:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}
# the launcher passes SIGTERM on to its processes, which write a checkpoint
exec python -m accelerate.commands.launch \
  --config_file "${CONFIG_FILE:-$here/../accelerate_configs/multi_node.yaml}" \
  --num_machines "$nodes" --num_processes "$((nodes * each))" --machine_rank "$rank" \
  --main_process_ip "${MASTER_ADDR:-127.0.0.1}" --main_process_port "${MASTER_PORT:-29500}" \
  "$here/train.py" --resume auto "$@"
