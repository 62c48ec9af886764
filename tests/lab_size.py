"""Builds full-size stand-ins of GoPro and REDS, and does with them what a lab does first: prepare, train, validate.

``python tests/lab_size.py FOLDER --of PAIRS... --frames 400`` fills the new folder FOLDER with both trees in their
official layouts, from the sharp and blurred frames in PAIRS, turned and in other colours; runs the commands there, on
the CPU with a small network; and prints what each took. FOLDER is left for a look, and to be deleted by hand.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from arcsr_lightning.files import markdown_table

SPLITS = {"gopro": ("train", "test"), "reds": ("train", "val")}
SEQUENCE = 25  # frames
LOOKS = list(product((1, -1), (1, -1), permutations(range(3))))  # upside down, mirrored, order of colours
SMALL = ("size=small", "test=false", "trainer.log_every_n_steps=1")
ALONE = (*SMALL, "trainer=cpu", "trainer.max_steps=2", "trainer.limit_val_batches=0")
SHARDED = (*SMALL, "trainer=ddp_cpu", "trainer.max_steps=1", "trainer.val_check_interval=1")
VALIDATED = 4  # frames of each process and noise level
LEAST = 8 * VALIDATED  # pairs, of which a quarter is for two processes to validate on


def pairs_in(folders: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Sharp frames and their blurred twins, whose paths differ in these two words."""
    sharp = [(folder, path.relative_to(folder)) for folder in folders for path in sorted(folder.rglob("*.png"))]
    twins = [(folder / path, folder / str(path).replace("sharp", "blur")) for folder, path in sharp]
    return [(path, twin) for path, twin in twins if path != twin and twin.is_file()]


def scenes(pairs: Sequence[tuple[Path, Path]], count: int) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Pairs that no two are alike, up to 24 for each of ``pairs``: (sharp, blurred), changed alike."""
    for number in range(count):
        rows, columns, colours = LOOKS[number // len(pairs) % len(LOOKS)]
        both = (np.asarray(Image.open(path).convert("RGB")) for path in pairs[number % len(pairs)])
        sharp, blurred = (Image.fromarray(frame[::rows, ::columns, list(colours)]) for frame in both)
        yield sharp, blurred


def build(root: Path, data: str, pairs: Sequence[tuple[Path, Path]], count: int) -> None:
    """``count`` pairs in the layout of ``data``, every fourth sequence of them to validate on."""
    for number, (sharp, blurred) in enumerate(scenes(pairs, count)):
        sequence, frame = divmod(number, max(1, min(SEQUENCE, count // 4)))
        split = SPLITS[data][sequence % 4 == 3]
        if data == "gopro":
            folder = root / split / f"GOPR{sequence:04}_11_00"
            files = folder / f"sharp/{frame:06}.png", folder / f"blur/{frame:06}.png"
        else:
            clip = f"{sequence:03}/{frame:08}.png"
            files = (root / split / f"{split}_{kind}" / clip for kind in ("sharp", "blur_bicubic/X4"))
            blurred = blurred.resize((sharp.width // 4, sharp.height // 4), Image.Resampling.BICUBIC)
        for path, image in zip(files, (sharp, blurred), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, compress_level=1)


class Spent(NamedTuple):
    """What a command took: its time, start included, and the memory of the largest of its processes at its peak."""

    seconds: float
    memory: float  # GB


def run(folder: Path, command: str, *settings: str) -> Spent:
    """Run a command of the package in ``folder``; its output ends the script where it fails."""
    start = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        typed = [sys.executable, "-m", f"arcsr_lightning.{command}", *settings]
        process = subprocess.Popen(typed, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)  # of this command alone, its own children included
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(typed)}\n{(folder / 'output.txt').read_text()}")
    return Spent(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9)


def logged(folder: Path, run_name: str, metric: str) -> float:
    """The last value of a metric of a run."""
    with (folder / run_name / "csv/version_0/metrics.csv").open() as file:
        return [float(row[metric]) for row in csv.DictReader(file) if row.get(metric)][-1]


def measure(folder: Path, data: str, batch: int) -> Iterator[tuple[str, Spent, str]]:
    """What was done with the tree ``data``, what it took, and what came of it."""
    root, store = folder / data, folder / f"{data}_store"
    found = run(folder, "prepare", f"data={data}", f"data.root={root}", f"data.store={store}")
    frames = [path.stat() for path in store.rglob("*.rgb")]
    written = [frame.st_mtime for frame in frames]
    speed, size = (len(frames) - 1) / (max(written) - min(written)), sum(frame.st_size for frame in frames) / 1e9
    yield "`arcsr-prepare`", found, f"{len(frames)} frames, {speed:.1f} frames/s, store {size:.2f} GB"

    train = ("train", f"experiment=arcsr_{data}", f"data.root={root}", f"data.batch_size={batch}")
    for source, chosen in {"frames": (), "store": (f"data.store={store}",)}.items():
        name = f"logs/{data}_{source}"
        found = run(folder, *train, *chosen, *ALONE, f"hydra.run.dir={name}")
        step, loss = batch / logged(folder, name, "train/images_per_s"), logged(folder, name, "train/loss")
        yield f"2 steps from the {source}", found, f"the second took {step:.1f} s, its loss is {loss:.6f}"

    name = f"logs/{data}_sharded"
    found = run(folder, *train, *chosen, *SHARDED, f"trainer.limit_val_batches={VALIDATED}", f"hydra.run.dir={name}")
    psnr = logged(folder, name, "val/psnr")
    yield "1 step and a validation, 2 processes", found, f"2 × {VALIDATED} frames at 2 noise levels, {psnr:.2f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="to fill; must not exist")
    parser.add_argument("--of", type=Path, nargs="+", required=True, help="folders of GoPro's or REDS' layout")
    parser.add_argument("--frames", type=int, default=400, help="pairs of each; default 400")
    parser.add_argument("--batch", type=int, default=16, help="of a training step; default 16, the experiments'")
    parser.add_argument("--data", nargs="+", choices=SPLITS, default=list(SPLITS), help="default both")
    chosen = parser.parse_args()
    pairs = pairs_in(chosen.of)
    if not pairs or chosen.frames < LEAST:
        parser.error(f"--of must hold sharp frames with blurred twins, --frames be {LEAST} or more")
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True)
    lines = []
    for data in chosen.data:
        build(folder / data, data, pairs, chosen.frames)
        for what, spent, result in measure(folder, data, chosen.batch):
            lines.append((data, what, f"{spent.seconds:.0f}", f"{spent.memory:.2f}", result))
            print(*lines[-1], sep=", ", file=sys.stderr)
    print(markdown_table([("data", "command", "seconds", "peak memory, GB", "found"), *lines]))


if __name__ == "__main__":
    main()
