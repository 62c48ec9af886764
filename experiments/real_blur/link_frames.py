"""Link frames of GoPro and of a REDS clip into one folder in GoPro's layout, split by scene. See README.md.

Usage: link_frames.py ROOT FOLDER, with GoPro in ROOT/gopro and REDS in ROOT/reds
"""

import sys
from pathlib import Path

TRAIN = ["gopro/train/GOPR0372_07_00"]
TEST = ["gopro/train/GOPR_unknown_c", "gopro/test/GOPR_unknown_a", "gopro/test/GOPR_unknown_b"]
REDS = {"sharp": "reds/train/train_sharp/020", "blur": "reds/train/train_blur/020"}  # to train on


def link(frames: Path, folder: Path) -> None:
    """Link every frame of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in sorted(frames.glob("*.png")):
        copy = folder / frame.name
        copy.unlink(missing_ok=True)
        copy.symlink_to(frame.resolve())


def main(root: Path, folder: Path) -> None:
    for split, sequences in {"train": TRAIN, "test": TEST}.items():
        for sequence in map(Path, sequences):
            for side in ("blur", "sharp"):
                link(root / sequence / side, folder / split / sequence.name / side)
    for side, frames in REDS.items():
        link(root / frames, folder / "train" / "REDS_020" / side)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
