"""A table of ArcSR beside its controls, from the folders of runs: means over seeds, differences with intervals.

Usage: controls.py OUT.csv RUN_FOLDER...

Writes a row per run and noise level to OUT.csv and prints the table. Intervals are those of arcsr-results: a bootstrap
over seeds and groups of images together, 95 %; the images are the same for all.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from arcsr_lightning.files import markdown_table, write_csv
from arcsr_lightning.results.image_scores import ImageScores, ScoresBySeed, difference, gains_over, read_images
from arcsr_lightning.results.markdown import interval_cell

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


def runs_of(folders: list[Path]) -> tuple[list[dict[str, Any]], dict[str, ScoresBySeed]]:
    """The scores of every run, and of every image by method and seed."""
    rows: list[dict[str, Any]] = []
    images: dict[str, dict[int | None, ImageScores]] = {}
    for folder in folders:
        report = json.loads((folder / "metrics.json").read_text())
        seed = report["config"]["seed"]
        rows += [{"seed": seed} | row for row in report["rows"]]
        means: dict[str, dict[float, dict[str, Any]]] = {}
        for row in report["rows"]:
            means.setdefault(row["method"], {})[row["noise_level"]] = row
        for method, own in read_images(folder, means).items():
            images.setdefault(method, {})[seed] = own
    return rows, dict(images)


def gain(ours: ScoresBySeed, theirs: ScoresBySeed, noise: float) -> str:
    """The mean PSNR of one method less that of another, and its interval."""
    images = next(iter(ours.values()))[noise]
    gains = gains_over(ours, theirs, noise, list(images))
    return interval_cell(None if gains is None else difference(gains, images.values()))


def table(rows: list[dict[str, Any]], images: dict[str, ScoresBySeed]) -> str:
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
            better = "" if method == ours else gain(images[ours], images[method], noise)
            known = [f"{np.mean([row[key] for row in own]):.2f}" if key in own[0] else "" for key in KERNELS]
            if method == "arcsr_known_kernel":
                known = [""] * len(KERNELS)
            lines.append([f"{noise:g}", name, str(seeds), *cells, better, *known])
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
