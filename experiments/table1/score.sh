#!/bin/sh
# Tables of what run.sh trained, and scores on pictures that its own test does not have. Usage: score.sh ROOT
set -eu
here=$(dirname "$0")
photographs="data=folder data.root=small_data/photographs/train data.test_root=small_data/photographs/test"
sweep=$(ls -d logs/table1_small/multiruns/*/ | tail -n 1)
table() {  # STUDY, where its files go
    arcsr-results "$1" --reference arcsr_cues
    mkdir -p "$2"
    cp "$(ls -d "logs/$1/multiruns"/*/ | tail -n 1)"results* "$2"
}
score() {  # KIND, the runs it is for, settings
    kind=$1
    weights=$(ls -d "$sweep"$2/model.safetensors | paste -sd, -)
    shift 2
    arcsr-eval -m weights="$weights" task_name="table1_small_$kind" data.num_workers=1 "$@"
    table "table1_small_$kind" "$here/$kind"
}
table table1_small "$here/gopro"
score photographs '*' $photographs data.test.draws=2
score reds 'ablation-[!k]*' data=reds data.root="$1/reds_small"  # whose kernels are not known
