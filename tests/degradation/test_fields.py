"""What the samplers of blur promise."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from arcsr_lightning.degradation import FileKernels, GaussianField, MotionField, NoBlur, dense_field
from arcsr_lightning.degradation.fields import Part, random_relief, region_of
from arcsr_lightning.degradation.kernels import path_length
from arcsr_lightning.errors import InputError


def samplers(kernel_file):
    return {
        "motion": MotionField(),
        "shake": MotionField(kernel_size=7, max_length=100, bend=2, still=0, regions=0),
        "gaussian": GaussianField(),
        "isotropic": GaussianField(9, (1, 3), isotropic=True),
        "file": FileKernels(kernel_file),
        "none": NoBlur(),
    }


@pytest.mark.parametrize("name", ["motion", "shake", "gaussian", "isotropic", "file", "none"])
def test_the_field_of_every_pixel_is_positive_and_sums_to_one(name, kernel_file):
    blur = samplers(kernel_file)[name]
    shapes = set()
    for seed in range(5):
        kernels, masks = blur(np.random.default_rng(seed), 20, 13)
        assert masks.shape == (len(kernels), 20, 13)
        shapes.add(tuple(kernels.shape))
        field = dense_field(kernels[None], masks[None])
        assert field.min() >= 0
        torch.testing.assert_close(field.sum(1), torch.ones(1, 20, 13))
    assert len(shapes) == 1, "samples of one sampler must stack into a batch"


@pytest.mark.parametrize("name", ["motion", "gaussian", "file"])
def test_a_seed_gives_one_field_and_other_seeds_others(name, kernel_file):
    blur = samplers(kernel_file)[name]
    first, again, *others = (blur(np.random.default_rng([seed, 7]), 12, 12) for seed in (1, 1, *range(2, 10)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(first.kernels, other.kernels) for other in others)


def many_paths(blur: MotionField) -> np.ndarray:
    return np.concatenate([blur.trajectories(np.random.default_rng(seed)) for seed in range(100)])


def second_moments(kernel):
    """The covariance of a kernel (k, k) about its centroid, (2, 2) in (y, x)."""
    taps = torch.arange(len(kernel), dtype=torch.float64) - len(kernel) // 2
    grid = torch.stack(torch.meshgrid(taps, taps, indexing="ij"), -1)
    offset = grid - torch.einsum("yx,yxi->i", kernel.double(), grid)
    return torch.einsum("yx,yxi,yxj->ij", kernel.double(), offset, offset)


def elongations(blur):
    """Smallest over largest eigenvalue of the covariance of the kernels of paths of at least 15 px."""
    ratios = []
    for seed in range(60):
        kernels = blur(np.random.default_rng(seed), 8, 8).kernels
        lengths = path_length(blur.trajectories(np.random.default_rng(seed)))
        for kernel in kernels[torch.from_numpy(lengths > 15)]:
            least, most = torch.linalg.eigvalsh(second_moments(kernel))
            ratios.append(float(least / most))
    return np.array(ratios)


def test_kernels_are_nearly_straight_by_default_and_shake_is_not():
    straight, squiggles = elongations(MotionField()), elongations(MotionField(bend=2))
    assert len(straight) > 80
    assert np.median(straight) < 0.01  # standard deviations across and along are 1 to 10
    assert np.mean(straight < 0.1) > 0.9
    assert np.median(squiggles) > 3 * np.median(straight)


def test_without_bend_and_roll_a_kernel_is_a_line():
    """A line has no extent across but that of the bilinear splat, whose variance is at most 1/4 per axis."""
    for seed in range(20):
        for kernel in MotionField(bend=0, roll=0)(np.random.default_rng(seed), 8, 8).kernels:
            assert torch.linalg.eigvalsh(second_moments(kernel))[0] <= 0.25 + 1e-6


@pytest.mark.parametrize("length", [5.0, 12.0])
def test_motion_lengths_cover_their_range(length):
    lengths = path_length(many_paths(MotionField(kernel_size=25, max_length=length)))
    assert lengths.min() < 0.05 * length
    assert lengths.max() == pytest.approx(length, rel=0.02)
    assert lengths.max() <= length * (1 + 1e-9)


def test_lengths_of_regions_are_uniform():
    blur = MotionField(kernel_size=99, max_length=30, bend=0, regions=4)
    lengths = np.concatenate([path_length(blur.trajectories(np.random.default_rng(s))[4:]) for s in range(200)])
    assert kstest(lengths / 30, "uniform").pvalue > 0.01


def test_a_camera_that_moves_moves_at_least_so_far():
    blur = MotionField(kernel_size=99, max_length=30, min_length=12, still=0, regions=0, roll=0)
    lengths = path_length(many_paths(blur))
    assert 12 <= lengths.min() < 14
    assert 28 < lengths.max() <= 30 + 1e-6
    short = MotionField(kernel_size=25, max_length=4, min_length=12, still=0, regions=0, roll=0)
    np.testing.assert_allclose(path_length(many_paths(short)), 4)


def test_the_camera_stands_still_as_often_as_it_should():
    blur = MotionField(still=0.4, regions=1)
    paths = np.stack([blur.trajectories(np.random.default_rng(seed)) for seed in range(400)])
    lengths = path_length(paths)  # (400, 5)
    assert np.mean((lengths[:, :4] == 0).all(1)) == pytest.approx(0.4, abs=0.08)
    assert np.mean(lengths[:, 4] == 0) == 0  # regions move then, too


def test_paths_too_long_for_the_window_are_shrunk_into_it():
    paths = many_paths(MotionField(kernel_size=25, max_length=60))
    assert np.abs(paths).max() == pytest.approx(12)
    assert np.abs(paths).max() <= 12


def test_motion_kernels_do_not_displace_the_image():
    taps = torch.arange(25.0) - 12
    for seed in range(20):
        kernels = MotionField()(np.random.default_rng(seed), 8, 8).kernels
        torch.testing.assert_close(kernels.sum(2) @ taps, torch.zeros(6), atol=1e-4, rtol=0)
        torch.testing.assert_close(kernels.sum(1) @ taps, torch.zeros(6), atol=1e-4, rtol=0)


def test_without_motion_every_kernel_is_a_delta():
    kernels = MotionField(kernel_size=5, max_length=0)(np.random.default_rng(0), 8, 8).kernels
    delta = torch.zeros(5, 5)
    delta[2, 2] = 1
    assert torch.equal(kernels, delta.expand(6, 5, 5))


def test_without_regions_and_roll_all_corners_share_one_path():
    paths = MotionField(regions=0, roll=0).trajectories(np.random.default_rng(0))
    assert len(paths) == 4
    assert all(np.array_equal(a, b) for a, b in pairwise(paths))


def test_roll_turns_the_corners_about_the_centre():
    blur = MotionField(kernel_size=99, max_length=20, bend=2, still=0, regions=0, roll=0.3)
    top_left, top_right, bottom_left, bottom_right = blur.trajectories(np.random.default_rng(4))
    shake = (top_left + bottom_right) / 2
    np.testing.assert_allclose((top_right + bottom_left) / 2, shake, atol=1e-12)
    turn = top_right - shake  # this corner lies at (y, x) = (-1, 1): it moves along (1, 1)
    assert np.abs(turn).max() > 0.1
    np.testing.assert_allclose(turn[:, 0], turn[:, 1], atol=1e-12)
    np.testing.assert_allclose(bottom_left - shake, -turn, atol=1e-12)


def test_the_camera_s_blur_is_blended_bilinearly_between_the_corners_of_a_frame():
    masks = MotionField(regions=0, frame=(0, 0))(np.random.default_rng(0), 9, 5).masks
    corners = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.equal(corners, torch.eye(4))
    assert torch.equal(masks[:, 4, 2], torch.full((4,), 0.25))
    torch.testing.assert_close(masks[:, 2, 0], torch.tensor([0.75, 0, 0.25, 0]))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (200, 40)])
def test_an_image_is_a_part_of_its_frame(height, width):
    """The masks of an image are those of the whole frame, cut at a place that only the generator decides."""
    blur, whole = MotionField(frame=(120, 100)), (max(120, height), max(100, width))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        top, left = rng.integers(whole[0] - height + 1), rng.integers(whole[1] - width + 1)
        part = Part(slice(0, whole[0]), slice(0, whole[1]), *whole)
        regions = []
        for _ in range(2):
            there, coverage = rng.random() < 0.5, rng.uniform(0.1, 0.4)
            regions.append(there * region_of(random_relief(rng, part, 180), part, coverage, 180))
        behind = (1 - regions[0]) * (1 - regions[1])
        masks = blur.masks(np.random.default_rng(seed), height, width)
        window = (slice(top, top + height), slice(left, left + width))
        torch.testing.assert_close(masks[:4].sum(0), behind[window])
        torch.testing.assert_close(masks[5], regions[1][window])


def test_a_crop_varies_as_a_crop_of_that_size_of_a_larger_image():
    """Training crops against parts of evaluation images: the mean L1 distance of the kernels from their mean."""

    def spread(kernels, masks):
        field = dense_field(kernels[None], masks[None, :, ::8, ::8])
        return float((field - field.mean((2, 3), keepdim=True)).abs().sum(1).mean())

    blur, crops, parts, stretched = MotionField(), [], [], []
    for seed in range(60):
        crops.append(spread(*blur(np.random.default_rng(seed), 256, 256)))
        kernels, masks = blur(np.random.default_rng([1, seed]), 640, 960)
        parts.append(spread(kernels, masks[:, 200:456, 500:756]))
        stretched.append(spread(*MotionField(frame=(256, 256))(np.random.default_rng(seed), 256, 256)))
    assert np.mean(crops) == pytest.approx(np.mean(parts), rel=0.25)
    assert np.mean(stretched) > 1.2 * np.mean(parts)  # what a frame as small as the crop would give


def test_regions_cover_what_they_should_with_soft_edges():
    for seed in range(20):
        blur = MotionField(regions=1, moving=1, coverage=(0.2, 0.3), frame=(360, 540))
        region = blur.masks(np.random.default_rng(seed), 360, 540)[4]
        assert 0.15 < region.mean() < 0.35
        assert region.max() > 0.9
        for axis in (0, 1):
            assert region.diff(dim=axis).abs().max() < 0.5


def test_a_relief_passes_through_the_heights_it_is_drawn_by():
    """The bicubic interpolation of the whole frame, as PyTorch does it; a part of it is cut out of that."""
    part = Part(slice(30, 80), slice(11, 57), 100, 150)
    region = region_of(random_relief(np.random.default_rng(3), part, 30), part, 0.3, 30)
    rng = np.random.default_rng(3)
    heights = torch.from_numpy(rng.standard_normal((4, 6), dtype=np.float32))
    relief = F.interpolate(heights[None, None], (100, 150), mode="bicubic", align_corners=True)[0, 0]
    level, softness = np.quantile(relief.numpy()[::8, ::8], 0.7), rng.uniform(0.02, 0.1)
    torch.testing.assert_close(region, torch.sigmoid((relief[30:80, 11:57] - level) / softness), atol=1e-4, rtol=0)


def test_as_many_regions_move_as_should():
    masks = [MotionField(moving=0.3).masks(np.random.default_rng(seed), 8, 8) for seed in range(300)]
    assert np.mean([bool((mask[5] > 0).any()) for mask in masks]) == pytest.approx(0.3, abs=0.08)


def test_gaussian_sigmas_stay_in_range():
    taps = torch.arange(31.0) - 15
    for seed in range(20):
        kernel = GaussianField(31, (1.0, 3.0))(np.random.default_rng(seed), 4, 4).kernels[0]
        y, x = kernel.sum(1) @ taps**2, kernel.sum(0) @ taps**2
        cross = taps @ kernel @ taps
        variances = torch.linalg.eigvalsh(torch.stack([torch.stack([y, cross]), torch.stack([cross, x])]))
        assert variances.min() > 0.99
        assert variances.max() < 9.01


def test_gaussian_sigmas_and_their_angle_are_uniform_and_independent():
    blur, rng = GaussianField(31, (1.0, 3.0)), np.random.default_rng(0)
    kernels = [blur(rng, 4, 4).kernels[0] for _ in range(300)]
    variances, axes = torch.linalg.eigh(torch.stack([second_moments(kernel) for kernel in kernels]))
    sigmas = (variances.sqrt().numpy() - 1) / 2
    angles = torch.atan2(axes[:, 0, 1], axes[:, 1, 1]).numpy() % np.pi
    assert kstest(sigmas.ravel(), "uniform").pvalue > 0.01
    assert kstest(angles / np.pi, "uniform").pvalue > 0.01
    assert kstest(sigmas[:, 1] - sigmas[:, 0], "beta", (1, 2)).pvalue > 0.01  # of two that are drawn independently


def test_isotropic_gaussians_look_the_same_after_a_quarter_turn():
    kernel = GaussianField(15, (1.0, 3.0), isotropic=True)(np.random.default_rng(0), 4, 4).kernels[0]
    torch.testing.assert_close(kernel, kernel.rot90())


def test_no_blur_is_a_one_tap_delta():
    kernels, masks = NoBlur()(np.random.default_rng(0), 3, 4)
    assert kernels.tolist() == [[[1]]]
    assert torch.equal(masks, torch.ones(1, 3, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MotionField(kernel_size=24), "kernel_size must be odd.*got 24"),
        (lambda: GaussianField(kernel_size=24), "kernel_size must be odd.*got 24"),
        (lambda: MotionField(max_length=-1), "max_length, min_length, bend, roll and regions must be 0 or more"),
        (lambda: MotionField(roll=-0.3), "bend, roll and regions must be 0 or more, got .* -0.3 and 2"),
        (lambda: MotionField(coverage=(0.4, 0.1)), "coverage must be"),
        (lambda: MotionField(still=1.5), "still and moving are probabilities"),
        (lambda: MotionField(region_size=0), "region_size must be above 0"),
        (lambda: MotionField(frame=(720,)), r"frame must be \(height, width\)"),
        (lambda: GaussianField(sigma=(0, 1)), "sigma must be"),
    ],
)
def test_settings_at_fault_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
