"""Samples of several data sets: they are the sets' own, come in their shares, and make batches."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils.data import default_collate

from arcsr_lightning.data import Mixture, PairedTraining, SyntheticTraining
from arcsr_lightning.data.measured import write_kernels
from arcsr_lightning.data.store import write_store
from arcsr_lightning.degradation import Degradation, MotionField
from arcsr_lightning.errors import InputError
from tests.data.samples import same

SETTINGS = {"scale": 2, "kernel_size": 7, "patch_size": 32, "noise_level": (0.0, 5.0), "seed": 3}


@pytest.fixture
def store(photo_files, frames, tmp_path):
    folder = tmp_path / "store"
    write_store(folder, [*photo_files, *(path for pair in frames for path in (pair.hr, pair.degraded))])
    write_kernels(folder, frames, SETTINGS["scale"], SETTINGS["kernel_size"])
    return folder


@pytest.fixture
def parts(photo_files, frames):
    photographs = partial(SyntheticTraining, photo_files, Degradation(MotionField(9, 6)))
    return {"photographs": photographs, "frames": partial(PairedTraining, frames, kernels="measured")}


@pytest.mark.parametrize("more", [{}, {"second_crop": True}])
def test_a_sample_is_that_of_its_set_with_what_all_sets_have(parts, store, more):
    settings = SETTINGS | more
    mixture = Mixture(parts, {"photographs": 1, "frames": 1}, store=store, **settings)
    for number in range(8):
        part = mixture.part_of(number)
        own = parts[part](store=store, **settings)[number]
        assert ("lr_key" in own) == bool(more)
        assert mixture.source(number) == parts[part](store=store, **settings).source(number)
        certain = torch.ones(1, *own["lr"].shape[1:])
        expected = {key: value for key, value in own.items() if key not in ("basis", "masks")}
        assert same(mixture[number], {"confidence": certain} | expected)
    assert default_collate([mixture[number] for number in range(8)])["confidence"].shape == (8, 1, 16, 16)


def test_sets_come_in_their_shares_and_each_image_as_often_as_another(parts, store):
    mixture = Mixture(parts, {"photographs": 3, "frames": 1}, store=store, **SETTINGS)
    drawn = Counter((mixture.part_of(number), mixture.source(number)) for number in range(4000))
    of_part = Counter(part for part, _ in drawn.elements())
    assert of_part["photographs"] == pytest.approx(3000, abs=110)  # four standard deviations
    for (part, _), count in drawn.items():  # 3 photographs, 2 pairs: what is chosen in a set depends on nothing else
        assert count == pytest.approx(1000 if part == "photographs" else 500, abs=110)


def test_without_kernels_none_are_asked_for(photo_files, frames):
    photographs = partial(SyntheticTraining, photo_files, Degradation(MotionField(9, 6)))
    parts = {"photographs": photographs, "frames": partial(PairedTraining, frames)}
    shares = {"photographs": 1, "frames": 1}
    mixture = Mixture(parts, shares, kernels="unknown", **SETTINGS)
    assert all(mixture[number].keys() == {"lr", "hr", "noise_level", "name", "number"} for number in range(6))
    incomplete = Mixture(parts, shares, **SETTINGS)
    frame = next(number for number in range(20) if incomplete.part_of(number) == "frames")
    with pytest.raises(InputError, match=r"parts\.frames has no kernels.*data\.kernels=unknown"):
        incomplete[frame]


@pytest.mark.parametrize("shares", [{"photographs": 1}, *({"photographs": n, "frames": -2 * n} for n in (0, -1))])
def test_shares_that_do_not_fit_are_refused(parts, shares):
    with pytest.raises(InputError, match=r"data\.train\.shares must give each of the parts \(photographs, frames\)"):
        Mixture(parts, shares, **SETTINGS)


def test_a_set_without_a_share_is_not_made(parts, store):
    mixture = Mixture(parts | {"none": None}, {"photographs": 1, "frames": 0, "none": 0}, store=store, **SETTINGS)
    assert {mixture.part_of(number) for number in range(20)} == {"photographs"}
