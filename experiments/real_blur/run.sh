#!/bin/sh
# The study of README.md. Usage: run.sh ROOT, with GoPro in ROOT/gopro and REDS in ROOT/reds; writes below logs/ and stores/
set -eu
here=$(dirname "$0")
python "$here/link_frames.py" "$1" logs/real_blur_frames
frames="data=gopro data.root=logs/real_blur_frames data.store=stores/real_blur data.kernels=measured"
arcsr-prepare $frames
for seed in 0 1 2; do
    rows="cues mean_kernel no_kernel"
    [ $seed = 2 ] || rows="$rows known_kernel"
    for row in $rows; do
        task=start_${row}_$seed
        arcsr-train experiment=quickstart seed=$seed ablation=$row task_name="$task" ckpt_path=last
        start=$(ls -d "logs/$task/runs"/*/ | tail -1)
        arcsr-eval $frames weights="${start}model.safetensors" hydra.run.dir="logs/real_blur/${row}_$seed"
    done
done
python "$here/../controls.py" "$here/results.csv" logs/real_blur/*/
