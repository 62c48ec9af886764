"""What a kernel estimator learns from true kernels, by its loss and by its start. Usage: study.py > results.csv"""

import csv
import sys
from itertools import product

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from arcsr_lightning import compose
from arcsr_lightning.data import StepSampler
from arcsr_lightning.losses import kernel_loss
from arcsr_lightning.networks import KernelEstimator
from arcsr_lightning.scores.metrics import kernel_error

STEPS, BATCH = 400, 8
LOSSES = {"divergence": kernel_loss, "l1": lambda estimate, truth: kernel_error(estimate, truth).mean()}


def estimator(start: str) -> KernelEstimator:
    """The quickstart's estimator, its blocks started as they are (``he``) or as torch starts convolutions."""
    torch.manual_seed(0)
    network = KernelEstimator(kernel_size=7, width=16)
    if start == "torch":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer is not network.tail and layer.weight.any():
                layer.reset_parameters()
    return network


def train(network: KernelEstimator, loss, samples: Dataset) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for batch in DataLoader(samples, batch_sampler=StepSampler(BATCH, STEPS)):
        optimizer.zero_grad()
        loss(network(batch["lr"]), batch["kernel"]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def spread(kernel: Tensor) -> Tensor:
    """L1 distance of a field's kernels from their own mean over the image."""
    return kernel_error(kernel, kernel.mean(dim=(2, 3), keepdim=True))


@torch.no_grad()
def scores(network: KernelEstimator, images: Dataset) -> dict[str, float]:
    rows = []
    for image in images:
        estimate, truth = network(image["lr"][None]), image["kernel"][None]
        rows.append([kernel_error(estimate, truth), spread(estimate), spread(truth)])
    error, own, true = torch.tensor(rows).mean(dim=0).tolist()
    return {"kernel_error": error, "spread": own, "true_spread": true}


def main() -> None:
    cfg = compose(["experiment=quickstart", "degradation.blur.max_length=24"])
    samples, images = instantiate(cfg.data.train), instantiate(cfg.data.test, noise_level=0)
    writer = csv.DictWriter(sys.stdout, ["loss", "start", "steps", "kernel_error", "spread", "true_spread"])
    writer.writeheader()
    for loss, start in product(LOSSES, ("he", "torch")):
        network = estimator(start)
        train(network, LOSSES[loss], samples)
        measured = {name: f"{value:.3f}" for name, value in scores(network, images).items()}
        writer.writerow({"loss": loss, "start": start, "steps": STEPS} | measured)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
