"""A table of ArcSR beside its controls, from the folders of runs: means over seeds, differences with intervals.

Usage: controls.py OUT.csv RUN_FOLDER...

Writes a row per run and noise level to OUT.csv and prints the table. Intervals are those of a bootstrap over images and
seeds together, 95 %; the images are the same for all.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from arcsr_lightning.files import markdown_table, write_csv

OURS = ("arcsr_staged", "arcsr_cues")  # the same network, by its two names
NAMES = {
    "bicubic": "bicubic",
    "arcsr_no_kernel": "no kernel",
    "arcsr_mean_kernel": "mean kernel",
    "arcsr_cues": "**ArcSR**",
    "arcsr_staged": "**ArcSR**",
    "arcsr_known_kernel": "known kernel (bound)",
}
SCORES = ("psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y")
KERNELS = ("kernel_error", "kernel_skill", "kernel_amount", "kernel_direction")

Images = dict[tuple[str, float, int], dict[str, float]]  # (method, noise level, seed) -> PSNR by image


def runs_of(folders: list[Path]) -> tuple[list[dict[str, Any]], Images]:
    """The scores of every run, and of every image in it."""
    rows, images = [], {}
    for folder in folders:
        report = json.loads((folder / "metrics.json").read_text())
        seed = report["config"]["seed"]
        rows += [{"seed": seed} | row for row in report["rows"]]
        with (folder / "per_image.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                key = row["method"], float(row["noise_level"]), seed
                images.setdefault(key, {})[row["name"]] = float(row["psnr_rgb"])
    return rows, images


def difference(images: Images, method: str, other: str, noise: float) -> str:
    """The mean PSNR of one method less that of another, and its interval."""
    seeds = sorted({seed for name, level, seed in images if (name, level) == (method, noise)})
    shared = [seed for seed in seeds if (other, noise, seed) in images]
    names = sorted(images[method, noise, shared[0]])
    gains = np.array(
        [[images[method, noise, s][name] - images[other, noise, s][name] for name in names] for s in shared]
    )
    generator = np.random.default_rng(0)
    means = [
        gains[generator.integers(len(shared), size=len(shared))][
            :, generator.integers(len(names), size=len(names))
        ].mean()
        for _ in range(10_000)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{gains.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def table(rows: list[dict[str, Any]], images: Images) -> str:
    (ours,) = {row["method"] for row in rows if row["method"] in OURS}
    figures = ["PSNR RGB", "SSIM RGB", "PSNR Y", "SSIM Y", "ArcSR less it, dB RGB"]
    lines = [["noise", "method", "seeds", *figures, "kernel error", "skill", "amount", "direction"]]
    for noise in sorted({row["noise_level"] for row in rows}):
        for method, name in NAMES.items():
            own = [row for row in rows if (row["method"], row["noise_level"]) == (method, noise)]
            if not own:
                continue
            seeds = len({row["seed"] for row in own})
            cells = [f"{np.mean([row[key] for row in own]):.{2 if 'psnr' in key else 4}f}" for key in SCORES]
            gain = "" if method == ours else difference(images, ours, method, noise)
            known = [f"{np.mean([row[key] for row in own]):.2f}" if key in own[0] else "" for key in KERNELS]
            if method == "arcsr_known_kernel":
                known = [""] * len(KERNELS)
            lines.append([f"{noise:g}", name, str(seeds), *cells, gain, *known])
    return markdown_table(lines)


def main(out: Path, folders: list[Path]) -> None:
    rows, images = runs_of(folders)
    columns = ["method", "seed", "data", "noise_level", "images", *SCORES, *KERNELS]
    rows.sort(key=lambda row: (row["noise_level"], row["method"], row["seed"]))
    write_csv(out, [{key: row.get(key) for key in columns} for row in rows])
    sys.stdout.write(table(rows, images) + "\n")


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    main(paths[0], paths[1:])
