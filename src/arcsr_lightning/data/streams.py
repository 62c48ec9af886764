"""The random generators: each split has a stream of its own, so that none sees the numbers of another."""

import numpy as np

from arcsr_lightning.errors import InputError

SPLITS = ("train", "val", "test", "mixture", "step")  # mixture: the data sets of training samples; step: dropout


def sample_generator(seed: int, split: str, number: int) -> np.random.Generator:
    """Return the generator of one sample.

    It differs from that of every other split and number, and from ``np.random.default_rng`` of any seed: split and
    number are a spawn key, which NumPy keeps apart from the seed however large that is.

    Args:
        seed: of a run.
        split: train, val, test, mixture or step.
        number: of the sample, or step, within its split.

    Raises:
        InputError: there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r} to draw for; choose from {', '.join(SPLITS)}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), number)))
