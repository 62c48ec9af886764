"""Samples of real pairs."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from arcsr_lightning.data import Pair, PairedEvaluation, PairedTraining, gopro_pairs, reds_pairs
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.degradation import downsample
from arcsr_lightning.errors import InputError
from tests.data.samples import NOISELESS, quarter_turns, ramp, whereabouts, write

REAL = Path(__file__).parents[2] / "../shared/data"


@pytest.mark.parametrize("turns", range(4))
def test_paired_crop_of_large_frames_is_the_crop_of_the_downsampled_frame(frames, turns):
    dataset = PairedTraining(frames, 4, 32, NOISELESS, seed=2, augment=quarter_turns())
    whole = downsample(to_tensor(ramp(60, 82)[:60, :80]), 4)
    found = [sample for sample in map(dataset.__getitem__, range(24)) if whereabouts(sample["hr"])[0] == turns]
    assert found
    for sample in found:
        _, top, left = whereabouts(sample["hr"])
        crop = whole[:, top // 4 : top // 4 + 8, left // 4 : left // 4 + 8]
        torch.testing.assert_close(sample["lr"], torch.rot90(crop, turns, (1, 2)), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            sample["hr"], to_tensor(np.rot90(ramp(60, 82)[top : top + 32, left : left + 32], turns).copy())
        )


def test_paired_crops_reach_every_lr_position(frames):
    dataset = PairedTraining(frames, 4, 52, NOISELESS, cache=True)
    positions = {whereabouts(dataset[number]["hr"])[1:] for number in range(200)}
    assert positions == {(top, left) for top in range(0, 9, 4) for left in range(0, 29, 4)}


def test_paired_crop_of_small_frames_stays_on_its_hr_crop(small_frames):
    dataset = PairedTraining(small_frames, 4, 32, NOISELESS, augment=quarter_turns())
    turns = set()
    for number in range(24):
        sample = dataset[number]
        turn, top, left = whereabouts(sample["hr"])
        every_fourth = ramp(62, 83)[top : top + 32 : 4, left : left + 32 : 4]
        torch.testing.assert_close(sample["lr"], to_tensor(np.rot90(every_fourth, turn).copy()))
        turns.add(turn)
    assert turns == {0, 1, 2, 3}


def test_paired_second_crop_is_cut_from_the_same_turned_degraded_frame(small_frames):
    dataset = PairedTraining(small_frames, 4, 32, NOISELESS, augment=quarter_turns(), second_crop=True)
    places = set()
    for number in range(60):
        sample = dataset[number]
        turn, top, left = whereabouts(sample["lr_key"])
        assert turn == whereabouts(sample["lr"])[0]
        every_fourth = ramp(62, 83)[top : top + 32 : 4, left : left + 32 : 4]
        torch.testing.assert_close(sample["lr_key"], to_tensor(np.rot90(every_fourth, turn).copy()))
        places.add((whereabouts(sample["lr"])[1:], (top, left)))
    assert len(places) > 50


def test_paired_second_crop_of_large_frames_is_downsampled_as_the_first_with_noise_of_its_level(tmp_path):
    """A pair with one place for a crop: without noise both crops are the same."""
    sharp, blur = (write(tmp_path / f"{kind}.png", ramp(32, 32)) for kind in ("sharp", "blur"))
    clean, noisy = (
        PairedTraining([Pair("0", sharp, blur, at_lr_size=False)], 4, 32, levels, second_crop=True)
        for levels in (NOISELESS, (2.0, 9.0))
    )
    for number in range(6):
        before, after = clean[number], noisy[number]
        assert torch.equal(before["lr"], before["lr_key"])
        noise = (after["lr_key"] - before["lr_key"]) * 255  # of 192 values: their deviation is known to 5 %
        assert noise.std().item() == pytest.approx(after["noise_level"], rel=0.2)
        assert not torch.equal(after["lr"], after["lr_key"])


def test_noise_of_paired_crops_has_the_level_that_the_sample_states(frames):
    clean, noisy = (PairedTraining(frames, 4, 48, levels, 1, quarter_turns()) for levels in (NOISELESS, (5.0, 15.0)))
    stated = []
    for number in range(40):
        before, after = clean[number], noisy[number]
        stated.append(after["noise_level"])
        noise = (after["lr"] - before["lr"]) * 255  # of 432 values: their deviation is known to 3.5 %
        assert noise.std().item() == pytest.approx(stated[-1], rel=0.15)
    assert 5 <= min(stated) < 6.5 and 13.5 < max(stated) <= 15
    assert np.mean(stated) == pytest.approx(10, abs=1.5)


def test_noise_of_evaluation_frames_depends_on_seed_and_number(frames):
    def noise(number, seed):
        return PairedEvaluation(frames, 4, 10.0, seed)[number]["lr"] - PairedEvaluation(frames, 4, 0.0)[number]["lr"]

    patterns = [noise(number, seed) for number in (0, 1) for seed in (0, 1)]
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in combinations(patterns, 2))
    assert all(pattern.std().item() * 255 == pytest.approx(10, rel=0.1) for pattern in patterns)


def test_paired_evaluation_gives_whole_frames(frames, small_frames):
    large, small = PairedEvaluation(frames, 4, 0.0)[0], PairedEvaluation(small_frames, 4, 0.0)[0]
    torch.testing.assert_close(large["lr"], downsample(large["hr"], 4))
    torch.testing.assert_close(large["hr"], to_tensor(ramp(60, 82)[:, :80]))
    torch.testing.assert_close(small["lr"], small["hr"][:, ::4, ::4])


def test_frames_of_a_sequence_are_a_group_and_a_pair_by_itself_is_its_own(frames):
    clip = [pair._replace(sequence="clip") for pair in frames]
    assert [[sample["group"] for sample in PairedEvaluation(pairs, 4, 0.0)] for pairs in (frames, clip)] == [
        ["0", "1"],
        ["clip", "clip"],
    ]


@pytest.mark.parametrize("dataset", [lambda p: PairedTraining(p, 4, 32), lambda p: PairedEvaluation(p, 4, 0.0)])
def test_frames_whose_sizes_do_not_fit_the_scale_are_named(frames, small_frames, dataset):
    mislabelled = frames[0]._replace(at_lr_size=True)
    with pytest.raises(InputError, match=r"blur.png is 82x60; with .*sharp.png at 82x60 and scale 4 .* be 20x15"):
        dataset([mislabelled])[0]
    with pytest.raises(InputError, match=r"lr.png is 20x15; with .*sharp.png at 83x62 and scale 4 .* be 83x62"):
        dataset([small_frames[0]._replace(at_lr_size=False)])[0]


@pytest.mark.skipif(not (REAL / "gopro").is_dir(), reason="no GoPro frames beside the repository")
def test_real_gopro_frames_make_samples():
    sample = PairedTraining(gopro_pairs(REAL / "gopro", "train"), 4)[0]
    assert (sample["lr"].shape, sample["hr"].shape) == ((3, 64, 64), (3, 256, 256))
    whole = PairedEvaluation(gopro_pairs(REAL / "gopro", "test"), 4, 10.0)[0]
    assert (whole["lr"].shape, whole["hr"].shape) == ((3, 180, 320), (3, 720, 1280))


@pytest.mark.skipif(not (REAL / "reds_small").is_dir(), reason="no REDS frames beside the repository")
def test_real_reds_frames_make_samples():
    sample = PairedTraining(reds_pairs(REAL / "reds_small", "train"), 4, patch_size=128)[0]
    assert (sample["lr"].shape, sample["hr"].shape) == ((3, 32, 32), (3, 128, 128))
    whole = PairedEvaluation(reds_pairs(REAL / "reds_small", "val"), 4, 0.0)[0]
    assert (whole["lr"].shape, whole["hr"].shape) == ((3, 45, 80), (3, 180, 320))
