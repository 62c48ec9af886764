"""How much of the variance of blur kernels MANet's linear code keeps, by its length."""

import csv
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate

from arcsr_lightning import compose
from arcsr_lightning.rivals.kernel_code import principal_kernels, variance_kept

CODES = (15, 32, 64, 128)
BLURS = ("motion", "shake", "gaussian_aniso")


def draw(blur, samples: int, seed: int) -> torch.Tensor:
    """The kernels of so many fields, (N, k*k)."""
    rng = np.random.default_rng(seed)
    return torch.cat([blur(rng, 8, 8).kernels for _ in range(samples)]).flatten(1).double()


def main() -> None:
    rows = []
    for name in BLURS:
        blur = instantiate(compose(["data=sample", f"degradation={name}"]).degradation.blur)
        fitted, held_out = draw(blur, 2000, seed=0), draw(blur, 500, seed=1)
        for code in CODES:
            basis, _ = principal_kernels(fitted, code)
            kept = variance_kept(held_out, basis.double()).item()
            rows.append({"degradation": name, "code": code, "variance_kept": round(kept, 4)})
    with Path(__file__).with_name("results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
