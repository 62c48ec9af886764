"""Which kernel estimator learns most from true kernels in the same time of one CPU core? See README.md.

Usage: study.py [--photographs FOLDER] [--seconds 60] [--seeds 0,1] [--only "NAME;NAME"]
Rows that results.csv has already are not made again.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import BilinearUp, DMConv, OrdinaryConv
from arcsr_lightning.data import SyntheticEvaluation, SyntheticTraining, image_files, sample_photos
from arcsr_lightning.data.pictures import Picture, load_picture, save_picture
from arcsr_lightning.degradation import SYMMETRIES, Degradation, MotionField, downsample, turn, turn_field
from arcsr_lightning.files import write_aside
from arcsr_lightning.losses import kernel_loss
from arcsr_lightning.networks import CueEstimator, KernelEstimator
from arcsr_lightning.operators import motion_cues
from arcsr_lightning.scores.cost import parameters
from arcsr_lightning.scores.kernels import correlation, moments
from arcsr_lightning.scores.metrics import best_constant_kernel, blur_amount, blur_direction, kernel_error

HERE = Path(__file__).parent
CACHE = Path("logs/estimator")
SCALE, KERNEL_SIZE = 4, 7
WINDOWS, SIDE = 1200, 64  # training windows, and their side in LR pixels
MONOCHROME = ("hubble_deep_field", "retina", "ihc")  # built-in pictures of one colour, no photographs
MOTION = Degradation(MotionField())  # that of degradation=motion
NOISE = (0.0, 20.0)  # of training, 8-bit levels

RUN = ["variant", "seed", "cpu_seconds", "steps", "parameters"]
COLUMNS = [*RUN, "noise", "kernel_error", "constant_error", "skill", "rA", "rD", "spread"]


class Variant(NamedTuple):
    """What is trained, and how: on so many crops a step, of so many LR pixels a side; a network of cells on cells."""

    build: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor] = kernel_loss
    lr: float = 1e-3
    crops: int = 32
    crop: int = 24


def l1(estimate: Tensor, truth: Tensor) -> Tensor:
    return kernel_error(estimate, truth).mean()


def unet(convolution: type[nn.Module] = DMConv, **options: Any) -> Callable[[], nn.Module]:
    """The quickstart's U-Net."""
    return partial(KernelEstimator, KERNEL_SIZE, width=16, convolution=convolution, **options)


def torch_started() -> nn.Module:
    """The same, its convolutions started as torch starts them, but for those that start at zero."""
    network = unet()()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer is not network.tail and layer.weight.any():
            layer.reset_parameters()
    return network


CUES: dict[str, Any] = {"cues": (1, 3, 7)}
BILINEAR: dict[str, Any] = {"upsampling": BilinearUp}
NORMALISED: dict[str, Any] = {"normalise_input": True}
VARIANTS = {
    "dmconv": Variant(unet()),
    "conv": Variant(unet(OrdinaryConv)),
    "cues": Variant(CueEstimator),
    "dmconv+all": Variant(unet(**CUES, **BILINEAR, **NORMALISED)),
    "conv+all": Variant(unet(OrdinaryConv, **CUES, **BILINEAR, **NORMALISED)),
    "conv+cues": Variant(unet(OrdinaryConv, **CUES)),
    "conv+normalised": Variant(unet(OrdinaryConv, **NORMALISED)),
    "conv+bilinear": Variant(unet(OrdinaryConv, **BILINEAR)),
    "dmconv+cues": Variant(unet(**CUES)),
    "dmconv+normalised": Variant(unet(**NORMALISED)),
    "dmconv+bilinear": Variant(unet(**BILINEAR)),
    "dmconv, L1": Variant(unet(), loss=l1),
    "cues, L1": Variant(CueEstimator, loss=l1),
    "dmconv, 4 whole windows": Variant(unet(), crops=4, crop=SIDE),
    "dmconv, lr 3e-3": Variant(unet(), lr=3e-3),
    "dmconv, lr 3e-4": Variant(unet(), lr=3e-4),
    "conv, 4 whole windows": Variant(unet(OrdinaryConv), crops=4, crop=SIDE),
    "conv, lr 3e-3": Variant(unet(OrdinaryConv), lr=3e-3),
    "dmconv+all, L1": Variant(unet(**CUES, **BILINEAR, **NORMALISED), loss=l1),
    "conv+all, L1": Variant(unet(OrdinaryConv, **CUES, **BILINEAR, **NORMALISED), loss=l1),
    "cues, L1, lr 3e-3": Variant(CueEstimator, loss=l1, lr=3e-3),
    "dmconv, torch's start": Variant(torch_started),
}


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


# Photographs: which to train on, which to score on


