#!/bin/sh
# Score what run.sh trained, on four kinds of pictures. Usage: score.sh ROOT
set -eu
here=$(dirname "$0")
photographs="data=folder data.root=small_data/photographs/train data.test_root=small_data/photographs/test data.test.draws=2"
for run in logs/small_*/runs/*/; do
    row=$(basename "$(dirname "$(dirname "$run")")")
    score() {
        kind=$1
        shift
        arcsr-eval weights="${run}model.safetensors" hydra.run.dir="logs/scores/$kind/$row" data.num_workers=1 "$@"
    }
    score gopro data=gopro data.root=small_data/gopro data.store=stores/mixed data.kernels=measured
    score reds data=reds data.root="$1/reds_small"
    score photographs $photographs
    score sharp $photographs data.test.draws=1 degradation=none
done
for kind in gopro reds photographs sharp; do
    echo "$kind"
    python "$here/../controls.py" "$here/$kind.csv" logs/scores/"$kind"/*/
done
