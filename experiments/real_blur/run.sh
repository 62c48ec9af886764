#!/bin/sh
# The study of README.md. Usage: run.sh ROOT, with GoPro in ROOT/gopro and REDS in ROOT/reds; writes below logs/ and stores/
set -eu
here=$(dirname "$0")
python "$here/link_frames.py" "$1" logs/real_blur_frames
frames="data.root=logs/real_blur_frames data.store=stores/real_blur"
arcsr-prepare data=gopro $frames data.kernels=measured
for row in cues mean_kernel no_kernel known_kernel; do
    arcsr-train experiment=quickstart ablation=$row task_name=start_$row ckpt_path=last
    start=$(ls -d logs/start_$row/runs/*/ | tail -1)
    arcsr-train experiment=real_blur data=gopro $frames ablation=$row weights="${start}model.safetensors"
done
