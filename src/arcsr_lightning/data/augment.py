"""Augmentation: an albumentations pipeline that treats the images of a sample, and their kernels, alike.

Named in configurations (conf/data/augment/) and imported with them only, as albumentations takes a second to import.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.degradation import SYMMETRIES, Symmetry, turn, turn_field
from arcsr_lightning.errors import InputError


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for the time of the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


with _environment("NO_ALBUMENTATIONS_UPDATE", "1"):  # else its import asks the network for a newer version
    import albumentations as A

Transform = A.BasicTransform | A.BaseCompose

PROBE = np.array([[0, 1], [2, 3]], np.uint8)  # every symmetry makes another picture of it


class Augmented(NamedTuple):
    """hr (3, H, W), lr (3, h, w), kernel (k*k, h, w), confidence (1, h, w), or None where none was given."""

    hr: Tensor
    lr: Tensor | None
    kernel: Tensor | None
    confidence: Tensor | None


class Augmentation:
    """A pipeline of albumentations, as a pure function of a seed.

    Symmetries of the square turn the images and, with its pixels, the taps of a kernel field; changes of colour apply
    to the images. Where there is a pair, nothing else can: ``check_pairs`` says so.

    Args:
        transforms: by name, in order; those that are None are left out.
    """

    def __init__(self, transforms: Mapping[str, Transform | None]) -> None:
        self.pipeline = _compose(transform for transform in transforms.values() if transform is not None)

    def draw(self, rng: np.random.Generator) -> int:
        """The seed of a sample: images augmented with equal seeds are augmented alike."""
        return int(rng.integers(2**31))

    def __call__(
        self,
        seed: int,
        hr: Tensor,
        lr: Tensor | None = None,
        kernel: Tensor | None = None,
        confidence: Tensor | None = None,
    ) -> Augmented:
        """Augment what belongs together.

        Args:
            seed: from ``draw``.
            hr: (3, H, W), RGB in [0, 1].
            lr: (3, h, w), RGB in [0, 1].
            kernel: (k*k, h, w), a field with its taps row by row.
            confidence: (1, h, w), of the kernels.

        Raises:
            InputError: a transform changes the size or type of the images.
        """
        targets = {"image": _pixels(hr)}
        if lr is not None:
            targets["lr"] = _pixels(lr)
        if kernel is not None:
            targets["probe"] = PROBE
        self.pipeline.set_random_seed(seed)
        out = self.pipeline(**targets)
        for name in targets:
            if (out[name].shape, out[name].dtype) != (targets[name].shape, targets[name].dtype):
                raise InputError(
                    f"data.augment makes {out[name].dtype} {out[name].shape} of {targets[name].dtype} "
                    f"{targets[name].shape}; use transforms that keep the size and the type of an image"
                )
        symmetry = _symmetry_of(out["probe"]) if kernel is not None else None
        return Augmented(
            _tensor(out["image"]).clamp_(0, 1),  # bicubic interpolation goes beyond; an LR image may
            None if lr is None else _tensor(out["lr"]),
            None if kernel is None else turn_field(kernel, symmetry),
            None if confidence is None else turn(confidence, symmetry),
        )

    def check_pairs(self) -> None:
        """Try every transform on a pair whose HR image repeats the pixels of its LR image.

        Raises:
            InputError: a transform does not treat both images alike; names it.
        """
        rng = np.random.default_rng(0)
        lr = rng.random((8, 8, 3), dtype=np.float32)
        hr = _enlarge(lr)
        for transform in _leaves(self.pipeline):
            name = type(transform).__name__
            alone = _compose([deepcopy(transform)])
            alone.transforms[0].p = 1.0
            for seed in range(8):
                alone.set_random_seed(seed)
                try:
                    out = alone(image=hr, lr=lr)
                    alike = np.allclose(out["image"], _enlarge(out["lr"]), atol=1e-3)
                except Exception as error:  # each transform fails in its own ways on images of two sizes
                    raise _refused(name) from error
                if not alike:
                    raise _refused(name)


def _compose(transforms: Iterable[Transform]) -> A.Compose:
    return A.Compose(list(transforms), additional_targets={"lr": "image", "probe": "mask"}, is_check_shapes=False)


def _leaves(transform: Transform) -> list[A.BasicTransform]:
    if isinstance(transform, A.BaseCompose):
        return [leaf for child in transform.transforms for leaf in _leaves(child)]
    return [transform]


def _refused(name: str) -> InputError:
    return InputError(
        f"data.augment: {name} cannot change both images of a pair alike; use symmetries of the square "
        "(albumentations.SquareSymmetry, ...) and changes of colour"
    )


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Every pixel four times as high and wide, (H, W, 3) -> (4H, 4W, 3)."""
    return image.repeat(4, 0).repeat(4, 1)


def _symmetry_of(probe: np.ndarray) -> Symmetry:
    """Which symmetry made that of ``PROBE``."""
    before, after = torch.from_numpy(PROBE), torch.from_numpy(np.ascontiguousarray(probe))
    return next(symmetry for symmetry in SYMMETRIES if torch.equal(turn(before, symmetry), after))


def _pixels(image: Tensor) -> np.ndarray:
    """(3, H, W) -> (H, W, 3)."""
    return cv2.merge(list(image.numpy()))  # in a tenth of NumPy's time


def _tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) -> (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
