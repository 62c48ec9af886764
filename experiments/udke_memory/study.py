"""How much memory does a training step of the full UDKE take? Measured on small crops, extrapolated to the paper's.

python -m experiments.udke_memory.study (minutes on one core) writes results.csv beside this file and prints figures.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.files import write_csv
from arcsr_lightning.rivals.udke import UDKE, UDKELoss
from benchmarks.memory import peak

HERE = Path(__file__).parent
SIZES = {"scale": 4, "kernel_size": 25, "blocks": 4}  # of conf/model/udke.yaml, but for the stages
MEASURED = [(1, 16), (2, 16), (3, 16), (1, 24), (2, 24)]  # stages, LR side; one image
CHECK = (3, 24)  # measured too, and not fitted
PAPER = {"stages": 8, "side": 64, "images": 16}
GIB = 2**30


def step_bytes(stages: int, side: int, checkpoint_stages: bool) -> int:
    """The most bytes that forward and backward of one image hold beyond weights and images, gradients included."""
    torch.manual_seed(0)
    network = UDKE(stages=stages, checkpoint_stages=checkpoint_stages, **SIZES)
    loss, batch = UDKELoss(), {"lr": torch.rand(1, 3, side, side), "hr": torch.rand(1, 3, 4 * side, 4 * side)}

    def step() -> list[Tensor | None]:
        loss(network, batch)["loss"].backward()
        return [parameter.grad for parameter in network.parameters()]

    return peak(step)


def features(stages: int, side: int) -> list[int]:
    """What the bytes of one image are linear in, besides a constant."""
    return [1, side**2, stages, stages * side**2]


def parameter_bytes() -> int:
    with torch.device("meta"):
        network = UDKE(stages=PAPER["stages"], **SIZES)
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def main() -> None:
    torch.set_num_threads(1)
    rows, weights = [], parameter_bytes()
    for checkpoint_stages in (False, True):
        found = {case: step_bytes(*case, checkpoint_stages) for case in (*MEASURED, CHECK)}
        rows += [
            {"checkpoint_stages": checkpoint_stages, "stages": stages, "lr_side": side, "bytes": held}
            for (stages, side), held in found.items()
        ]
        # Gradients are as many bytes as weights, whatever the crop; all else is of every image.
        fitted = np.linalg.lstsq(
            np.array([features(*case) for case in MEASURED], float),
            np.array([found[case] - weights for case in MEASURED], float),
            rcond=None,
        )[0]
        expected = weights + float(np.dot(features(*CHECK), fitted))
        per_image = float(np.dot(features(PAPER["stages"], PAPER["side"]), fitted))
        total = 4 * weights + PAPER["images"] * per_image  # weights, gradients, Adam's two moments
        print(  # noqa: T201
            f"checkpoint_stages={checkpoint_stages}: {per_image / GIB:.2f} GiB an image of {PAPER['side']}x"
            f"{PAPER['side']} with {PAPER['stages']} stages, {total / GIB:.1f} GiB for {PAPER['images']} of them; at "
            f"{CHECK} {expected / found[CHECK]:.3f} of what is measured"
        )
    write_csv(HERE / "results.csv", rows)


if __name__ == "__main__":
    main()
