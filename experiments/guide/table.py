"""A table of how the kernel guides, from the folders of runs, VARIANT_SEED: each beside unit_energy of the same seeds.

Usage: table.py OUT.csv RUN_FOLDER...
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from controls import SCORES, gain, runs_of

from arcsr_lightning.files import markdown_table, write_csv
from arcsr_lightning.results.image_scores import ScoresBySeed


def main(out: Path, folders: list[Path]) -> None:
    rows: list[dict[str, Any]] = []
    images: dict[str, ScoresBySeed] = {}
    for variant in sorted({folder.name.rpartition("_")[0] for folder in folders}):
        own, scored = runs_of([folder for folder in folders if folder.name.rpartition("_")[0] == variant])
        rows += [{"variant": variant} | row for row in own if row["method"] != "bicubic"]
        images[variant] = next(scored[method] for method in scored if method != "bicubic")
    columns = ["variant", "seed", "data", "noise_level", "images", *SCORES]
    write_csv(out, [{key: row.get(key) for key in columns} for row in rows])
    lines = [["noise", "guide", "seeds", "PSNR RGB", "SSIM RGB", "less `unit_energy`, dB RGB"]]
    for noise in sorted({row["noise_level"] for row in rows}):
        for variant, seeds in images.items():
            own = [row for row in rows if (row["variant"], row["noise_level"]) == (variant, noise)]
            psnr, ssim = (np.mean([row[key] for row in own]) for key in SCORES[:2])
            base = "known_unit_energy" if variant.startswith("known") else "unit_energy"
            common = {seed: images[base][seed] for seed in seeds if seed in images[base]}
            better = "" if variant == base else gain({seed: seeds[seed] for seed in common}, common, noise)
            lines.append([f"{noise:g}", f"`{variant}`", str(len(seeds)), f"{psnr:.2f}", f"{ssim:.4f}", better])
    sys.stdout.write(markdown_table(lines) + "\n")


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    main(paths[0], paths[1:])
