#!/bin/sh
# The study of README.md, below logs/; what was interrupted goes on when it is typed again. Usage: run.sh [FRAMES], the
# settings of real frames to score on, too, as ../real_blur/run.sh has them.
set -eu
here=$(dirname "$0")
export PYTHONPATH="$here" ARCSR_TRUSTED_MODULES=powers
train() {
    name=$1
    shift
    arcsr-train experiment=quickstart ckpt_path=last hydra.run.dir="logs/guide/$name" "$@"
}
for seed in 0 1; do
    train unit_energy_$seed seed=$seed
    taught="seed=$seed stage=restore weights=logs/guide/unit_energy_$seed/checkpoints/kernels/finished.ckpt"
    for mode in gate softmax_ks2; do train ${mode}_$seed $taught model.restorer.normalisation=$mode; done
    for power in 0.5 2; do
        train power_${power}_$seed $taught model.restorer._target_=powers.PowerRestorer +model.restorer.power=$power
    done
    train known_unit_energy_$seed seed=$seed ablation=known_kernel
done
python "$here/table.py" "$here/results.csv" logs/guide/*/
if [ -n "${1:-}" ]; then
    for run in logs/guide/*_[0-9]; do
        arcsr-eval $1 weights="$run/model.safetensors" hydra.run.dir="logs/guide_gopro/$(basename "$run")"
    done
    python "$here/table.py" "$here/gopro.csv" logs/guide_gopro/*/
fi
