"""Samples of sharp images that are degraded here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from arcsr_lightning.data import SyntheticEvaluation, SyntheticTraining, read_image
from arcsr_lightning.data.augment import A, Augmentation
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.leaves import dead_leaves
from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.data.synthetic import LEAVES, Undegraded
from arcsr_lightning.degradation import (
    Degradation,
    KernelField,
    MotionField,
    NoBlur,
    apply_blended_kernels,
    code_as_jpeg,
    downsample,
    lr_field,
)
from arcsr_lightning.errors import InputError
from tests.data.samples import NOISELESS, one_by_one, quarter_turns, ramp, same, synthetic, whereabouts, write


class Slanted:
    """One kernel that no turn leaves as it is, 5x5."""

    def __call__(self, rng, height, width):
        kernel = torch.arange(25.0).reshape(1, 5, 5) ** 2
        return KernelField(kernel / kernel.sum(), torch.ones(1, height, width))


def test_synthetic_sample_is_complete(photo_files):
    sample = synthetic(photo_files)[11]
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


def test_paths_may_be_typed(photo_files):
    """A list of them is text."""
    typed = [str(path) for path in photo_files]
    assert synthetic(typed)[3]["name"] == synthetic(photo_files)[3]["name"]
    evaluation = SyntheticEvaluation(typed, Degradation(MotionField(9, 6)), 2, 7, 0)
    assert [evaluation.source(number) for number in range(len(typed))] == list(photo_files)


def test_synthetic_kernels_are_those_of_the_crop(photo_files):
    sample = synthetic(photo_files, noise_level=NOISELESS)[5]
    basis, masks = sample["basis"][None], sample["masks"][None]
    torch.testing.assert_close(sample["kernel"][None], lr_field(basis, masks, 2, 7))
    blurred = apply_blended_kernels(sample["hr"][None], basis, masks)
    inner = (..., slice(4, -4), slice(4, -4))  # where no kernel reaches beyond the crop
    torch.testing.assert_close(sample["lr"][None][inner], downsample(blurred, 2)[inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_synthetic_crop_is_degraded_as_part_of_its_image(tmp_path, scale):
    image = ramp(180, 200)
    degradation = Degradation(Slanted())
    dataset = SyntheticTraining(
        [write(tmp_path / "x.png", image)], degradation, scale, 5, 24, NOISELESS, 0, quarter_turns()
    )
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
    photo = write(tmp_path / "x.png", image)
    dataset = SyntheticTraining([photo], Degradation(Slanted()), 2, 5, 24, NOISELESS, 0, quarter_turns())
    sample = dataset[0]
    repeated = np.pad(np.rot90(image, whereabouts(sample["hr"])[0]), ((20, 20), (20, 20), (0, 0)), mode="edge")
    whole = Degradation(Slanted())(to_tensor(repeated), 2, 0.0, np.random.default_rng(0)).lr
    torch.testing.assert_close(sample["lr"], whole[:, 10:-10, 10:-10], atol=1e-5, rtol=0)


def test_every_position_and_turn_occurs(tmp_path):
    photo = write(tmp_path / "x.png", ramp(18, 17))
    dataset = SyntheticTraining(
        [photo], Degradation(NoBlur()), 4, 1, 16, NOISELESS, augment=quarter_turns(), cache=True
    )
    seen = {whereabouts(dataset[number]["hr"]) for number in range(150)}
    assert seen == {(turns, top, left) for turns in range(4) for top in range(3) for left in range(2)}


def test_noise_has_the_level_that_the_sample_states(tmp_path):
    grey = write(tmp_path / "grey.png", np.full((128, 128, 3), 128, np.uint8))
    dataset = SyntheticTraining([grey], Degradation(NoBlur()), 2, 1, 128, (5.0, 15.0), 0)
    levels = []
    for number in range(6):
        sample = dataset[number]
        levels.append(sample["noise_level"])
        assert (sample["lr"].std() * 255).item() == pytest.approx(levels[-1], rel=0.05)
    assert 5 <= min(levels) < max(levels) <= 15


@pytest.mark.parametrize("second_crop", [False, True])
@pytest.mark.parametrize("settings", [{}, {"round_8bit": True}, {"jpeg": (30, 95)}], ids=["float", "8 bits", "jpeg"])
def test_a_batch_degraded_at_once_holds_the_samples_degraded_one_by_one(photo_files, settings, second_crop):
    dataset = synthetic(photo_files, degradation=Degradation(MotionField(9, 6), **settings), second_crop=second_crop)
    expected = default_collate([dataset[number] for number in range(5)])
    drawn = default_collate([Undegraded(dataset)[number] for number in range(5)])
    assert not {"lr", "hr", "kernel"} & drawn.keys()
    batch = dataset.degrade(drawn)
    assert batch.pop("name") == expected.pop("name")
    torch.testing.assert_close(batch, expected, atol=1e-5 if "jpeg" in settings else 1e-6, rtol=0)


def test_what_is_drawn_for_a_sample_is_drawn_in_the_order_of_eq_1(photo_files):
    """Image, turn and place, noise level, blur, noise: a sample is that of ``Degradation``, bit for bit."""
    degradation = Degradation(MotionField(9, 6))
    dataset = synthetic(photo_files, degradation=degradation)
    for number in range(4):
        sample = dataset[number]
        rng = sample_generator(3, "train", number)
        rng.random()  # leaves or a photograph
        image = to_tensor(read_image(photo_files[rng.integers(3)]))
        rng.integers(2**31)  # the augmentation, which the crop tells
        top, left = (int(rng.integers(side - 31)) for side in image.shape[1:])
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
    settings = {"augment": quarter_turns(), "second_crop": True}
    dataset = SyntheticTraining([photo], Degradation(NoBlur()), 1, 1, 16, NOISELESS, **settings)
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


def test_hr_is_augmented_before_it_is_degraded(tmp_path):
    """A photograph with one place for a crop: what happens to HR shows in LR."""
    photo = write(tmp_path / "x.png", ramp(16, 16))
    options = {"degradation": Degradation(NoBlur()), "scale": 4, "kernel_size": 1, "patch_size": 16}
    settings = {"noise_level": NOISELESS, "second_crop": True}
    inverted = Augmentation({"invert": A.InvertImg(p=1)})
    plain = SyntheticTraining([photo], **options, **settings)[3]
    negative = SyntheticTraining([photo], **options, **settings, augment=inverted)[3]
    for name in ("lr", "hr", "lr_key"):
        torch.testing.assert_close(negative[name], 1 - plain[name], atol=1e-5, rtol=0)


def test_jpeg_changes_nothing_but_the_lr_images(photo_files):
    """A sample's quality has a generator of its own."""

    def samples(jpeg):
        degradation = Degradation(MotionField(9, 6), jpeg=jpeg)
        images = [SyntheticEvaluation(photo_files, degradation, 4, 5, noise_level)[1] for noise_level in (0.0, 10.0)]
        return [synthetic(photo_files, degradation=degradation, second_crop=True)[7], *images]

    for plain, coded in zip(samples(None), samples((30, 95)), strict=True):
        assert 30 <= coded.pop("jpeg_quality") <= 95
        for name in {"lr", "lr_key"} & plain.keys():
            assert not torch.equal(plain.pop(name), coded.pop(name))
        assert same(plain, coded)


