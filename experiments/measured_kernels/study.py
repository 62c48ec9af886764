"""What the blur of real frames looks like in numbers and in a picture. Usage: study.py --root PATH

PATH holds ``gopro`` and ``reds`` in their official layouts. Writes frames.csv, synthetic.csv, settings.csv and
kernels.png beside this file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data import Pair, gopro_pairs, read_image, reds_pairs
from arcsr_lightning.data.images import to_tensor, to_uint8
from arcsr_lightning.degradation import (
    FIT,
    Measured,
    apply_blended_kernels,
    apply_kernel_field,
    cells_to_pixels,
    downsample,
    lr_field,
    measure_cells,
    measure_kernels,
    motion_kernel,
    random_trajectory,
)
from arcsr_lightning.figures.kernels import kernel_grid_picture, kernel_moments
from arcsr_lightning.figures.style import TEXT, save_figure, show_picture
from arcsr_lightning.files import write_csv
from arcsr_lightning.scores.metrics import kernel_error, psnr

HERE = Path(__file__).parent
SCALE, KERNEL_SIZE = 4, 7
CONFIDENT = 0.5  # cells below are left out of the numbers
DOT = SCALE  # HR pixels: what is shorter counts as no blur
DISTANCES = (16, 64, 256)  # HR pixels


def shrunk(path: Path) -> Tensor:
    return downsample(to_tensor(read_image(path)), SCALE)[None]


def sizes(cells: Measured) -> tuple[Tensor, Tensor, Tensor]:
    """Length and width of the kernels, as of a rectangle of the same variances, in HR pixels; and who is confident."""
    extent, _, directedness = kernel_moments(cells.kernel[0])
    length, width = (SCALE * extent * (6 * (1 + sign * directedness)).sqrt() for sign in (1, -1))
    return length, width, cells.confidence[0, 0] >= CONFIDENT


def variation(cells: Measured, distance: int) -> float:
    """Mean L1 distance of the kernels of confident cells that are so many HR pixels apart, across or down."""
    steps, confident = distance // (SCALE * FIT.cell), cells.confidence[0, 0] >= CONFIDENT
    apart = []
    for dim in (0, 1):
        kept = confident.shape[dim] - steps
        first, second = (cells.kernel[0].narrow(dim + 1, start, kept) for start in (0, steps))
        both = confident.narrow(dim, 0, kept) & confident.narrow(dim, steps, kept)
        apart.append((first - second).abs().sum(0)[both])
    return float(torch.cat(apart).mean())


def describe(sharp: Tensor, degraded: Tensor) -> dict[str, float]:
    started = time.perf_counter()
    cells = measure_cells(sharp, degraded, KERNEL_SIZE)
    seconds = time.perf_counter() - started
    field = cells_to_pixels(cells, sharp.shape[-2], sharp.shape[-1]).kernel
    length, width, confident = sizes(cells)
    long = confident & (length >= 2 * DOT)
    kernels = cells.kernel[0][:, confident]
    rim = torch.ones(KERNEL_SIZE, KERNEL_SIZE, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    return {
        "no_blur_db": float(psnr(sharp, degraded)),
        "explained_db": float(psnr(apply_kernel_field(sharp, field), degraded)),
        "confident": float(confident.float().mean()),
        "length_p10": float(length[confident].quantile(0.1)),
        "length_p50": float(length[confident].quantile(0.5)),
        "length_p90": float(length[confident].quantile(0.9)),
        "width_over_length": float((width / length)[long].median()) if long.any() else float("nan"),
        "dots": float((length < DOT)[confident].float().mean()),
        "centre_tap": float(kernels[KERNEL_SIZE**2 // 2].mean()),
        "rim": float(kernels[rim.flatten()].sum(0).mean()),
        **{f"apart_{distance}": variation(cells, distance) for distance in DISTANCES},
        "spread": float((kernels - kernels.mean(1, keepdim=True)).abs().sum(0).mean()),
        "seconds": seconds,
    }


def streak(rng: np.random.Generator, length: float, bend: float) -> Tensor:
    """An HR kernel (25, 25) of one path."""
    path = random_trajectory(rng, length, bend)
    return motion_kernel(path * min(1, 11.9 / np.abs(path).max()), 25)


def synthetic_rows(sharp: Tensor) -> list[dict[str, float]]:
    """The same numbers where the blur is known: one path for the whole frame, straight or bent."""
    rows = []
    for bend in (0.0, 2.0):
        for length in (0, 6, 12, 18, 24, 48):
            several = []
            for seed in range(3):
                kernel = streak(np.random.default_rng(seed), max(length, 1e-3), bend)
                blurred = apply_blended_kernels(sharp, kernel[None, None], torch.ones(1, 1, *sharp.shape[-2:]))
                several.append(describe(downsample(sharp, SCALE), downsample(blurred, SCALE)))
            means = {name: round(float(np.mean([row[name] for row in several])), 4) for name in several[0]}
            rows.append({"bend": bend, "path_length": length} | means)
    return rows


def two_regions(sharp: Tensor, bend: float, seed: int) -> tuple[Tensor, Tensor]:
    """An object over a background, each with a path of its own: degraded image and true field on the LR grid."""
    rng = np.random.default_rng(seed)
    kernels = torch.stack([streak(rng, rng.uniform(0, 24), bend) for _ in range(2)])[None]
    down, across = (torch.linspace(-1, 1, side) for side in sharp.shape[-2:])
    front = torch.sigmoid(10 * (0.6 - torch.hypot(down[:, None], across)))
    masks = torch.stack([1 - front, front])[None]
    return downsample(apply_blended_kernels(sharp, kernels, masks), SCALE), lr_field(kernels, masks, SCALE, KERNEL_SIZE)


def settings_rows(sharp: Tensor, pairs: list[Pair]) -> list[dict[str, float]]:
    """What window, ridge and pull do to the error on known blur and to what is explained of real frames."""
    fits = [
        FIT,
        *(FIT._replace(window=n) for n in (1, 5)),
        *(FIT._replace(ridge=r) for r in (1e-4, 1e-2)),
        *(FIT._replace(pull=p) for p in (0.0, 0.3, 3.0)),
    ]
    synthetic = [two_regions(sharp, bend, seed) for seed, bend in enumerate((0.0, 2.0))]
    real = [(shrunk(pair.hr), shrunk(pair.degraded)) for pair in pairs]
    small, rows = downsample(sharp, SCALE), []
    for fit in fits:
        errors = [kernel_error(measure_kernels(small, lr, KERNEL_SIZE, fit).kernel, truth) for lr, truth in synthetic]
        explained = [
            psnr(apply_kernel_field(hr, measure_kernels(hr, lr, KERNEL_SIZE, fit).kernel), lr) for hr, lr in real
        ]
        means = {"kernel_error": float(torch.cat(errors).mean()), "explained_db": float(torch.cat(explained).mean())}
        setting = {name: value for name, value in fit._asdict().items() if name != "cell"}
        rows.append(setting | {name: round(value, 4) for name, value in means.items()})
    return rows


def picture(pairs: list[Pair]) -> Figure:
    """Blurred frame at LR, kernels at a grid of its pixels, confidence of the cells; a row for each pair."""
    width, height, gap, head, foot = 6.4, 3.6, 0.06, 0.3, 0.35  # inches: at 100 dots every LR pixel is drawn as 2 x 2
    size = (3 * (width + gap) - gap, len(pairs) * (height + gap) + head + foot)
    figure = Figure(figsize=size)
    for row, pair in enumerate(pairs):
        sharp, lr = shrunk(pair.hr), shrunk(pair.degraded)
        cells = measure_cells(sharp, lr, KERNEL_SIZE)
        kernel = cells_to_pixels(cells, lr.shape[-2], lr.shape[-1]).kernel[0]
        shown = {
            "blurred frame": (to_uint8(lr[0]), {}),
            "measured kernels": (kernel_grid_picture(kernel, 7, 12), {"aspect": "auto"}),
            "confidence, 0 (dark) to 1": (cells.confidence[0, 0].numpy(), {"cmap": "viridis", "vmin": 0, "vmax": 1}),
        }
        bottom = size[1] - head - (row + 1) * (height + gap) + gap
        for column, (title, (image, style)) in enumerate(shown.items()):
            left = column * (width + gap)
            box = (left / size[0], bottom / size[1], width / size[0], height / size[1])
            show_picture(figure.add_axes(box), image, interpolation="nearest", **style)
            if row == 0:
                middle = (left + width / 2) / size[0]
                figure.text(middle, 1 - head / 2 / size[1], title, ha="center", va="center", **TEXT | {"fontsize": 14})
    caption = (
        "Kernels of 7 x 7 LR pixels (28 x 28 HR pixels), each scaled to its largest tap. "
        "Frames: GoPro (Nah et al., CVPR 2017) and REDS (Nah et al., CVPRW 2019), CC BY 4.0."
    )
    figure.text(0.5, foot / 2 / size[1], caption, ha="center", va="center", fontsize=12, color="0.35")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds gopro and reds")
    root = parser.parse_args().root
    gopro = {split: gopro_pairs(root / "gopro", split) for split in ("train", "test")}
    reds = reds_pairs(root / "reds", "train", SCALE)
    sets = {"gopro_train": gopro["train"], "gopro_test": gopro["test"], "reds_train": reds}
    save_figure(picture([gopro["test"][0], gopro["train"][0], reds[0]]), HERE / "kernels.png", dpi=100)
    rows = []
    for name, pairs in sets.items():
        for pair in pairs:
            numbers = describe(shrunk(pair.hr), shrunk(pair.degraded))
            rows.append({"data": name, "frame": pair.name} | {key: round(value, 4) for key, value in numbers.items()})
    write_csv(HERE / "frames.csv", rows)
    sharp = to_tensor(read_image(gopro["test"][0].hr))[None, :, :, 320:960]
    write_csv(HERE / "synthetic.csv", synthetic_rows(sharp))
    write_csv(HERE / "settings.csv", settings_rows(sharp, [*gopro["test"], gopro["train"][0]]))


if __name__ == "__main__":
    main()
