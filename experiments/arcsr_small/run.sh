#!/bin/sh
# The study of README.md, and the weights that come with the package. Usage: run.sh ROOT [SEED...]; see link_data.py for ROOT.
# Writes below logs/ and stores/; what was interrupted goes on when it is typed again.
set -eu
here=$(dirname "$0")
root=$1
shift
. "$here/../arcsr_small/mixed.sh"
for seed in ${*:-0}; do
    arcsr-train experiment=arcsr_small $data seed="$seed" task_name="small_arcsr_$seed" ckpt_path=last
    arcsr-train experiment=arcsr_small $data seed="$seed" task_name="small_mean_kernel_$seed" ckpt_path=last ablation=mean_kernel
    arcsr-train experiment=arcsr_small $data seed="$seed" task_name="small_no_kernel_$seed" ckpt_path=last ablation=no_kernel
done
"$here/score.sh" "$root"
