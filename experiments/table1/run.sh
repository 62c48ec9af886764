#!/bin/sh
# The study of README.md: train, and score on three kinds of pictures. Usage: run.sh ROOT; see ../arcsr_small/link_data.py for ROOT.
# Writes below logs/ and stores/; what was interrupted goes on when it is typed again.
set -eu
here=$(dirname "$0")
root=$1
. "$here/../arcsr_small/mixed.sh"
arcsr-train experiment=table1_small $data
"$here/score.sh" "$root"
