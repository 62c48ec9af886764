"""Images for samples to be made from."""

import numpy as np
import pytest

from arcsr_lightning.data import Pair
from tests.data.samples import ramp, write


@pytest.fixture
def pixels():
    """A photograph-like image, (40, 56, 4) uint8: smooth enough for JPEG, no two channels alike."""
    y, x = np.mgrid[0:40, 0:56] / 56
    waves = [np.sin(5 * x + 3 * y), np.cos(4 * y), np.sin(3 * x * y + 1), np.cos(2 * x + y)]
    return np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture
def photo_files(tmp_path):
    noise = np.random.default_rng(1)
    sizes = {"a.png": (40, 52), "b.png": (47, 41), "c.png": (64, 36)}
    return [write(tmp_path / name, noise.integers(0, 256, (*s, 3), dtype=np.uint8)) for name, s in sizes.items()]


@pytest.fixture
def frames(tmp_path):
    """Pairs at HR size, whose two frames are the same ramp, so that an LR crop must be its downsampled HR crop."""
    paths = [write(tmp_path / f"{i}/{kind}.png", ramp(60, 82)) for i in range(2) for kind in ("sharp", "blur")]
    return [Pair(f"{i}", paths[2 * i], paths[2 * i + 1], at_lr_size=False) for i in range(2)]


@pytest.fixture
def small_frames(tmp_path):
    """Pairs with a degraded frame of LR size, whose pixels are every fourth of the sharp frame's."""
    sharp = write(tmp_path / "sharp.png", ramp(62, 83))
    return [Pair("0", sharp, write(tmp_path / "lr.png", ramp(62, 83)[:60:4, :80:4]), at_lr_size=True)]
