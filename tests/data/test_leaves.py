"""Dead leaves against what is known of photographs, and of the model."""

import cv2
import numpy as np
import pytest
import torch

from arcsr_lightning import compose
from arcsr_lightning.data import read_image, sample_photos
from arcsr_lightning.data.leaves import dead_leaves
from arcsr_lightning.data.synthetic import LEAVES
from arcsr_lightning.launch import instantiate


@pytest.fixture(scope="module")
def pictures():
    return [dead_leaves(np.random.default_rng(seed), 256, 256) for seed in range(24)]


def slope(picture):
    """Of log power over log frequency, from 4 to 64 cycles a picture of 256 pixels."""
    grey = picture[:256, :256].mean(-1)
    window = np.outer(np.hanning(256), np.hanning(256))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = 256 * np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    rings = [(2**octave, power[np.abs(np.log2(frequency + 1e-9) - octave) < 0.25].mean()) for octave in range(2, 7)]
    return np.polyfit(*np.log(rings).T, 1)[0]


def test_the_measure_of_a_slope_knows_noise():
    noise = np.random.default_rng(0).normal(128, 20, (256, 256, 3))
    assert slope(noise) == pytest.approx(0, abs=0.2)
    assert slope(noise.cumsum(0).cumsum(1)) < -3


def test_the_power_spectrum_falls_as_that_of_photographs(pictures):
    slopes = [slope(picture) for picture in pictures]
    photographs = [slope(read_image(path)) for split in ("train", "val", "test") for path in sample_photos(split)]
    assert np.mean(slopes) == pytest.approx(-2.3, abs=0.4)
    assert np.mean(slopes) == pytest.approx(np.mean(photographs), abs=0.6)
    assert np.std(slopes) > 0.1  # full of detail and with few large things


def test_pictures_of_small_leaves_look_alike_at_every_scale():
    """The distribution of differences between neighbours is that of the picture of half the size (not so for noise)."""

    def spread(picture):
        grey = picture.astype(np.float32).mean(-1)
        return np.mean(np.abs(np.diff(grey, axis=1)))

    ratios = []
    for seed in range(12):
        picture = dead_leaves(np.random.default_rng(seed), 256, 256, smallest=(1, 1))
        ratios.append(spread(cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)))
        ratios[-1] /= spread(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    assert 0.8 < np.mean(ratios) < 1.4


def test_all_colours_occur():
    pictures = np.concatenate([dead_leaves(np.random.default_rng(seed), 96, 96) for seed in range(120)])
    hsv = cv2.cvtColor(pictures, cv2.COLOR_RGB2HSV)
    coloured = hsv[(hsv[..., 1] > 64) & (hsv[..., 2] > 64)]
    hues = np.bincount(coloured[:, 0] // 15, minlength=12) / len(coloured)  # of 30 degrees each
    assert hues.min() > 0.01
    assert hues.max() < 0.4
    assert [np.quantile(pictures.mean(-1), q) < level for q, level in ((0.05, 40), (0.5, 160))] == [True, True]
    assert np.quantile(pictures.mean(-1), 0.95) > 200


def test_a_picture_depends_on_its_generator_alone():
    one, again = (dead_leaves(np.random.default_rng([3, 1]), 70, 90) for _ in range(2))
    other = dead_leaves(np.random.default_rng([3, 2]), 70, 90)
    assert one.shape == (70, 90, 3) and one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_radii_fall_with_the_third_power(seed, monkeypatch):
    """Areas drawn, by the axes that OpenCV is given: as many leaves between r and 2r as a quarter of those below."""
    drawn = []
    monkeypatch.setattr(cv2, "ellipse", lambda canvas, middle, axes, *rest: drawn.append(axes))
    dead_leaves(np.random.default_rng(seed), 512, 512, smallest=(2, 2), largest=64)
    radii = np.sqrt(np.prod(drawn, axis=1)) / 16
    counts = np.histogram(radii, [2, 4, 8, 16])[0]
    assert radii.min() > 1.95 and radii.max() < 64.5
    assert counts[0] / counts[1] == pytest.approx(4, rel=0.2)
    assert counts[1] / counts[2] == pytest.approx(4, rel=0.4)


def test_leaves_train_without_a_file_and_are_scored_on_photographs():
    cfg = compose(["data=leaves", "data.train.patch_size=64"])
    training = instantiate(cfg.data.train)
    assert not training.paths
    assert {training[number]["name"] for number in range(3)} == {"leaves"}
    for split in ("val", "test"):
        dataset = instantiate(cfg.data[split], noise_level=0)
        assert dataset.paths == sample_photos(split)
    assert torch.equal(training[1]["lr"], instantiate(cfg.data.train)[1]["lr"])


@pytest.mark.parametrize("data", [["data=sample"], ["data=folder", "data.root={photos}", "data.val_root={photos}"]])
def test_a_share_of_leaves_is_typed(data, photos):
    cfg = compose(
        [*(setting.format(photos=photos) for setting in data), "data.train.leaves=0.5", "data.train.patch_size=64"]
    )
    training = instantiate(cfg.data.train)
    of_leaves = [training.source(number) == LEAVES for number in range(40)]
    assert 8 < sum(of_leaves) < 32
