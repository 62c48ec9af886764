"""The scores of single images: read back, paired with those of another method, sorted by blur."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from arcsr_lightning.errors import InputError
from arcsr_lightning.results.reading import number_in, read_csv
from arcsr_lightning.results.statistics import Interval, clustered_bootstrap


class ImageScore(NamedTuple):
    """PSNR on RGB; the sequence or photograph that the image is from; the amount of its blur in LR pixels, if known."""

    psnr: float
    group: str
    blur: float | None


ImageScores = Mapping[float, Mapping[str, ImageScore]]  # by noise level and name
ScoresBySeed = Mapping[int | None, ImageScores]  # of the trainings of a method; None: it has none, as bicubic upscaling


def read_images(folder: Path, means: Mapping[str, Mapping[float, Mapping[str, Any]]]) -> dict[str, ImageScores]:
    """The test images of a run for each method in ``means``, which metrics.json has by noise level.

    Raises:
        InputError: the run has lost its per_image.csv, or that is not what metrics.json has the means of.
    """
    path = folder / "per_image.csv"
    if not path.is_file():
        raise InputError(f"{path}: missing beside metrics.json; score the run's weights again with arcsr-eval")
    found: dict[str, dict[float, dict[str, ImageScore]]] = {method: {} for method in means}
    for row in read_csv(path):
        if row.get("method") in found:
            level = found[row["method"]].setdefault(number_in(row, "noise_level", path), {})
            blur = number_in(row, "blur_amount", path) if row.get("blur_amount") else None
            name = str(row.get("name"))
            level[name] = ImageScore(number_in(row, "psnr_rgb", path), row.get("group") or name, blur)
    for method, levels in means.items():
        for level, mean in levels.items():
            psnrs = [image.psnr for image in found[method].get(level, {}).values()]
            if len(psnrs) != mean["images"] or not math.isclose(fmean(psnrs), mean["psnr_rgb"], abs_tol=1e-6):
                raise InputError(
                    f"{path}: damaged, not the images of {method} at noise level {level:g} that metrics.json has the "
                    "mean of; score the run's weights again with arcsr-eval"
                )
    return dict(found)


def check_same_images(one: str, images: ImageScores, other: str, others: ImageScores) -> None:
    """Raise InputError where two sets of scores are not of the same images."""
    if {level: names.keys() for level, names in images.items()} != {
        level: names.keys() for level, names in others.items()
    }:
        raise InputError(f"{one} and {other} differ in the test images: their scores cannot be paired")


def gains_over(ours: ScoresBySeed, theirs: ScoresBySeed, level: float, names: Sequence[str]) -> np.ndarray | None:
    """PSNR less that of another method, (seeds, images), for the seeds that both have.

    None where no seed is common, or where a perfect image has no finite score.
    """
    seeds = [(own, other) for own in ours for other in theirs if own == other or None in (own, other)]
    scores = np.array(
        [[(ours[own][level][name].psnr, theirs[other][level][name].psnr) for name in names] for own, other in seeds]
    )
    return scores[..., 0] - scores[..., 1] if seeds and np.isfinite(scores).all() else None


def difference(gains: np.ndarray, images: Iterable[ImageScore]) -> Interval:
    """The mean of gains over these images, and its interval."""
    groups = [image.group for image in images]
    return clustered_bootstrap(gains, groups, np.random.default_rng(0))  # the same interval at every call


class Tercile(NamedTuple):
    """A third of the test images by the amount of their blur; ``low``, ``high`` and ``mean`` in LR pixels."""

    label: str
    names: list[str]
    low: float
    high: float
    mean: float


def blur_terciles(images: Mapping[str, ImageScore]) -> list[Tercile]:
    """The test images in three parts, as equal in number as can be, from weakest to strongest blur.

    Empty where the blur of some is not known, where all are blurred alike, and of fewer than three images.
    """
    blurs = {name: image.blur for name, image in images.items() if image.blur is not None}
    if len(blurs) < max(3, len(images)) or len(set(blurs.values())) == 1:
        return []
    parts = np.array_split(sorted(blurs, key=lambda name: (blurs[name], name)), 3)
    amounts = [[blurs[name] for name in part] for part in parts]
    return [
        Tercile(label, [str(name) for name in part], amount[0], amount[-1], fmean(amount))
        for label, part, amount in zip(("weak", "medium", "strong"), parts, amounts, strict=True)
    ]
