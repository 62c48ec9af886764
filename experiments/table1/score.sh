#!/bin/sh
# Score what run.sh trained, on pictures that its own test does not have. Usage: score.sh ROOT
set -eu
here=$(dirname "$0")
photographs="data=folder data.root=small_data/photographs/train data.test_root=small_data/photographs/test"
sweep=$(ls -d logs/table1_small/multiruns/*/ | tail -n 1)
score() {  # KIND, the runs it is for, settings
    kind=$1
    weights=$(ls -d "$sweep"$2/model.safetensors | paste -sd, -)
    shift 2
    arcsr-eval -m weights="$weights" hydra.sweep.dir="logs/table1_small/$kind" data.num_workers=1 "$@"
    mkdir -p "$here/$kind"
    cp "logs/table1_small/$kind"/results* "$here/$kind"
}
cp "$sweep"results* "$here"
score photographs '*' $photographs data.test.draws=2
score sharp '*' $photographs degradation=none
score reds 'ablation-[!k]*' data=reds data.root="$1/reds_small"  # whose kernels are not known