def test_blocks_of_jpeg_begin_where_the_image_does_in_training_as_in_evaluation(photo_files):
    """That is: the LR image is coded as it is without JPEG, whatever lay around it when it was blurred."""
    plain, coded = (
        [
            synthetic(photo_files, degradation=degradation)[3],
            SyntheticEvaluation(photo_files, degradation, 4, 5, 2.0)[1],
        ]
        for degradation in (Degradation(MotionField(9, 6)), Degradation(MotionField(9, 6), jpeg=(20, 20)))
    )
    for before, after in zip(plain, coded, strict=True):
        expected = code_as_jpeg(before["lr"][None], after["jpeg_quality"][None])[0]
        torch.testing.assert_close(after["lr"], expected)


def test_the_quality_of_an_evaluation_image_does_not_depend_on_its_noise(photo_files):
    degradation = Degradation(MotionField(9, 6), jpeg=(30, 95))
    qualities = [
        [float(sample["jpeg_quality"]) for sample in SyntheticEvaluation(photo_files, degradation, 4, 5, noise_level)]
        for noise_level in (0.0, 10.0)
    ]
    assert qualities[0] == qualities[1]
    assert len(set(qualities[0])) == 3
    assert all(30 <= quality <= 95 for quality in qualities[0])


@pytest.mark.parametrize("draws", [1, 2])
def test_synthetic_evaluation_gives_whole_images_with_their_kernels(photo_files, draws):
    dataset = SyntheticEvaluation(photo_files, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws)
    names = [sample["name"] for sample in dataset]
    assert names == (["a", "b", "c"] if draws == 1 else ["a_0", "a_1", "b_0", "b_1", "c_0", "c_1"])
    assert [sample["group"] for sample in dataset] == [name for name in "abc" for _ in range(draws)]
    sample = dataset[1 * draws]
    torch.testing.assert_close(sample["hr"], to_tensor(read_image(photo_files[1])[:44, :40]))
    assert sample["lr"].shape == (3, 11, 10)
    assert sample["kernel"].shape == (25, 11, 10)
    blurred = apply_blended_kernels(sample["hr"][None], sample["basis"][None], sample["masks"][None])
    torch.testing.assert_close(sample["lr"], downsample(blurred, 4)[0])
    torch.testing.assert_close(sample["kernel"][None], lr_field(sample["basis"][None], sample["masks"][None], 4, 5))


