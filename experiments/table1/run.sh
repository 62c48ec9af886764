#!/bin/sh
# The study of README.md: train, and score on four kinds of pictures. Usage: run.sh ROOT; see ../arcsr_small/link_data.py for ROOT.
# Writes below logs/ and stores/; what was interrupted goes on when it is typed again.
set -eu
here=$(dirname "$0")
python "$here/../arcsr_small/link_data.py" "$1" small_data
photographs=small_data/photographs
data="data.root=$photographs/train data.val_root=$photographs/val data.gopro=small_data/gopro data.reds=small_data/reds"
arcsr-prepare data=mixed $data
arcsr-train experiment=table1_small $data
"$here/score.sh" "$1"
