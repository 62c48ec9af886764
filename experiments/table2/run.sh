#!/bin/sh
# The small study of README.md. Usage: run.sh ROOT [settings, such as model=manet]; see ../arcsr_small/link_data.py for ROOT.
# Writes below logs/ and stores/; what was interrupted goes on when it is typed again.
set -eu
here=$(dirname "$0")
root=$1
shift
. "$here/../arcsr_small/mixed.sh"
arcsr-train experiment=table2_small $data "$@"
arcsr-results table2_small --reference arcsr_staged
cp "$(ls -d logs/table2_small/multiruns/*/ | tail -n 1)"results* "$here"
