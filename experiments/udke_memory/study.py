"""How much memory does a training step of the full UDKE take? Measured on small crops, extrapolated to the paper's.

python -m experiments.udke_memory.study (minutes on one core) writes results.csv beside this file and prints figures.
"""

from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from arcsr_lightning.files import write_csv
from arcsr_lightning.rivals.udke import UDKE, UDKELoss
from benchmarks.memory import peak

HERE = Path(__file__).parent
SIZES = {"scale": 4, "kernel_size": 25, "blocks": 4}  # of conf/model/udke.yaml, but for the stages
STAGES, SIDES = (2, 3), (16, 24)  # measured; LR pixels, one image
PAPER_STAGES, PAPER_SIDE, PAPER_IMAGES = 8, 64, 16
GIB = 2**30

Found = dict[tuple[int, int], int]  # bytes by stages and side


def step_bytes(stages: int, side: int, checkpoint_stages: bool) -> int:
    """The most bytes that forward and backward of one image hold beyond weights and images, gradients included."""
    torch.manual_seed(0)
    network = UDKE(stages=stages, checkpoint_stages=checkpoint_stages, **SIZES)
    loss, batch = UDKELoss(), {"lr": torch.rand(1, 3, side, side), "hr": torch.rand(1, 3, 4 * side, 4 * side)}

    def step() -> list[Tensor | None]:
        loss(network, batch)["loss"].backward()
        return [parameter.grad for parameter in network.parameters()]

    return peak(step)


def per_stage(found: Found) -> float:
    """The bytes that a stage more adds to an image of the paper's size: linear in the pixels."""
    small, large = (found[STAGES[1], side] - found[STAGES[0], side] for side in SIDES)
    slope = (large - small) / (SIDES[1] ** 2 - SIDES[0] ** 2)
    return large + slope * (PAPER_SIDE**2 - SIDES[1] ** 2)


def step_of_the_paper(plain: Found, checkpointed: Found) -> tuple[float, float]:
    """The bytes of a whole training step, without and with checkpoints: weights, gradients, Adam's two moments, and of
    every image the activations of all stages, or those of one stage and what the others keep."""
    with torch.device("meta"):
        network = UDKE(stages=PAPER_STAGES, **SIZES)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    activations, kept = per_stage(plain), per_stage(checkpointed)
    return (
        4 * weights + PAPER_IMAGES * PAPER_STAGES * activations,
        4 * weights + PAPER_IMAGES * (activations + (PAPER_STAGES - 1) * kept),
    )


def main() -> None:
    torch.set_num_threads(1)
    cases = list(product(STAGES, SIDES))
    plain, checkpointed = ({case: step_bytes(*case, mode) for case in cases} for mode in (False, True))
    rows = [
        {"checkpoint_stages": mode, "stages": stages, "lr_side": side, "bytes": held}
        for mode, found in ((False, plain), (True, checkpointed))
        for (stages, side), held in found.items()
    ]
    write_csv(HERE / "results.csv", rows)
    for name, total in zip(("plain", "checkpointed"), step_of_the_paper(plain, checkpointed), strict=True):
        print(f"{name}: {total / GIB:.1f} GiB")  # noqa: T201


if __name__ == "__main__":
    main()
