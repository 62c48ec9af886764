#!/bin/sh
# The study of README.md. Usage: run.sh ROOT, with GoPro in ROOT/gopro and REDS in ROOT/reds; writes below logs/ and stores/
set -eu
here=$(dirname "$0")
python "$here/link_frames.py" "$1" logs/real_blur_frames
frames="data=gopro data.root=logs/real_blur_frames data.store=stores/real_blur data.kernels=measured"
arcsr-prepare $frames
for row in cues mean_kernel no_kernel; do
    arcsr-train experiment=quickstart ablation=$row task_name=start_$row ckpt_path=last
    start=$(ls -d logs/start_$row/runs/*/ | tail -1)
    arcsr-eval $frames weights="${start}model.safetensors" hydra.run.dir=logs/real_blur/$row
done
python "$here/../controls.py" "$here/results.csv" logs/real_blur/*/
