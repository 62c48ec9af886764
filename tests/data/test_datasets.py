import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from arcsr_lightning.data import (
    Pair,
    PairedEvaluation,
    PairedTraining,
    SyntheticEvaluation,
    SyntheticTraining,
    gopro_pairs,
    read_image,
    reds_pairs,
)
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.degradation import (
    Degradation,
    KernelField,
    MotionField,
    NoBlur,
    apply_blended_kernels,
    downsample,
    lr_field,
)
from arcsr_lightning.errors import InputError

REAL = Path(__file__).parents[2] / "../shared/data"
NOISELESS = (0.0, 0.0)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def ramp(height, width):
    """Red tells the row, green the column, blue is texture: every crop shows where it is from and how it was turned."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    texture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return np.stack([rows, columns, texture], -1)


def whereabouts(hr):
    """(quarter turns, top, left in the turned image's original) of a crop of ``ramp``."""
    pixels = (hr * 255).round().int().numpy().transpose(1, 2, 0)
    for turns in range(4):
        upright = np.rot90(pixels, -turns)
        if upright[1, 0, 0] > upright[0, 0, 0] and upright[0, 1, 1] > upright[0, 0, 1]:
            return turns, int(upright[0, 0, 0]), int(upright[0, 0, 1])
    raise AssertionError("not a crop of the ramp")


def same(sample, other):
    return sample.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in sample.items()
    )


def one_by_one(samples):
    return samples[0]


class Slanted:
    """One kernel that no turn leaves as it is, 5x5."""

    def __call__(self, rng, height, width):
        kernel = torch.arange(25.0).reshape(1, 5, 5) ** 2
        return KernelField(kernel / kernel.sum(), torch.ones(1, height, width))


@pytest.fixture
def photos(tmp_path):
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


def synthetic(photos, **settings):
    options = {"degradation": Degradation(MotionField(9, 6)), "scale": 2, "kernel_size": 7, "patch_size": 32, "seed": 3}
    return SyntheticTraining(photos, **(options | settings))


def test_synthetic_sample_is_complete(photos):
    sample = synthetic(photos)[11]
    shapes = {key: tuple(value.shape) for key, value in sample.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "lr": (3, 16, 16),
        "hr": (3, 32, 32),
        "kernel": (49, 16, 16),
        "basis": (6, 9, 9),
        "masks": (6, 32, 32),
    }
    assert all(sample[key].dtype == torch.float32 for key in shapes)
    assert sample["name"] in "abc"
    assert sample["number"] == 11
    assert 0.2 <= sample["noise_level"] <= 20


