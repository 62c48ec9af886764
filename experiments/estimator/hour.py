"""How good do kernels become in an hour, from more photographs? See README.md.

Usage: hour.py PHOTOGRAPHS [--seeds 0,1] [--out FILE]; PHOTOGRAPHS holds train and test, as link_data.py of arcsr_small
makes it. Rows that the file has are not made again.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from optimizers import Training, crops_of, scores, train
from torch import Tensor

from arcsr_lightning import compose
from arcsr_lightning.files import write_csv
from arcsr_lightning.losses import kernel_loss
from arcsr_lightning.training.muon import Muon

HERE = Path(__file__).parent
CROPS = 12_000  # of training photographs, each of 12 x 12 cells
TRAININGS = [(0.0, 3200), (0.9, 3200), (0.9, 12_800)]  # share of L1 in the loss, steps of 16 crops


def mixed_loss(share: float, estimate: Tensor, truth: Tensor) -> Tensor:
    """Of the L1 distance, which tables report, and of the divergence, which pulls where L1 has no gradient left."""
    return share * (estimate - truth).abs().sum(1).mean() + (1 - share) * kernel_loss(estimate, truth)


def tests_of(folder: Path) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """The quickstart's two test photographs under four blurs, and those of the folder, without and with noise."""
    paths = [f"data.root={folder / 'train'}", f"data.val_root={folder / 'test'}"]
    sets = {"quickstart": ["data=sample"], "photographs": ["data=folder", *paths]}
    return {
        (name, level): list(instantiate(cfg.data.test, noise_level=level))
        for name, chosen in sets.items()
        for cfg in [compose(["experiment=quickstart", *chosen])]
        for level in cfg.data.noise_levels
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--out", type=Path, default=HERE / "hour.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(csv.DictReader(args.out.open())) if args.out.exists() else []
    made = {(int(row["seed"]), float(row["l1"]), int(row["steps"])) for row in rows}
    tests = tests_of(args.photographs)
    for seed in map(int, args.seeds.split(",")):
        missing = [(l1, steps) for l1, steps in TRAININGS if (seed, l1, steps) not in made]
        if not missing:
            continue
        folders = [f"data.{name}root={args.photographs / 'train'}" for name in ("", "val_")]
        settings = ["data=folder", "data/augment=views", "+data.train.cache=true", *folders, f"seed={seed}"]
        cfg = compose(["experiment=quickstart", *settings])
        crops = crops_of(cfg, CROPS)
        for l1, steps in missing:
            torch.manual_seed(seed)
            network = instantiate(cfg.model.estimator)
            start = time.process_time()
            train(network, Training(Muon, 4e-3, 16, steps), crops, lambda *kernels, l1=l1: mixed_loss(l1, *kernels))
            row = {"l1": l1, "steps": steps, "seed": seed, "cpu_seconds": round(time.process_time() - start)}
            for (name, level), images in tests.items():
                figures = {key: f"{value:.3f}" for key, value in scores(network, images, level).items()}
                rows.append(row | {"data": name, "noise": level} | figures)
            write_csv(args.out, rows)


if __name__ == "__main__":
    main()
