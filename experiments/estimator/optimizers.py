"""Which optimiser teaches kernels from motion cues in the fewest steps? See README.md.

Usage: optimizers.py [--seeds 0,1] [--out FILE]; the samples are those of experiment=quickstart.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning import compose
from arcsr_lightning.files import write_csv
from arcsr_lightning.losses import kernel_loss
from arcsr_lightning.networks import CueEstimator
from arcsr_lightning.operators import motion_cues
from arcsr_lightning.scores.kernels import kernel_row, kernel_scores
from arcsr_lightning.training.muon import Muon

HERE = Path(__file__).parent
CROPS = 3000  # each of 12 x 12 cells
Loss = Callable[[Tensor, Tensor], Tensor]


class Training(NamedTuple):
    """How kernels are taught."""

    optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    crops: int = 4  # of a step
    steps: int = 3200


TRAININGS = [
    *(Training(torch.optim.Adam, lr) for lr in (1e-3, 3e-3)),
    Training(torch.optim.Adam, 3e-3, crops=16),
    *(Training(Muon, lr) for lr in (2e-3, 4e-3)),
    Training(Muon, 4e-3, steps=800),
]


class Cells(NamedTuple):
    """Crops or an image: their cues (N, channels, h, w), and the true kernels of their cells."""

    cues: Tensor
    kernel: Tensor


def crops_of(cfg: DictConfig, count: int) -> Cells:
    samples = instantiate(cfg.data.train)
    network = instantiate(cfg.model.estimator)
    cells = [
        (motion_cues(sample["lr"][None]).half(), F.avg_pool2d(sample["kernel"], network.cell)[None].half())
        for sample in map(samples.__getitem__, range(count))
    ]
    return Cells(*map(torch.cat, zip(*cells, strict=True)))


def train(network: CueEstimator, training: Training, crops: Cells, loss: Loss = kernel_loss) -> None:
    optimizer = training.optimizer(network.parameters(), lr=training.lr)
    network.train()
    for step in range(training.steps):
        optimizer.param_groups[0]["lr"] = training.lr * (1 + math.cos(math.pi * step / training.steps)) / 2
        chosen = torch.randint(len(crops.cues), (training.crops,))
        cues, kernel = (x[chosen].float() for x in crops)
        optimizer.zero_grad()
        loss(network.kernels_of(cues), kernel).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def scores(network: CueEstimator, images: Iterable[dict[str, Any]], noise_level: float) -> dict[str, float]:
    network.eval()
    rows = [kernel_row(noise_level, network(image["lr"][None])[0], image["kernel"]) for image in images]
    return {"kernel_error": sum(row.error for row in rows) / len(rows), **kernel_scores(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--out", type=Path, default=HERE / "optimizers.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cfg = compose(["experiment=quickstart"])
    crops = crops_of(cfg, CROPS)
    tests = {level: list(instantiate(cfg.data.test, noise_level=level)) for level in cfg.data.noise_levels}
    rows = []
    for seed in map(int, args.seeds.split(",")):
        for training in TRAININGS:
            torch.manual_seed(seed)
            network = instantiate(cfg.model.estimator)
            start = time.process_time()
            train(network, training, crops)
            row = {**training._asdict(), "optimizer": training.optimizer.__name__, "seed": seed}
            row["cpu_seconds"] = round(time.process_time() - start)
            rows += [
                row | {"noise": level} | {k: f"{v:.3f}" for k, v in scores(network, images, level).items()}
                for level, images in tests.items()
            ]
            write_csv(args.out, rows)


if __name__ == "__main__":
    main()
