"""Kernels and spreads of the synthetic motion blur, before and after it was made like that of videos.

Prints a row of figures for each sampler and image size, and draws kernels.png beside this file.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning import compose
from arcsr_lightning.degradation import KernelField, MotionField, dense_field, lr_field
from arcsr_lightning.figures.kernels import grid_pixels, kernel_grid_picture, kernel_moments
from arcsr_lightning.figures.style import TEXT, save_figure, show_picture
from arcsr_lightning.launch import instantiate

SAMPLERS = {
    # Masks stretched to the image that they are drawn for, with four heights a side.
    "before": MotionField(
        max_length=48, min_length=0, bend=2, roll=0.7, still=0, moving=1, frame=(0, 0), region_size=1e9
    ),
    "shake": instantiate(compose(["data=sample", "degradation=shake"]).degradation.blur),
    "motion": instantiate(compose(["data=sample", "degradation=motion"]).degradation.blur),
}
SIZES = ((256, 256), (512, 512), (720, 1280))
FIELDS = 100
CROP = 256  # HR pixels, of a training crop
STEP = 16  # HR pixels between the kernels that are looked at


def spread(field: Tensor) -> float:
    """Mean L1 distance of kernels (ks*ks, h, w) from their own mean."""
    return float((field - field.mean((1, 2), keepdim=True)).abs().sum(0).mean())


def main() -> None:
    table = csv.writer(sys.stdout)
    table.writerow(["sampler", "height", "width", "spread of the image", "spread within crops of 256", "p10", "p90"])
    for name, blur in SAMPLERS.items():
        for height, width in SIZES:
            whole, within = [], []
            for seed in range(FIELDS):
                kernels, masks = blur(np.random.default_rng(seed), height, width)
                field = lr_field(kernels[None], masks[None], 4, 7)[0, :, :: STEP // 4, :: STEP // 4]
                side = CROP // STEP
                crops = field.unfold(1, side, side // 2).unfold(2, side, side // 2).flatten(1, 2)  # (49, crops, ...)
                whole.append(spread(field))
                within += [spread(crop) for crop in crops.unbind(1)]
            figures = np.mean(whole), np.mean(within), *np.quantile(within, [0.1, 0.9])
            table.writerow([name, height, width, *(f"{figure:.2f}" for figure in figures)])
    table.writerow([])
    table.writerow(["sampler", "share of pixels without motion", "quantile", "length (HR px)", "across / along"])
    for name, blur in SAMPLERS.items():
        still, lengths, ratios = shapes(blur)
        for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
            length, ratio = np.quantile(lengths, quantile), np.quantile(ratios, quantile)
            table.writerow([name, f"{still:.2f}", quantile, f"{length:.1f}", f"{ratio:.3f}"])
    save_figure(picture(), Path(__file__).parent / "kernels.png", dpi=110)


def shapes(blur: MotionField) -> tuple[float, np.ndarray, np.ndarray]:
    """The shapes of the blended kernels of pixels of frames of 720 x 1280.

    Returns:
        The share of pixels without motion; of the others the length of a uniform streak of their variance along, in HR
        pixels; and, of those longer than 12 pixels, the ratio of standard deviations across and along.
    """
    along, across = [], []
    for seed in range(FIELDS):
        kernels, masks = blur(np.random.default_rng(seed), *SIZES[2])
        field = dense_field(kernels[None], masks[None, :, 8::32, 8::32])[0]
        extent, _, directedness = kernel_moments(field, floor=0)
        along.append((extent**2 * (1 + directedness) / 2).flatten())
        across.append((extent**2 * (1 - directedness) / 2).flatten())
    along, across = torch.cat(along).numpy(), torch.cat(across).numpy()
    moves = along > 0.25  # HR px²
    along, across = along[moves], across[moves]
    lengths = np.sqrt(12 * along)
    return 1 - moves.mean(), lengths, np.sqrt(across / along)[lengths > 12]


def picture() -> Figure:
    """Kernels over frames of 720 x 1280, and over a training crop, of the sampler before and of the present one."""
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    axes = figure.subplots(4, 4, width_ratios=[1.78, 1.78, 1.78, 1])
    for rows, name in ((axes[:2], "before"), (axes[2:], "motion")):
        for number, axis in enumerate(rows.flat):
            crop = number % 4 == 3
            field = SAMPLERS[name](np.random.default_rng([5, number]), *(SIZES[0] if crop else SIZES[2]))
            show_picture(axis, drawn(field, *((5, 5) if crop else (5, 9))))
            axis.set_title(f"{name}: {'a training crop' if crop else 'a frame'}", **TEXT)
    return figure


def drawn(field: KernelField, rows: int, cols: int) -> np.ndarray:
    """The kernels of a field where they act, RGB uint8."""
    y, x = grid_pixels(*field.masks.shape[1:], rows, cols)
    return kernel_grid_picture(dense_field(field.kernels[None], field.masks[None, :, y[:, None], x])[0], rows, cols)


if __name__ == "__main__":
    main()
