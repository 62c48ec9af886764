"""Training, validation and test never draw the same."""

from itertools import combinations

import numpy as np
import pytest
import torch

from arcsr_lightning import compose
from arcsr_lightning.data import PairedEvaluation, PairedTraining, SyntheticEvaluation
from arcsr_lightning.data import paired as paired_samples
from arcsr_lightning.data.streams import SPLITS, sample_generator
from arcsr_lightning.degradation import Degradation, NoBlur, add_noise
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import instantiate
from tests.data.samples import synthetic


def start(rng):
    """What a generator was begun with."""
    return tuple(rng.bit_generator.seed_seq.generate_state(8))


class Recorder(NoBlur):
    """No blur, and a list of what the generators that it is called with were begun with."""

    def __init__(self):
        self.starts = []

    def __call__(self, rng, height, width):
        self.starts.append(start(rng))
        return super().__call__(rng, height, width)


def test_no_two_samples_share_a_stream():
    seeds = [0, 1, 2, 7, 2**32, 2**40, 2**64 + 1]
    starts = [start(sample_generator(seed, split, n)) for seed in seeds for split in SPLITS for n in range(40)]
    starts += [start(np.random.default_rng([seed, n])) for seed in range(4) for n in range(1, 40)]
    starts += [start(np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(starts)) == len(starts)


def test_a_stream_is_the_same_at_every_call():
    assert np.array_equal(sample_generator(3, "val", 5).random(9), sample_generator(3, "val", 5).random(9))


def test_another_split_is_refused():
    with pytest.raises(InputError, match="no split 'dev' to draw for; choose from train, val, test"):
        sample_generator(0, "dev", 0)


def test_synthetic_splits_draw_their_degradations_from_different_streams(photo_files):
    drawn = {}
    for split in SPLITS:
        blur = Recorder()
        if split == "train":
            dataset = synthetic(photo_files, degradation=Degradation(blur), seed=0)
        else:
            dataset = SyntheticEvaluation(photo_files, Degradation(blur), 2, 7, 10.0, draws=2, split=split)
        blur.starts.clear()  # those of its construction
        for number in range(6):
            dataset[number]
        drawn[split] = set(blur.starts)
    assert all(len(starts) == 6 for starts in drawn.values())
    assert not any(one & other for one, other in combinations(drawn.values(), 2))


def test_paired_splits_draw_their_noise_from_different_streams(frames, monkeypatch):
    starts = []

    def recording(x, noise_level, rng):
        starts.append(start(rng))
        return add_noise(x, noise_level, rng)

    monkeypatch.setattr(paired_samples, "add_noise", recording)
    training = PairedTraining(frames, 4, 32)
    evaluations = [PairedEvaluation(frames, 4, 10.0, split=split) for split in ("val", "test")]
    for dataset in (training, *evaluations):
        for number in range(len(frames)):
            dataset[number]
    assert len(set(starts)) == 3 * len(frames)


def test_the_first_image_of_validation_and_of_test_are_blurred_differently():
    cfg = compose(["data=sample"])
    val, test = (instantiate(cfg.data[split], noise_level=0)[0] for split in ("val", "test"))
    assert not torch.equal(val["basis"], test["basis"])


@pytest.mark.parametrize("data", ["gopro", "reds"])
def test_noise_of_validation_and_of_test_differ_on_the_same_frames(data, gopro_tree, reds_tree):
    cfg = compose([f"data={data}", f"data.root={gopro_tree if data == 'gopro' else reds_tree}"])
    val, test = (instantiate(cfg.data[split], noise_level=10)[0] for split in ("val", "test"))
    assert torch.equal(val["hr"], test["hr"])
    assert not torch.equal(val["lr"], test["lr"])
