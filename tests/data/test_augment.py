"""Augmentation: the same change of every image of a sample, and of its kernels."""

import albumentations
import numpy as np
import pytest
import torch

from arcsr_lightning import CONF_DIR, compose
from arcsr_lightning.data import Pair, PairedTraining
from arcsr_lightning.data.augment import A, Augmentation
from arcsr_lightning.degradation import SYMMETRIES, apply_kernel_field, turn
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import instantiate
from tests.data.samples import NOISELESS, ramp, same, write


def configured(option):
    return instantiate(compose(["data=sample", f"data/augment={option}"]).data.augment)


def seen_turns(augmentation, count=100):
    """Which symmetries an augmentation makes of an image, by their place among the eight."""
    image = torch.rand(3, 6, 6)
    turned = [turn(image, symmetry) for symmetry in SYMMETRIES]
    made = [augmentation(seed, image).hr for seed in range(count)]
    return {next(i for i, other in enumerate(turned) if torch.equal(other, image)) for image in made}


def test_the_paper_turns_and_the_square_mirrors_too():
    assert seen_turns(configured("paper")) == {i for i, symmetry in enumerate(SYMMETRIES) if not symmetry.mirrored}
    assert seen_turns(configured("square")) == set(range(8))
    assert configured("none") is None


@pytest.mark.parametrize("option", ["paper", "square", "colour"])
def test_an_augmentation_depends_on_its_seed_alone(option):
    parts = [torch.rand(*shape) for shape in ((3, 8, 8), (3, 4, 4), (9, 4, 4), (1, 4, 4))]
    first, again = configured(option), configured(option)
    for seed in range(20):
        expected = first(seed, *parts)
        torch.manual_seed(0)
        again(seed + 1, parts[0])
        for one, other in zip(again(seed, *parts), expected, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(again(seed, parts[0]).hr, expected.hr)  # whatever else comes with it


def test_a_view_is_turned_by_any_angle_and_shrunk():
    """The slope of a ramp says both, in the middle, which the crop's mirror image does not reach."""
    view = configured("views").pipeline.transforms[1]
    view = Augmentation({"view": type(view)(**view.get_transform_init_args() | {"p": 1})})
    ramp = (0.3 + 0.01 * torch.arange(32.0)).expand(3, 32, 32).contiguous()
    angles, sizes = [], []
    for seed in range(200):
        middle = view(seed, ramp).hr[0, 14:18, 14:18]
        slope = complex(middle.diff(dim=1).mean(), middle.diff(dim=0).mean()) / 0.01
        angles.append(np.degrees(np.angle(slope)))
        sizes.append(1 / abs(slope))
    assert -46 < min(angles) < -40 and 40 < max(angles) < 46
    assert 0.58 < min(sizes) < 0.65 and 1.05 < max(sizes) < 1.12


def test_a_view_of_black_and_white_is_no_darker_and_no_brighter():
    """Bicubic interpolation goes beyond both."""
    views, noise = configured("views"), (torch.rand(3, 32, 32) > 0.5).float()
    pixels = torch.stack([views(seed, noise).hr for seed in range(20)])
    assert (pixels.min(), pixels.max()) == (0, 1)


def test_an_lr_image_keeps_what_lies_beyond_black_and_white():
    """Bicubic shrinking goes there, and whole images are scored so."""
    lr = torch.tensor([-0.1, 1.1]).expand(3, 8, 2).contiguous()
    assert torch.equal(configured("square")(0, torch.rand(3, 32, 8), lr).lr.unique(), lr.unique())


@pytest.mark.parametrize("option", ["paper", "square", "colour"])
def test_both_images_of_a_pair_change_alike(option):
    augmentation, lr = configured(option), torch.rand(3, 8, 8)
    changed = 0
    for seed in range(40):
        hr, small, *_ = augmentation(seed, lr.repeat_interleave(4, 1).repeat_interleave(4, 2), lr)
        torch.testing.assert_close(hr, small.repeat_interleave(4, 1).repeat_interleave(4, 2), atol=1e-5, rtol=0)
        changed += not any(torch.equal(small, turn(lr, symmetry)) for symmetry in SYMMETRIES)
    assert changed == 0 if option != "colour" else changed > 10


def test_the_kernels_turn_with_the_images_that_they_blur():
    """Blurring the augmented LR image with the augmented field gives the augmented blurred image."""
    augmentation = Augmentation({"turn": A.SquareSymmetry(p=1)})
    hr, lr, field = torch.rand(3, 12, 12), torch.rand(3, 6, 6), torch.rand(9, 6, 6) / 9
    blurred = apply_kernel_field(lr[None], field[None])[0]
    for seed in range(40):
        _, small, kernel, _ = augmentation(seed, hr, lr, field)
        _, expected, *_ = augmentation(seed, hr, blurred)
        torch.testing.assert_close(apply_kernel_field(small[None], kernel[None])[0], expected)


def test_a_changed_colour_changes_no_kernel():
    field = torch.rand(9, 6, 6)
    hr, _, kernel, _ = Augmentation({"invert": A.InvertImg(p=1)})(0, torch.zeros(3, 6, 6), None, field)
    assert torch.equal(kernel, field) and torch.equal(hr, torch.ones(3, 6, 6))


@pytest.mark.parametrize(
    "transform",
    [
        A.Rotate(p=0.5),
        A.RandomCrop(4, 4),
        A.GaussianBlur(),
        A.GaussNoise(),
        A.CoarseDropout(),
        A.OneOf([A.HorizontalFlip(), A.Affine(translate_percent=0.1)]),
        A.RandomShadow(),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_what_cannot_change_a_pair_alike_is_refused_for_pairs(transform):
    augmentation = Augmentation({"turn": A.RandomRotate90(), "mine": transform})
    with pytest.raises(
        InputError, match=r"data\.augment: \w+ cannot change both images of a pair alike; use"
    ) as caught:
        PairedTraining([], 4, 32, augment=augmentation)
    assert "\n" not in str(caught.value)


def test_the_parts_of_one_of_several_are_told_apart():
    augmentation = Augmentation({"mine": A.OneOf([A.HorizontalFlip(), A.Rotate()])})
    with pytest.raises(InputError, match=r"data\.augment: Rotate cannot"):
        augmentation.check_pairs()


def test_everything_in_the_configuration_suits_pairs():
    for path in (CONF_DIR / "data/augment").glob("*.yaml"):
        if path.stem in ("focus", "views"):  # of images that are degraded here
            with pytest.raises(InputError, match="(GaussianBlur|Affine) cannot"):
                configured(path.stem).check_pairs()
            continue
        augmentation = configured(path.stem)
        assert augmentation is None or augmentation.check_pairs() is None


def test_a_transform_that_changes_the_size_is_refused():
    with pytest.raises(InputError, match=r"data\.augment makes float32 \(4, 4, 3\) of float32 \(8, 8, 3\)"):
        Augmentation({"crop": A.RandomCrop(4, 4)})(0, torch.rand(3, 8, 8))


def test_a_transform_is_added_or_left_out_on_the_command_line():
    added = "+data.augment.transforms.grey={_target_: albumentations.ToGray, p: 1}"
    augmentation = instantiate(
        compose(["data=sample", "data/augment=paper", added, "data.augment.transforms.turn=null"]).data.augment
    )
    image = torch.rand(3, 4, 4)
    grey = augmentation(0, image).hr
    assert torch.equal(grey[0], grey[1])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(grey[0], (weights * image).sum(0), atol=1e-3, rtol=0)
    assert type(augmentation.pipeline.transforms[0]) is albumentations.ToGray


def test_a_sample_of_a_pair_is_augmented_by_its_own_generator(small_frames):
    plain, coloured = (
        PairedTraining(small_frames, 4, 32, NOISELESS, augment=configured(o)) for o in ("none", "colour")
    )
    again = PairedTraining(small_frames, 4, 32, NOISELESS, augment=configured("colour"))
    samples = [coloured[number] for number in range(12)]
    assert all(same(again[number], samples[number]) for number in reversed(range(12)))
    # Every fourth HR pixel is an LR pixel (tests/data/conftest.py), in whatever colour; which ones, the turn tells.
    for sample in samples:
        phases = [sample["hr"][:, y::4, x::4] for y in (0, 3) for x in (0, 3)]
        assert any(torch.allclose(sample["lr"], phase, atol=1e-5) for phase in phases)
    assert sum(not torch.equal(samples[number]["hr"], plain[number]["hr"]) for number in range(12)) > 6


def test_nothing_changes_without_an_augmentation(tmp_path):
    path = write(tmp_path / "x.png", ramp(8, 8))
    dataset = PairedTraining([Pair("x", path, path, at_lr_size=False)], 2, 8, NOISELESS)
    for number in range(4):
        hr = (dataset[number]["hr"] * 255).round().numpy().transpose(1, 2, 0)
        assert np.array_equal(hr, ramp(8, 8))
