"""What arcsr_small makes of frames of GoPro that it never saw, beside their measured kernels. See README.md.

Usage: picture.py OUT.png GOPRO STORE FRAME...: the root of GoPro, the store with its kernels, names of test frames
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from arcsr_lightning import load_model
from arcsr_lightning.data import PairedEvaluation, gopro_pairs
from arcsr_lightning.degradation import upsample
from arcsr_lightning.figures.comparison import Cell, Scene, comparison_picture, make_scene
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.scores.metrics import score

WINDOW = (160, 240)  # HR pixels
CAPTION = (
    "GoPro, ×4, no noise: scenes that the network never saw. The part in which it differs most from bicubic upscaling; "
    "PSNR of the whole frame on RGB. Below: kernels at the marked pixels, estimated, and measured from the sharp frame."
)


def cell(title: str, sr: Tensor, hr: Tensor, kernel: Tensor | None = None) -> Cell:
    return Cell(title, sr[0], float(score(sr, hr[None], 4)["psnr_rgb"]), kernel)


@torch.no_grad()
def scene(sample: dict) -> Scene:
    lr, hr = sample["lr"][None], sample["hr"]
    restored = load_model("arcsr_small")(lr)
    cells = [
        Cell("LR", lr[0].repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)),
        cell("bicubic", upsample(lr, 4), hr),
        cell("arcsr_small", restored.sr, hr, restored.kernel[0]),
        Cell("ground truth", hr, kernel=sample["kernel"]),
    ]
    return make_scene(sample["name"], 0, 4, cells, WINDOW)


def main(out: Path, root: Path, store: Path, names: list[str]) -> None:
    pairs = [pair for name in names for pair in gopro_pairs(root, "test") if pair.name == name]
    frames = PairedEvaluation(pairs, 4, noise_level=0, store=store, kernels="measured", kernel_size=7)
    save_figure(comparison_picture([scene(frames[number]) for number in range(len(frames))], CAPTION), out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4:])
