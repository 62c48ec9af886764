"""Training samples from several data sets: photographs that are blurred here and frames whose blur was measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from arcsr_lightning.data.crops import Sample
from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.errors import InputError

SHARED = ("lr", "hr", "noise_level", "name", "number")  # entries that a sample of any data set has


class Mixture(Dataset[Sample]):
    """Sample n of one of several training sets, which is drawn by their shares.

    Samples hold what those of all sets have, so that they make a batch: no ``basis`` and ``masks``, which measured blur
    does not have, and a ``confidence`` for every kernel, one where it is known.

    Args:
        parts: each makes a training set, given all of the settings below but ``kernels``.
        shares: how often each is drawn, relative to the others, by the same names.
        scale: of the restoration.
        kernel_size: of the fields on the LR grid, odd.
        patch_size: side of the HR crops, in pixels.
        noise_level: (lowest, highest) in 8-bit levels, uniform in between.
        seed: of all samples, and of the choices.
        store: of the images, and of measured kernels.
        kernels: ``unknown`` leaves the kernels out; otherwise every set has to have some.
        second_crop: as in the sets.

    Raises:
        InputError: the shares do not fit the sets, or a set refuses its settings; from an item, a file is at fault or
            has no kernels.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[..., Dataset[Sample]]],
        shares: Mapping[str, float],
        scale: int,
        kernel_size: int,
        patch_size: int = 256,
        noise_level: Sequence[float] = (0.2, 20.0),
        seed: int = 0,
        store: str | Path | None = None,
        kernels: str = "measured",
        second_crop: bool = False,
    ) -> None:
        if parts.keys() != shares.keys() or not sum(shares.values()) > 0 or min(shares.values()) < 0:
            raise InputError(
                f"data.train.shares must give each of the parts ({', '.join(parts)}) a share of 0 or more, not all "
                "of them 0, got "
                f"{', '.join(f'{name}: {share}' for name, share in shares.items())}"
            )
        self.parts = {
            name: make(
                scale=scale,
                kernel_size=kernel_size,
                patch_size=patch_size,
                noise_level=noise_level,
                seed=seed,
                store=store,
                second_crop=second_crop,
            )
            for name, make in parts.items()
            if shares[name]
        }
        self.ends = np.cumsum([shares[name] for name in self.parts]) / sum(shares.values())
        self.seed = seed
        self.kernels = kernels
        self.shared = (*SHARED, "lr_key") if second_crop else SHARED

    def source(self, number: int) -> Path:
        return self.parts[self.part_of(number)].source(number)

    def part_of(self, number: int) -> str:
        """The name of the set that a sample is taken from."""
        drawn = sample_generator(self.seed, "mixture", number).random()
        return list(self.parts)[int(np.searchsorted(self.ends, drawn, side="right"))]

    def __getitem__(self, number: int) -> Sample:
        part = self.part_of(number)
        sample = self.parts[part][number]
        shared = {key: sample[key] for key in self.shared}
        if self.kernels == "unknown":
            return shared
        if "kernel" not in sample:
            raise InputError(
                f"data.train.parts.{part} has no kernels, others have; measure them (data.kernels=measured), or "
                "set data.kernels=unknown"
            )
        certain = torch.ones(1, *sample["lr"].shape[-2:])
        return shared | {"kernel": sample["kernel"], "confidence": sample.get("confidence", certain)}