def split(folder: Path | None) -> tuple[list[Path], list[Path]]:
    """Photographs to train on, and held-out ones: the built-in splits, and every third of the folder held out."""
    training = [path for path in sample_photos("train") if path.stem not in MONOCHROME]
    held_out = [*sample_photos("val"), *sample_photos("test")]
    known = {path.stem for path in (*training, *held_out)}
    more = [path for path in image_files(folder, recursive=True) if path.stem not in known] if folder else []
    return training + [path for i, path in enumerate(more) if i % 3], held_out + more[::3]


def halved(path: Path) -> Path:
    """A copy of a photograph at half its size: other textures at no cost."""
    copy = CACHE / "halved" / f"{path.parent.name}_{path.stem}.png"
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        rgb = load_picture(path).rgb
        height, width = (side // 2 * 2 for side in rgb.shape[-2:])
        save_picture(copy, Picture(downsample(rgb[:, :height, :width], 2)))
    return copy


def large_enough(path: Path) -> bool:
    return min(load_picture(path).rgb.shape[-2:]) >= SIDE * SCALE


class Windows(NamedTuple):
    """What is trained on: lr (N, 3, 64, 64) without noise, and its kernels (N, ks*ks, 64, 64), float16."""

    lr: Tensor
    kernel: Tensor


def windows_of(paths: list[Path]) -> Windows:
    samples = SyntheticTraining(
        paths, MOTION, SCALE, KERNEL_SIZE, patch_size=SIDE * SCALE, noise_level=(0, 0), seed=1000, cache=True
    )
    windows = Windows(
        torch.empty(WINDOWS, 3, SIDE, SIDE), torch.empty(WINDOWS, KERNEL_SIZE**2, SIDE, SIDE, dtype=torch.float16)
    )
    for number in range(WINDOWS):
        sample = samples[number]
        windows.lr[number], windows.kernel[number] = sample["lr"], sample["kernel"]
        if number % 200 == 199:
            say(f"{number + 1} of {WINDOWS} training windows")
    return windows


class Image(NamedTuple):
    """What is scored on: noise level -> lr (1, 3, H, W), and the true kernels (1, ks*ks, H, W)."""

    lr: dict[int, Tensor]
    truth: Tensor


def images_of(paths: list[Path]) -> list[Image]:
    """Whole photographs, three blurs each, with noise 0 and 10."""
    clean, noisy = (
        SyntheticEvaluation(paths, MOTION, SCALE, KERNEL_SIZE, noise_level=level, draws=3, seed=2000)
        for level in (0, 10)
    )
    return [
        Image({0: at_0["lr"][None], 10: at_10["lr"][None]}, at_0["kernel"][None])
        for at_0, at_10 in zip(clean, noisy, strict=True)
    ]


def data(folder: Path | None) -> tuple[Windows, list[Image]]:
    """Both, made once and kept in ``CACHE``."""
    training, held_out = split(folder)
    names = {"training": [path.name for path in training], "held out": [path.name for path in held_out]}
    for part, files in names.items():
        say(f"{part}: {', '.join(files)}")
    file = CACHE / "data.pt"
    if file.is_file() and (saved := torch.load(file, weights_only=True))["names"] == names:
        return Windows(*saved["windows"]), [Image(*image) for image in saved["images"]]
    halves = [copy for copy in map(halved, training) if large_enough(copy)]
    windows, images = windows_of(training + halves), images_of(held_out)
    with write_aside(file) as aside:
        torch.save({"names": names, "windows": tuple(windows), "images": [tuple(image) for image in images]}, aside)
    return windows, images


# Batches: a network's input, and the kernels that are true of it


def with_noise(lr: Tensor) -> Tensor:
    """Noise of a level of its own for every image of (B, 3, H, W)."""
    lowest, highest = NOISE
    level = lowest + (highest - lowest) * torch.rand(len(lr), 1, 1, 1)
    return lr + torch.randn_like(lr) * level / 255


def turned(lr: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    symmetry = SYMMETRIES[torch.randint(len(SYMMETRIES), ())]
    return turn(lr, symmetry), turn_field(kernel.float(), symmetry)


def crops_of(windows: Windows, count: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops (count, 3, side, side) of as many windows, and their kernels."""
    while True:
        chosen = torch.randint(len(windows.lr), (count,)).tolist()
        places = torch.randint(SIDE - side + 1, (count, 2)).tolist()
        crops = [
            Windows(*(x[index, :, top : top + side, left : left + side] for x in windows))
            for index, (top, left) in zip(chosen, places, strict=True)
        ]
        lr, kernel = turned(*(torch.stack(column) for column in zip(*crops, strict=True)))
        yield with_noise(lr), kernel


def cells_of(
    windows: Windows, network: CueEstimator, memory: int = 400, fresh: int = 4, count: int = 1024
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cues of independent cells as an image (1, channels, 1, count), and their kernels (1, ks*ks, 1, count).

    They are drawn from a memory of windows, some of which are replaced at every step, with new noise and turned.
    """

    def batch(number: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(windows.lr), (number,))
        lr, kernel = turned(windows.lr[chosen], windows.kernel[chosen])
        cues, kernels = motion_cues(with_noise(lr), network.cell, network.windows), F.avg_pool2d(kernel, network.cell)
        return cues.flatten(2).transpose(1, 2), kernels.flatten(2).transpose(1, 2)  # (number, cells, channels)

    parts = [batch(fresh) for _ in range(memory // fresh)]
    cues, kernels = (torch.cat(column) for column in zip(*parts, strict=True))
    step = 0
    while True:
        slots = slice(step * fresh % memory, step * fresh % memory + fresh)
        cues[slots], kernels[slots] = batch(fresh)
        places = torch.randint(cues.shape[0] * cues.shape[1], (count,))
        yield tuple(x.flatten(0, 1)[places].T[None, :, None] for x in (cues, kernels))
        step += 1


# Training and scoring


def train(network: nn.Module, variant: Variant, windows: Windows, seconds: float) -> int:
    """Train for ``seconds`` of this process's time, batches included; returns the number of steps."""
    optimizer = torch.optim.Adam(network.parameters(), lr=variant.lr)
    start, step = time.process_time(), 0
    if isinstance(network, CueEstimator):
        batches, estimate = cells_of(windows, network), network.kernels_of
    else:
        batches, estimate = crops_of(windows, variant.crops, variant.crop), network
    network.train()
    while (spent := (time.process_time() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = variant.lr * (1 + math.cos(math.pi * spent)) / 2
        inputs, truth = next(batches)
        optimizer.zero_grad()
        variant.loss(estimate(inputs), truth).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
    return step


@torch.no_grad()
def scores(network: nn.Module, images: list[Image], noise: int, constant_error: Tensor) -> dict[str, float]:
    network.eval()
    estimates, truths = [network(image.lr[noise]) for image in images], [image.truth for image in images]
    error = torch.cat([kernel_error(*pair) for pair in zip(estimates, truths, strict=True)]).mean()
    return {
        "kernel_error": float(error),
        "constant_error": float(constant_error),
        "skill": float(1 - error / constant_error),
        "rA": correlated(blur_amount, estimates, truths),
        "rD": correlated(blur_direction, estimates, truths),
        "spread": float(torch.cat([kernel_spread(x) for x in estimates]).mean()),
    }


def correlated(measure: Callable[[Tensor], Tensor], estimates: list[Tensor], truths: list[Tensor]) -> float:
    """The correlation of what is measured of kernels, over all pixels of all images."""
    pairs = ((measure(x)[0], measure(y)[0]) for x, y in zip(estimates, truths, strict=True))
    return correlation(torch.stack([moments(x, y, torch.ones_like(y[:1])) for x, y in pairs]).sum(0))


def kernel_spread(kernel: Tensor) -> Tensor:
    """``kernel_error`` of a field to its own mean over the image: (B, ks*ks, H, W) -> (B,); 0 for one kernel."""
    return kernel_error(kernel, kernel.mean(dim=(2, 3), keepdim=True))


def constant_error_of(images: list[Image]) -> Tensor:
    """The error of the one kernel that is best for all images together, mean over images."""
    pixels = torch.cat([image.truth[..., ::2, ::2].flatten(2) for image in images], dim=2)[..., None]
    constant = best_constant_kernel(pixels)[None, :, None, None]
    return torch.cat([kernel_error(constant, image.truth) for image in images]).mean()


def done(file: Path) -> set[tuple[str, ...]]:
    if not file.is_file():
        return set()
    with file.open(newline="") as rows:
        return {(row["variant"], row["seed"], row["cpu_seconds"]) for row in csv.DictReader(rows)}


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Add the rows of one network at once, so that none is half there."""
    before = file.read_text() if file.is_file() else ""
    with write_aside(file) as aside, aside.open("w", newline="") as out:
        out.write(before)
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if not before:
            writer.writeheader()
        writer.writerows({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="a folder of more photographs")
    parser.add_argument("--seconds", type=int, default=60, help="CPU time of every training")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--only", help="names of variants, with semicolons between them")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    windows, images = data(args.photographs)
    constant_error = constant_error_of(images)
    for seed in map(int, args.seeds.split(",")):
        for name in args.only.split(";") if args.only else VARIANTS:
            if (name, str(seed), str(args.seconds)) in done(args.out):
                continue
            torch.manual_seed(seed)
            network = VARIANTS[name].build()
            steps = train(network, VARIANTS[name], windows, args.seconds)
            run = {"variant": name, "seed": seed, "cpu_seconds": args.seconds, "steps": steps}
            run["parameters"] = parameters(network)
            rows = [run | {"noise": noise} | scores(network, images, noise, constant_error) for noise in (0, 10)]
            append(args.out, rows)
            say(f"{name}, seed {seed}: {rows[0]}")


if __name__ == "__main__":
    main()