def test_draws_of_one_photograph_have_different_fields(photo_files):
    dataset = SyntheticEvaluation(photo_files, Degradation(MotionField(9, 6)), 4, 5, 0.0, draws=2)
    assert torch.equal(dataset[0]["hr"], dataset[1]["hr"])
    assert not torch.equal(dataset[0]["basis"], dataset[1]["basis"])


def test_an_evaluation_is_the_same_in_any_order_and_worker(photo_files):
    def dataset(seed=0):
        return SyntheticEvaluation(photo_files, Degradation(MotionField(9, 6)), 4, 5, 10.0, draws=2, seed=seed)

    expected = list(dataset())
    loaded = DataLoader(dataset(), 1, sampler=[5, 0, 3], num_workers=2, collate_fn=one_by_one)
    assert all(same(sample, expected[number]) for sample, number in zip(loaded, [5, 0, 3], strict=True))
    assert not torch.equal(dataset(seed=1)[0]["lr"], expected[0]["lr"])


def test_images_of_one_name_in_different_folders_are_told_apart(tmp_path):
    paths = [write(tmp_path / f"{folder}/x.png", ramp(8, 8)) for folder in ("a", "b")]
    dataset = SyntheticEvaluation(paths, Degradation(NoBlur()), 2, 1, 0.0)
    assert [sample["name"] for sample in dataset] == ["a_x", "b_x"]


@pytest.mark.parametrize("names", [("a/x.png", "a/x.tif"), ("a/x.png", "a_x.png")])
def test_two_images_that_would_have_one_name_are_named(tmp_path, names):
    paths = [write(tmp_path / name, ramp(8, 8)) for name in (*names, "y.png")]
    with pytest.raises(InputError, match=r"x.png and .* would both be called a?_?x in tables; rename one of them"):
        SyntheticEvaluation(paths, Degradation(NoBlur()), 2, 1, 0.0)


def test_a_kernel_size_too_small_for_the_blur_is_refused_before_any_image_is_read():
    degradation = Degradation(MotionField(25))
    with pytest.raises(InputError, match=r"kernel_size 5 .* at least 7"):
        SyntheticTraining([Path("a.png")], degradation, 4, 5)
    with pytest.raises(InputError, match=r"kernel_size 5 .* at least 7"):
        SyntheticEvaluation([Path("a.png")], degradation, 4, 5, 0.0)


def test_a_share_of_the_samples_is_made_from_leaves(photo_files):
    dataset = synthetic(photo_files, leaves=0.3)
    sources = [dataset.source(number) for number in range(300)]
    assert np.mean([source == LEAVES for source in sources]) == pytest.approx(0.3, abs=0.08)
    assert set(sources) == {LEAVES, *photo_files}
    number = sources.index(LEAVES)
    assert dataset[number]["name"] == "leaves"
    assert same(synthetic(photo_files, leaves=0.3)[number], dataset[number])


def test_a_sample_of_leaves_is_a_crop_of_their_picture():
    dataset = synthetic([], leaves=1.0, second_crop=True)
    for number in range(4):
        sample = dataset[number]
        rng = sample_generator(3, "train", number)
        rng.random(), rng.integers(2**31)
        picture = to_tensor(dead_leaves(rng, 48, 48))[:, 8:-8, 8:-8]
        assert any(torch.equal(picture.rot90(turns, (1, 2)), sample["hr"]) for turns in range(4))
        assert not torch.equal(sample["lr"], sample["lr_key"])
    assert not torch.equal(dataset[0]["hr"], dataset[1]["hr"])


@pytest.mark.parametrize("leaves", [-0.1, 0.5, 2.0])
def test_a_share_of_leaves_that_cannot_be_is_refused(leaves):
    with pytest.raises(InputError, match=r"data\.train\.leaves must be a share in \[0, 1\], and 1 where there are no"):
        synthetic([], leaves=leaves)