def test_synthetic_kernels_are_those_of_the_crop(photos):
    sample = synthetic(photos, noise_level=NOISELESS)[5]
    basis, masks = sample["basis"][None], sample["masks"][None]
    torch.testing.assert_close(sample["kernel"][None], lr_field(basis, masks, 2, 7))
    blurred = apply_blended_kernels(sample["hr"][None], basis, masks)
    inner = (..., slice(4, -4), slice(4, -4))  # where no kernel reaches beyond the crop
    torch.testing.assert_close(sample["lr"][None][inner], downsample(blurred, 2)[inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_synthetic_crop_is_degraded_as_part_of_its_image(tmp_path, scale):
    image = ramp(180, 200)
    degradation = Degradation(Slanted())
    dataset = SyntheticTraining([write(tmp_path / "x.png", image)], degradation, scale, 5, 24, NOISELESS, 0)
    inside = 0
    for number in range(8):
        sample = dataset[number]
        turns, top, left = whereabouts(sample["hr"])
        if min(top, left, 180 - top - 24, 200 - left - 24) < 12:
            continue  # blurred with repeated edge pixels, see the next test
        around = image[top - 12 : top + 36, left - 12 : left + 36]  # a multiple of every scale around the crop
        whole = degradation(to_tensor(np.rot90(around, turns).copy()), scale, 0.0, np.random.default_rng(0)).lr
        cut = slice(12 // scale, -(12 // scale))
        torch.testing.assert_close(sample["lr"], whole[:, cut, cut], atol=1e-5, rtol=0)
        inside += 1
    assert inside > 2


def test_synthetic_crop_of_a_whole_image_sees_its_edges_repeated(tmp_path):
    image = ramp(24, 24)
    dataset = SyntheticTraining([write(tmp_path / "x.png", image)], Degradation(Slanted()), 2, 5, 24, NOISELESS, 0)
    sample = dataset[0]
    repeated = np.pad(np.rot90(image, whereabouts(sample["hr"])[0]), ((20, 20), (20, 20), (0, 0)), mode="edge")
    whole = Degradation(Slanted())(to_tensor(repeated), 2, 0.0, np.random.default_rng(0)).lr
    torch.testing.assert_close(sample["lr"], whole[:, 10:-10, 10:-10], atol=1e-5, rtol=0)


def test_every_position_and_turn_occurs(tmp_path):
    photo = write(tmp_path / "x.png", ramp(18, 17))
    dataset = SyntheticTraining([photo], Degradation(NoBlur()), 4, 1, 16, NOISELESS, cache=True)
    seen = {whereabouts(dataset[number]["hr"]) for number in range(150)}
    assert seen == {(turns, top, left) for turns in range(4) for top in range(3) for left in range(2)}


@pytest.mark.parametrize("turns", range(4))
def test_paired_crop_of_large_frames_is_the_crop_of_the_downsampled_frame(frames, turns):
    dataset = PairedTraining(frames, 4, 32, NOISELESS, seed=2)
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
    dataset = PairedTraining(small_frames, 4, 32, NOISELESS)
    turns = set()
    for number in range(24):
        sample = dataset[number]
        turn, top, left = whereabouts(sample["hr"])
        every_fourth = ramp(62, 83)[top : top + 32 : 4, left : left + 32 : 4]
        torch.testing.assert_close(sample["lr"], to_tensor(np.rot90(every_fourth, turn).copy()))
        turns.add(turn)
    assert turns == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", ["synthetic", "paired"])
def test_a_training_sample_depends_on_seed_and_number_alone(photos, frames, kind):
    def dataset(seed, cache=False):
        if kind == "synthetic":
            return synthetic(photos, seed=seed, cache=cache)
        return PairedTraining(frames, 4, 32, seed=seed, cache=cache)

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
def test_the_source_of_a_sample_is_the_image_it_is_made_from(photos, frames, kind, monkeypatch):
    dataset = {
        "synthetic": lambda: synthetic(photos),
        "paired": lambda: PairedTraining(frames, 4, 32),
        "synthetic evaluation": lambda: SyntheticEvaluation(photos, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws=2),
        "paired evaluation": lambda: PairedEvaluation(frames, 4, 0.0),
    }[kind]()
    opened, read = [], dataset.read
    monkeypatch.setattr(dataset, "read", lambda path: opened.append(path) or read(path))
    for number in range(1 if kind == "paired evaluation" else 6):
        opened.clear()
        dataset[number]
        assert dataset.source(number) == opened[0]


def test_noise_has_the_level_that_the_sample_states(tmp_path):
    grey = write(tmp_path / "grey.png", np.full((128, 128, 3), 128, np.uint8))
    dataset = SyntheticTraining([grey], Degradation(NoBlur()), 2, 1, 128, (5.0, 15.0), 0)
    levels = []
    for number in range(6):
        sample = dataset[number]
        levels.append(sample["noise_level"])
        assert (sample["lr"].std() * 255).item() == pytest.approx(levels[-1], rel=0.05)
    assert 5 <= min(levels) < max(levels) <= 15


@pytest.mark.parametrize("kind", ["synthetic", "paired", "small"])
def test_a_second_crop_changes_nothing_else(photos, frames, small_frames, kind):
    def dataset(second_crop):
        if kind == "synthetic":
            return synthetic(photos, second_crop=second_crop)
        return PairedTraining(frames if kind == "paired" else small_frames, 4, 32, second_crop=second_crop)

    for number in range(6):
        alone, both = dataset(False)[number], dataset(True)[number]
        assert same(both, dataset(True)[number])
        key = both.pop("lr_key")
        assert same(alone, both)
        assert key.shape == both["lr"].shape and key.dtype == torch.float32
        assert not torch.equal(key, both["lr"])


@pytest.mark.parametrize("second_crop", [False, True])
@pytest.mark.parametrize("round_8bit", [False, True])
def test_a_batch_degraded_at_once_holds_the_samples_degraded_one_by_one(photos, round_8bit, second_crop):
    settings = {"degradation": Degradation(MotionField(9, 6), round_8bit), "second_crop": second_crop}
    alone, late = synthetic(photos, **settings), synthetic(photos, **settings, degrade_on="device")
    expected = default_collate([alone[number] for number in range(5)])
    drawn = default_collate([late[number] for number in range(5)])
    assert not {"lr", "hr", "kernel"} & drawn.keys()
    batch = late.degrade(drawn)
    assert batch.pop("name") == expected.pop("name")
    torch.testing.assert_close(batch, expected, atol=1e-6, rtol=0)


def test_what_is_drawn_for_a_sample_is_drawn_in_the_order_of_eq_1(photos):
    """Place and turn, noise level, blur, noise: a sample is that of ``Degradation``, bit for bit."""
    degradation = Degradation(MotionField(9, 6))
    dataset = synthetic(photos, degradation=degradation)
    for number in range(4):
        sample = dataset[number]
        rng = np.random.default_rng([3, number])
        image = to_tensor(read_image(photos[rng.integers(3)]))
        top, left = (int(rng.integers(side - 31)) for side in image.shape[1:])
        rng.integers(2**31)  # the turn, which the crop tells
        noise_level = float(rng.uniform(0.2, 20))
        around = torch.nn.functional.pad(image, [8] * 4, mode="replicate")[:, top : top + 48, left : left + 48]
        windows = [torch.rot90(around, turns, (1, 2)).contiguous() for turns in range(4)]
        (window,) = (window for window in windows if torch.equal(window[:, 8:-8, 8:-8], sample["hr"]))
        lr, field, _ = degradation(window, 2, noise_level, rng)
        assert sample["noise_level"] == noise_level
        assert torch.equal(sample["lr"], lr[:, 4:-4, 4:-4])
        assert torch.equal(sample["basis"], field.kernels)
        assert torch.equal(sample["masks"], field.masks[:, 8:-8, 8:-8])


def test_synthetic_second_crop_is_at_a_place_of_its_own_in_the_same_turned_photograph(tmp_path):
    photo = write(tmp_path / "x.png", ramp(20, 19))
    dataset = SyntheticTraining([photo], Degradation(NoBlur()), 1, 1, 16, NOISELESS, second_crop=True)
    pairs = [
        (whereabouts(sample["lr"]), whereabouts(sample["lr_key"])) for sample in map(dataset.__getitem__, range(150))
    ]
    assert all(own[0] == key[0] for own, key in pairs)
    assert {key[1:] for _, key in pairs} == {(top, left) for top in range(5) for left in range(4)}
    assert sum(own != key for own, key in pairs) > 120


@pytest.mark.parametrize("round_8bit", [False, True])
def test_synthetic_second_crop_has_the_blur_and_noise_level_of_the_first(tmp_path, round_8bit):
    """A photograph with one place for a crop: without noise both crops are the same."""
    photo = write(tmp_path / "x.png", ramp(32, 32))
    degradation = Degradation(MotionField(9, 6), round_8bit)
    clean = SyntheticTraining([photo], degradation, 2, 7, 32, NOISELESS, second_crop=True)
    noisy = SyntheticTraining([photo], degradation, 2, 7, 32, (2.0, 9.0), second_crop=True)
    for number in range(4):
        before, after = clean[number], noisy[number]
        assert torch.equal(before["lr"], before["lr_key"])
        if round_8bit:
            assert torch.equal(after["lr_key"] * 255, (after["lr_key"] * 255).round())
        else:
            noise = [(after[key] - before[key]) * 255 for key in ("lr", "lr_key")]
            assert [n.std().item() for n in noise] == pytest.approx([after["noise_level"]] * 2, rel=0.1)
            assert abs((noise[0] * noise[1]).mean()) < 0.15 * after["noise_level"] ** 2  # drawn anew


def test_paired_second_crop_is_cut_from_the_same_turned_degraded_frame(small_frames):
    dataset = PairedTraining(small_frames, 4, 32, NOISELESS, second_crop=True)
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


@pytest.mark.parametrize("draws", [1, 2])
def test_synthetic_evaluation_gives_whole_images_with_their_kernels(photos, draws):
    dataset = SyntheticEvaluation(photos, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws)
    names = [sample["name"] for sample in dataset]
    assert names == (["a", "b", "c"] if draws == 1 else ["a_0", "a_1", "b_0", "b_1", "c_0", "c_1"])
    sample = dataset[1 * draws]
    torch.testing.assert_close(sample["hr"], to_tensor(read_image(photos[1])[:44, :40]))
    assert sample["lr"].shape == (3, 11, 10)
    assert sample["kernel"].shape == (25, 11, 10)
    blurred = apply_blended_kernels(sample["hr"][None], sample["basis"][None], sample["masks"][None])
    torch.testing.assert_close(sample["lr"], downsample(blurred, 4)[0])


def test_draws_of_one_photograph_have_different_fields(photos):
    dataset = SyntheticEvaluation(photos, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws=2)
    assert torch.equal(dataset[0]["hr"], dataset[1]["hr"])
    assert not torch.equal(dataset[0]["basis"], dataset[1]["basis"])


@pytest.mark.parametrize("kind", ["synthetic", "paired", "small"])
def test_noise_levels_of_an_evaluation_differ_in_nothing_but_the_strength_of_the_noise(
    photos, frames, small_frames, kind
):
    def samples(noise_level):
        if kind == "synthetic":
            return list(SyntheticEvaluation(photos, Degradation(MotionField(9, 6)), 4, 5, noise_level))
        return list(PairedEvaluation(frames if kind == "paired" else small_frames, 4, noise_level))

    for clean, weak, strong in zip(samples(0), samples(5), samples(10), strict=True):
        assert [s["noise_level"] for s in (clean, weak, strong)] == [0.0, 5.0, 10.0]
        torch.testing.assert_close(strong["lr"] - clean["lr"], 2 * (weak["lr"] - clean["lr"]), atol=1e-6, rtol=0)
        assert (strong["lr"] - clean["lr"]).abs().max() > 0
        assert torch.equal(clean["hr"], strong["hr"])
        assert all(torch.equal(clean[key], strong[key]) for key in ("basis", "masks", "kernel") if key in clean)


def test_an_evaluation_is_the_same_in_any_order_and_worker(photos):
    def dataset(seed=0):
        return SyntheticEvaluation(photos, Degradation(MotionField(9, 6)), 4, 5, 10.0, draws=2, seed=seed)

    expected = list(dataset())
    loaded = DataLoader(dataset(), 1, sampler=[5, 0, 3], num_workers=2, collate_fn=one_by_one)
    assert all(same(sample, expected[number]) for sample, number in zip(loaded, [5, 0, 3], strict=True))
    assert not torch.equal(dataset(seed=1)[0]["lr"], expected[0]["lr"])


def test_paired_evaluation_gives_whole_frames(frames, small_frames):
    large, small = PairedEvaluation(frames, 4, 0.0)[0], PairedEvaluation(small_frames, 4, 0.0)[0]
    torch.testing.assert_close(large["lr"], downsample(large["hr"], 4))
    torch.testing.assert_close(large["hr"], to_tensor(ramp(60, 82)[:, :80]))
    torch.testing.assert_close(small["lr"], small["hr"][:, ::4, ::4])


def test_images_of_one_name_in_different_folders_are_told_apart(tmp_path):
    paths = [write(tmp_path / f"{folder}/x.png", ramp(8, 8)) for folder in ("a", "b")]
    dataset = SyntheticEvaluation(paths, Degradation(NoBlur()), 2, 1, 0.0)
    assert [sample["name"] for sample in dataset] == ["a_x", "b_x"]


def test_an_image_smaller_than_the_crop_is_named(photos, frames):
    with pytest.raises(
        InputError, match=r"[abc].png is \d+x\d+, smaller than the crop of 66x66.*data.train.patch_size"
    ):
        synthetic(photos, patch_size=66)[0]
    with pytest.raises(InputError, match=r"sharp.png is 82x60, smaller than the crop of 64x64"):
        PairedTraining(frames, 4, 64)[0]
    with pytest.raises(InputError, match=r"a.png is 52x40; scale 64 needs at least 64x64"):
        SyntheticEvaluation(photos, Degradation(NoBlur()), 64, 1, 0.0)[0]


@pytest.mark.parametrize("dataset", [lambda p: PairedTraining(p, 4, 32), lambda p: PairedEvaluation(p, 4, 0.0)])
def test_frames_whose_sizes_do_not_fit_the_scale_are_named(frames, small_frames, dataset):
    mislabelled = frames[0]._replace(at_lr_size=True)
    with pytest.raises(InputError, match=r"blur.png is 82x60; with .*sharp.png at 82x60 and scale 4 .* be 20x15"):
        dataset([mislabelled])[0]
    with pytest.raises(InputError, match=r"lr.png is 20x15; with .*sharp.png at 83x62 and scale 4 .* be 83x62"):
        dataset([small_frames[0]._replace(at_lr_size=False)])[0]


def test_a_truncated_image_is_named(photos, frames):
    frames[0].degraded.write_bytes(frames[0].degraded.read_bytes()[:200])
    with pytest.raises(InputError, match=r"blur.png"):
        PairedTraining(frames[:1], 4, 32)[0]
    photos[0].write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(InputError, match=r"a.png"):
        SyntheticEvaluation(photos, Degradation(NoBlur()), 2, 1, 0.0)[0]


@pytest.mark.parametrize("patch_size", [0, 33])
def test_a_patch_size_that_the_scale_does_not_divide_is_refused(photos, frames, patch_size):
    with pytest.raises(InputError, match=f"data.train.patch_size .* got {patch_size}"):
        synthetic(photos, patch_size=patch_size)
    with pytest.raises(InputError, match=f"data.train.patch_size .* got {patch_size}"):
        PairedTraining(frames, 4, patch_size)


def test_a_place_to_degrade_on_that_is_none_is_refused(photos):
    with pytest.raises(InputError, match=r"data.train.degrade_on must be worker or device, got gpu"):
        synthetic(photos, degrade_on="gpu")


@pytest.mark.parametrize("noise_level", [(20, 0.2), (-1, 5), (5,)])
def test_a_noise_range_that_is_none_is_refused(photos, frames, noise_level):
    with pytest.raises(InputError, match=r"data.train.noise_level must be \(lowest, highest\)"):
        synthetic(photos, noise_level=noise_level)
    with pytest.raises(InputError, match=r"data.train.noise_level must be \(lowest, highest\)"):
        PairedTraining(frames, 4, 32, noise_level)


def test_a_kernel_size_too_small_for_the_blur_is_refused_before_any_image_is_read():
    degradation = Degradation(MotionField(25))
    with pytest.raises(InputError, match=r"kernel_size 5 .* at least 7"):
        SyntheticTraining([Path("a.png")], degradation, 4, 5)
    with pytest.raises(InputError, match=r"kernel_size 5 .* at least 7"):
        SyntheticEvaluation([Path("a.png")], degradation, 4, 5, 0.0)


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
