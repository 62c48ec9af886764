"""What samples of both families promise."""

import random

import pytest
import torch
from torch.utils.data import DataLoader

from arcsr_lightning.data import PairedEvaluation, PairedTraining, SyntheticEvaluation
from arcsr_lightning.degradation import Degradation, MotionField, NoBlur
from arcsr_lightning.errors import InputError
from tests.data.samples import one_by_one, quarter_turns, same, synthetic


@pytest.mark.parametrize("kind", ["synthetic", "paired"])
def test_a_training_sample_depends_on_seed_and_number_alone(photo_files, frames, kind):
    def dataset(seed, cache=False):
        if kind == "synthetic":
            return synthetic(photo_files, seed=seed, cache=cache)
        return PairedTraining(frames, 4, 32, seed=seed, augment=quarter_turns(), cache=cache)

    numbers = [4, 0, 9, 1, 4]
    forwards = [dataset(3)[number] for number in numbers]
    backwards, cached = dataset(3), dataset(3, cache=True)
    torch.manual_seed(0)
    random.seed(0)
    assert all(same(backwards[n], s) for n, s in reversed(list(zip(numbers, forwards, strict=True))))
    assert all(same(cached[n], s) for n, s in zip(numbers, forwards, strict=True))
    workers = DataLoader(dataset(3), 1, sampler=numbers, num_workers=2, collate_fn=one_by_one)
    assert all(same(loaded, s) for loaded, s in zip(workers, forwards, strict=True))
    assert not torch.equal(dataset(4)[4]["lr"], forwards[0]["lr"])
    assert not torch.equal(forwards[1]["lr"], forwards[3]["lr"])


@pytest.mark.parametrize("kind", ["synthetic", "paired", "synthetic evaluation", "paired evaluation"])
def test_the_source_of_a_sample_is_the_image_it_is_made_from(photo_files, frames, kind, monkeypatch):
    dataset = {
        "synthetic": lambda: synthetic(photo_files),
        "paired": lambda: PairedTraining(frames, 4, 32),
        "synthetic evaluation": lambda: SyntheticEvaluation(
            photo_files, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws=2
        ),
        "paired evaluation": lambda: PairedEvaluation(frames, 4, 0.0),
    }[kind]()
    opened, read = [], dataset.read
    monkeypatch.setattr(dataset, "read", lambda path: opened.append(path) or read(path))
    for number in range(1 if kind == "paired evaluation" else 6):
        opened.clear()
        dataset[number]
        assert dataset.source(number) == opened[0]


@pytest.mark.parametrize("kind", ["synthetic", "paired", "small"])
def test_a_second_crop_changes_nothing_else(photo_files, frames, small_frames, kind):
    def dataset(second_crop):
        if kind == "synthetic":
            return synthetic(photo_files, second_crop=second_crop)
        return PairedTraining(
            frames if kind == "paired" else small_frames, 4, 32, augment=quarter_turns(), second_crop=second_crop
        )

    for number in range(6):
        alone, both = dataset(False)[number], dataset(True)[number]
        assert same(both, dataset(True)[number])
        key = both.pop("lr_key")
        assert same(alone, both)
        assert key.shape == both["lr"].shape and key.dtype == torch.float32
        assert not torch.equal(key, both["lr"])


@pytest.mark.parametrize("kind", ["synthetic", "paired", "small"])
def test_noise_levels_of_an_evaluation_differ_in_nothing_but_the_strength_of_the_noise(
    photo_files, frames, small_frames, kind
):
    def samples(noise_level):
        if kind == "synthetic":
            return list(SyntheticEvaluation(photo_files, Degradation(MotionField(9, 6)), 4, 5, noise_level))
        return list(PairedEvaluation(frames if kind == "paired" else small_frames, 4, noise_level))

    for clean, weak, strong in zip(samples(0), samples(5), samples(10), strict=True):
        assert [s["noise_level"] for s in (clean, weak, strong)] == [0.0, 5.0, 10.0]
        torch.testing.assert_close(strong["lr"] - clean["lr"], 2 * (weak["lr"] - clean["lr"]), atol=1e-6, rtol=0)
        assert (strong["lr"] - clean["lr"]).abs().max() > 0
        assert torch.equal(clean["hr"], strong["hr"])
        assert all(torch.equal(clean[key], strong[key]) for key in ("basis", "masks", "kernel") if key in clean)


def test_an_image_smaller_than_the_crop_is_named(photo_files, frames):
    with pytest.raises(
        InputError, match=r"[abc].png is \d+x\d+, smaller than the crop of 66x66.*data.train.patch_size"
    ):
        synthetic(photo_files, patch_size=66)[0]
    with pytest.raises(InputError, match=r"sharp.png is 82x60, smaller than the crop of 64x64"):
        PairedTraining(frames, 4, 64)[0]
    with pytest.raises(InputError, match=r"a.png is 52x40; scale 64 needs at least 64x64"):
        SyntheticEvaluation(photo_files, Degradation(NoBlur()), 64, 1, 0.0)[0]


def test_a_truncated_image_is_named(photo_files, frames):
    frames[0].degraded.write_bytes(frames[0].degraded.read_bytes()[:200])
    with pytest.raises(InputError, match=r"blur.png"):
        PairedTraining(frames[:1], 4, 32)[0]
    photo_files[0].write_bytes(photo_files[0].read_bytes()[:200])
    with pytest.raises(InputError, match=r"a.png"):
        SyntheticEvaluation(photo_files, Degradation(NoBlur()), 2, 1, 0.0)[0]


@pytest.mark.parametrize("patch_size", [0, 33])
def test_a_patch_size_that_the_scale_does_not_divide_is_refused(photo_files, frames, patch_size):
    with pytest.raises(InputError, match=f"data.train.patch_size .* got {patch_size}"):
        synthetic(photo_files, patch_size=patch_size)
    with pytest.raises(InputError, match=f"data.train.patch_size .* got {patch_size}"):
        PairedTraining(frames, 4, patch_size)


@pytest.mark.parametrize("noise_level", [(20, 0.2), (-1, 5), (5,)])
def test_a_noise_range_that_is_none_is_refused(photo_files, frames, noise_level):
    with pytest.raises(InputError, match=r"data.train.noise_level must be \(lowest, highest\)"):
        synthetic(photo_files, noise_level=noise_level)
    with pytest.raises(InputError, match=r"data.train.noise_level must be \(lowest, highest\)"):
        PairedTraining(frames, 4, 32, noise_level)
