"""Link photographs and frames into one folder, split as data=mixed reads them. See README.md.

Usage: link_data.py ROOT FOLDER, where ROOT holds gopro and reds in their official layouts, and photographs in stills
"""

import sys
from pathlib import Path

from arcsr_lightning.data import sample_photos

PHOTOGRAPHS = ["kodak24/*.png", "debian_photos_cc/*.png", "pypi/china.jpg", "pypi/flower.jpg"]
VAL = ["kodim03", "kodim17", "life_by_Aitzol_Berasategi"]
TEST = ["kodim05", "kodim11", "kodim15", "kodim23", "china", "friends_by_Aitzol_Berasategi"]
GOPRO = {  # by scene: where its frames lie, and where they go
    "train/GOPR0372_07_00": "train/GOPR0372_07_00",
    "train/GOPR_unknown_c": "test/GOPR_unknown_c",
    "test/GOPR_unknown_a": "test/GOPR_unknown_a",
    "test/GOPR_unknown_b": "test/GOPR_unknown_b",
}
REDS = ["train/train_sharp/020", "train/train_blur/020"]  # to train on


def link(folder: Path, *files: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        copy = folder / file.name
        copy.unlink(missing_ok=True)
        copy.symlink_to(file.resolve())


def split_of(photograph: Path) -> str:
    if photograph.stem in VAL:
        return "val"
    return "test" if photograph.stem in TEST else "train"


def main(root: Path, folder: Path) -> None:
    for photograph in [file for pattern in PHOTOGRAPHS for file in (root / "stills").glob(pattern)]:
        link(folder / "photographs" / split_of(photograph), photograph)
    for split in ("train", "val", "test"):
        link(folder / "photographs" / split, *sample_photos(split))
    for scene, place in GOPRO.items():
        for side in ("sharp", "blur"):
            link(folder / "gopro" / place / side, *(root / "gopro" / scene / side).glob("*.png"))
    for clip in REDS:
        link(folder / "reds" / clip, *(root / "reds" / clip).glob("*.png"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
