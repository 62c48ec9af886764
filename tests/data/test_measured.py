"""Measured kernels in a store: what is kept, when it is measured anew, and the samples that are cut from it."""

import os

import numpy as np
import pytest
import torch

from arcsr_lightning.data import PairedEvaluation, PairedTraining, read_image
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.measured import KernelStore, kernel_folder, write_kernels
from arcsr_lightning.data.store import write_store
from arcsr_lightning.degradation import FIT, Symmetry, downsample, measure_kernels, turn, turn_field
from arcsr_lightning.degradation.measure import REVISION
from arcsr_lightning.errors import InputError
from tests.data.samples import NOISELESS, quarter_turns, same, whereabouts

SCALE, KERNEL_SIZE = 4, 3


@pytest.fixture
def store(frames, tmp_path):
    """A store of the pairs ``frames`` and their kernels."""
    folder = tmp_path / "store"
    write_store(folder, [path for pair in frames for path in (pair.hr, pair.degraded)])
    assert write_kernels(folder, frames, SCALE, KERNEL_SIZE) == len(frames)
    return folder


def test_what_is_kept_is_what_is_measured(frames, store):
    pair = frames[0]
    images = (to_tensor(read_image(path))[None, :, :60, :80] for path in (pair.hr, pair.degraded))
    measured = measure_kernels(*(downsample(image, SCALE) for image in images), KERNEL_SIZE)
    kernel, confidence = KernelStore(store, frames, SCALE, KERNEL_SIZE)(pair, 15, 20)
    torch.testing.assert_close(kernel, measured.kernel[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(confidence, measured.confidence[0], atol=2e-3, rtol=0)


def test_kernels_are_found_however_the_path_is_written(frames, store):
    roundabout = [
        pair._replace(degraded=pair.degraded.parent / ".." / pair.degraded.parent.name / pair.degraded.name)
        for pair in frames
    ]
    assert write_kernels(store, roundabout, SCALE, KERNEL_SIZE) == 0


def test_only_what_is_missing_changed_or_damaged_is_measured(frames, store):
    assert write_kernels(store, frames, SCALE, KERNEL_SIZE) == 0
    file = next(kernel_folder(store, SCALE, KERNEL_SIZE).iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(InputError, match="damaged.*data.kernels=measured scale=4 kernel_size=3"):
        KernelStore(store, frames, SCALE, KERNEL_SIZE)
    assert write_kernels(store, frames, SCALE, KERNEL_SIZE) == 1
    os.utime(frames[0].hr, ns=(1, 1))
    with pytest.raises(InputError, match="older frames"):
        KernelStore(store, frames, SCALE, KERNEL_SIZE)
    assert write_kernels(store, frames, SCALE, KERNEL_SIZE) == 1
    with np.load(file) as held:
        assert held["kernel"].dtype == np.float16


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": np.zeros((9, 4), np.float16)},
        {"kernel": np.zeros((4, 4, 5), np.float16)},
        {"kernel": np.zeros((9, 4, 5), ">f2")},
        {"confidence": np.zeros((1, 3, 5), np.uint8)},
        {"confidence": b"damaged"},
    ],
)
def test_a_file_of_something_else_is_named(frames, store, change):
    kernels = KernelStore(store, frames, SCALE, KERNEL_SIZE)
    for file in kernels.folder.iterdir():
        with np.load(file) as held:
            np.savez(file, **(dict(held) | change))
    with pytest.raises(InputError, match=r"npz: damaged; remove it and run arcsr-prepare with data.kernels=measured"):
        kernels(frames[0], 15, 20)


@pytest.mark.parametrize("change", [{"window": 5}, {"ridge": 1e-2}, {"pull": 0.0}, {"cell": 8}])
def test_kernels_of_another_fit_are_measured_anew(frames, store, change, monkeypatch):
    other = FIT._replace(**change)
    monkeypatch.setattr("arcsr_lightning.data.measured.FIT", other)
    with pytest.raises(InputError, match="fitted otherwise.*run arcsr-prepare"):
        KernelStore(store, frames, SCALE, KERNEL_SIZE)
    assert write_kernels(store, frames, SCALE, KERNEL_SIZE) == len(frames)
    pair = frames[0]
    images = (to_tensor(read_image(path))[None, :, :60, :80] for path in (pair.hr, pair.degraded))
    measured = measure_kernels(*(downsample(image, SCALE) for image in images), KERNEL_SIZE, other)
    kernel, _ = KernelStore(store, frames, SCALE, KERNEL_SIZE)(pair, 15, 20)
    torch.testing.assert_close(kernel, measured.kernel[0], atol=1e-3, rtol=0)


def test_kernels_measured_by_an_earlier_revision_are_measured_anew(frames, store, monkeypatch):
    monkeypatch.setattr("arcsr_lightning.data.measured.REVISION", REVISION + 1)
    with pytest.raises(InputError, match="fitted otherwise.*run arcsr-prepare"):
        KernelStore(store, frames, SCALE, KERNEL_SIZE)
    assert write_kernels(store, frames, SCALE, KERNEL_SIZE) == len(frames)


@pytest.fixture
def uneven(frames, store):
    """The kernels in the store replaced by random ones, so that every place and tap differs."""
    rng = np.random.default_rng(0)
    for file in kernel_folder(store, SCALE, KERNEL_SIZE).iterdir():
        with np.load(file) as held:
            kernel = rng.random(held["kernel"].shape).astype(np.float16)
            confidence = rng.integers(0, 256, held["confidence"].shape, dtype=np.uint8)
            kept = {name: held[name] for name in ("source", "fit")}
        np.savez(file, kernel=kernel, confidence=confidence, **kept)
    return {"store": store, "kernels": "measured", "kernel_size": KERNEL_SIZE}


def test_kernels_are_cut_and_turned_with_the_crop(frames, uneven):
    dataset = PairedTraining(frames, SCALE, 32, NOISELESS, augment=quarter_turns(), **uneven)
    kernels = KernelStore(uneven["store"], frames, SCALE, KERNEL_SIZE)
    fields = {pair.name: kernels(pair, 15, 20) for pair in frames}
    found = set()
    for number in range(24):
        sample = dataset[number]
        kernel, confidence = fields[sample["name"]]
        turns, top, left = whereabouts(sample["hr"])
        there = (..., slice(top // SCALE, top // SCALE + 8), slice(left // SCALE, left // SCALE + 8))
        assert torch.equal(sample["kernel"], turn_field(kernel[there], Symmetry(False, turns)))
        assert torch.equal(sample["confidence"], turn(confidence[there], Symmetry(False, turns)))
        found.add(turns)
    assert found == {0, 1, 2, 3}


def test_all_else_of_a_sample_is_the_same_without_kernels(frames, uneven):
    settings = {"patch_size": 32, "augment": quarter_turns(), "second_crop": True}
    sample = PairedTraining(frames, SCALE, **settings, **uneven)[3]
    assert {sample.pop(name).shape for name in ("kernel", "confidence")} == {(9, 8, 8), (1, 8, 8)}
    assert same(sample, PairedTraining(frames, SCALE, **settings)[3])


def test_evaluation_has_the_whole_field(frames, uneven):
    sample = PairedEvaluation(frames, SCALE, 10.0, **uneven)[0]
    kernel, confidence = KernelStore(uneven["store"], frames, SCALE, KERNEL_SIZE)(frames[0], *sample["lr"].shape[1:])
    assert torch.equal(sample["kernel"], kernel) and torch.equal(sample["confidence"], confidence)


@pytest.mark.parametrize(("settings", "message"), [({"kernels": "known"}, "unknown or measured"), ({}, "data.store")])
def test_settings_that_do_not_fit(frames, settings, message):
    with pytest.raises(InputError, match=message):
        PairedEvaluation(frames, SCALE, 0.0, **({"kernels": "measured"} | settings))
