"""Link photographs and frames into one folder, split as data=mixed reads them. See README.md.

Usage: link_data.py ROOT FOLDER, where ROOT holds gopro and reds in their official layouts and stills/, photographs by source
"""

import sys
from pathlib import Path

from arcsr_lightning.data import sample_photos

PHOTOGRAPHS = ["kodak24/*.png", "debian_photos_cc/*.png", "pypi/china.jpg", "pypi/flower.jpg"]
VAL = ["kodim03", "kodim17", "life_by_Aitzol_Berasategi"]
TEST = ["kodim05", "kodim11", "kodim15", "kodim23", "china", "friends_by_Aitzol_Berasategi"]
GOPRO = {
    "train": ["train/GOPR0372_07_00"],
    "test": ["train/GOPR_unknown_c", "test/GOPR_unknown_a", "test/GOPR_unknown_b"],
}
REDS = ["train/train_sharp/020", "train/train_blur/020"]


def link(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / file.name
    copy.unlink(missing_ok=True)
    copy.symlink_to(file.resolve())


def split_of(photograph: Path) -> str:
    if photograph.stem in VAL:
        return "val"
    return "test" if photograph.stem in TEST else "train"


def main(root: Path, folder: Path) -> None:
    for pattern in PHOTOGRAPHS:
        for photograph in sorted((root / "stills").glob(pattern)):
            link(photograph, folder / "photographs" / split_of(photograph))
    for split in ("train", "val", "test"):
        for photograph in sample_photos(split):
            link(photograph, folder / "photographs" / split)
    for split, sequences in GOPRO.items():
        for sequence in sequences:
            for side in ("sharp", "blur"):
                for frame in sorted((root / "gopro" / sequence / side).glob("*.png")):
                    link(frame, folder / "gopro" / split / Path(sequence).name / side)
    for clip in REDS:
        for frame in sorted((root / "reds" / clip).glob("*.png")):
            link(frame, folder / "reds" / clip)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
