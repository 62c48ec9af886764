#!/bin/sh
# The small study of README.md, below logs/; what was interrupted goes on when it is typed again.
set -eu
here=$(dirname "$0")
arcsr-train -m experiment=quickstart task_name=leaves stage=kernels seed=0,1 data.train.leaves=0,0.5,1
last=$(ls logs/leaves/multiruns/*/*/checkpoints/kernels/last.ckpt | paste -s -d ,)
arcsr-eval -m "weights=$last" task_name=leaves_last data=sample
cp "$(ls -d logs/leaves_last/multiruns/*/ | tail -n 1)results.csv" "$here"
