"""Measured kernels against the true ones of synthetic blur, against scipy, and on a real frame where there is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from skimage.data import astronaut, chelsea, coffee

from arcsr_lightning.data.images import read_image, to_tensor
from arcsr_lightning.degradation import (
    Fit,
    apply_blended_kernels,
    apply_kernel_field,
    downsample,
    lr_field,
    measure_cells,
    measure_kernels,
    motion_kernel,
    random_trajectory,
)
from arcsr_lightning.degradation import measure as measure_module
from arcsr_lightning.errors import InputError

SCALE, KERNEL_SIZE, LONGEST = 4, 7, 24.0  # lengths in HR pixels
GOPRO = Path(__file__).parents[3] / "shared" / "data" / "gopro"


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    return -10 * float((x - y).square().mean().log10())


def textured(image: torch.Tensor) -> torch.Tensor:
    """The half of the pixels (H, W) around which the gradients are larger."""
    energy = F.pad(image.diff(dim=2).square(), (0, 0, 1, 0)) + F.pad(image.diff(dim=3).square(), (1, 0))
    energy = F.avg_pool2d(energy.sum(1, keepdim=True), 9, 1, 4, count_include_pad=False)[0, 0]
    return energy > energy.median()


def error(field: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> float:
    return float((field - truth).abs().sum(1)[0][where].mean())


@pytest.fixture(scope="module")
def views():
    """(sharp, degraded, true field) on the LR grid: an object over a background, each with a bent path of its own."""
    made = []
    for seed, photo in enumerate((astronaut(), coffee(), chelsea()), start=10):
        rng = np.random.default_rng(seed)
        hr = to_tensor(photo)[None, :, : photo.shape[0] // 16 * 16, : photo.shape[1] // 16 * 16]
        paths = [random_trajectory(rng, rng.uniform(0, 2 * LONGEST), bend=2.0) for _ in range(2)]
        paths = [path * min(1, 0.49 * LONGEST / np.abs(path).max()) for path in paths]
        kernels = torch.stack([motion_kernel(path, int(LONGEST) + 1) for path in paths])[None]
        down, across = (torch.linspace(-1, 1, side) for side in hr.shape[-2:])
        front = torch.sigmoid(10 * (0.6 - torch.hypot(down[:, None], across)))
        masks = torch.stack([1 - front, front])[None]
        degraded = downsample(apply_blended_kernels(hr, kernels, masks), SCALE)
        made.append((downsample(hr, SCALE), degraded, lr_field(kernels, masks, SCALE, KERNEL_SIZE)))
    return made


def test_recovers_the_true_field_of_synthetic_blur(views):
    fields = [measure_kernels(sharp, degraded, KERNEL_SIZE).kernel for sharp, degraded, _ in views]
    wheres = [textured(sharp) for sharp, *_ in views]
    truths = [truth for *_, truth in views]
    all_truths = torch.cat([truth[0][:, where] for truth, where in zip(truths, wheres, strict=True)], 1)
    constant = all_truths.median(1).values
    constant = float((all_truths - (constant / constant.sum())[:, None]).abs().sum(0).mean())
    measured = [error(*parts) for parts in zip(fields, truths, wheres, strict=True)]
    assert constant >= 0.72
    assert np.mean(measured) <= 0.30


def test_half_of_that_error_is_the_definition_of_the_true_field(views):
    """``lr_field`` shares taps bilinearly and leaves the downsampler out; where it is the very blur, 0.12 is left."""
    errors = []
    for sharp, _, truth in views:
        field = measure_kernels(sharp, apply_kernel_field(sharp, truth), KERNEL_SIZE).kernel
        errors.append(error(field, truth, textured(sharp)))
    assert np.mean(errors) <= 0.15


def test_confident_pixels_are_the_better_ones(views):
    errors, confidences = [], []
    for sharp, degraded, truth in views:
        kernel, confidence = measure_kernels(sharp, degraded, KERNEL_SIZE)
        errors.append((kernel - truth).abs().sum(1).flatten())
        confidences.append(confidence.flatten())
    quarters = [part.mean() for part in torch.cat(errors)[torch.cat(confidences).argsort()].chunk(4)]
    assert quarters[0] > quarters[1] > quarters[-1]


def test_kernels_are_kernels_and_confidence_is_a_share(views):
    sharp, degraded, _ = views[0]
    kernel, confidence = measure_kernels(sharp, degraded, KERNEL_SIZE)
    assert kernel.shape == (1, KERNEL_SIZE**2, *sharp.shape[-2:]) and confidence.shape == (1, 1, *sharp.shape[-2:])
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(1), torch.ones_like(kernel[:, 0]))
    assert confidence.min() >= 0 and confidence.max() <= 1


def test_equal_images_have_a_delta(views):
    sharp = views[0][0]
    delta = torch.zeros(1, KERNEL_SIZE**2, 1, 1)
    delta[:, KERNEL_SIZE**2 // 2] = 1
    kernel, _ = measure_kernels(sharp, sharp, KERNEL_SIZE)
    assert error(kernel, delta, textured(sharp)) <= 0.05


def test_a_flat_image_has_uniform_kernels_and_no_confidence():
    flat = torch.full((1, 3, 22, 30), 0.3)
    kernel, confidence = measure_kernels(flat, flat, 5)
    torch.testing.assert_close(kernel, torch.full_like(kernel, 1 / 25), atol=1e-4, rtol=0)
    assert torch.equal(confidence, torch.zeros_like(confidence))


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 8), (7, 6)])
def test_an_image_of_one_window_equals_scipy(height, width, window):
    """The system is built row by row: of all differences between two pixels of the image, and of no others."""
    torch.manual_seed(0)
    size, ridge = 3, 1e-2
    sharp = 0.9 * torch.rand(1, 2, height, width)
    streak = torch.eye(size).flatten().view(1, -1, 1, 1).expand(-1, -1, height, width) / size
    degraded = 0.9 * apply_kernel_field(sharp, streak) + 0.1 * torch.rand(1, 2, height, width)
    padded = F.pad(sharp, (1, 1, 1, 1), mode="replicate")[0].double().numpy()
    target = degraded[0].double().numpy()
    rows, values = [], []
    for channel, y, x in np.ndindex(target.shape):
        for dy, dx in ((0, 1), (1, 0)):
            if y >= dy and x >= dx:
                here, before = (padded[channel, v : v + size, u : u + size] for v, u in ((y, x), (y - dy, x - dx)))
                rows.append((here - before).flatten())
                values.append(target[channel, y, x] - target[channel, y - dy, x - dx])
    rows, values = np.array(rows), np.array(values)
    quantised = len(rows) * measure_module.QUANTISED**2
    unit = (rows**2).sum(0).mean() + quantised
    more = [ridge**0.5 * unit**0.5 * np.eye(size**2), np.full((1, size**2), (measure_module._SUM_WEIGHT * unit) ** 0.5)]
    left = np.concatenate([rows, *more])
    right = np.concatenate([values, np.zeros(size**2), [(measure_module._SUM_WEIGHT * unit) ** 0.5]])
    expected = nnls(left, right)[0]
    expected /= expected.sum()
    residual = ((rows @ expected - values) ** 2).sum() + quantised
    bound = size**2 * residual / len(rows) * np.trace(np.linalg.inv(left.T @ left))
    confidence = (1 - residual / ((values**2).sum() + quantised)) / (1 + bound)
    measured = measure_cells(sharp, degraded, size, Fit(4, window, ridge, 0.0))
    assert (expected == 0).any()
    for cell in np.ndindex(measured.kernel.shape[-2:]):
        np.testing.assert_allclose(measured.kernel[0][:, *cell], expected, atol=1e-4)
        assert measured.confidence[0, 0][cell] == pytest.approx(confidence, abs=1e-3)


def test_an_offset_between_the_images_changes_nothing(views):
    sharp, degraded, _ = (part[..., :40, :48] for part in views[0])
    before = measure_kernels(0.5 * sharp, 0.5 * degraded, 5)
    after = measure_kernels(0.5 * sharp + 0.2, 0.5 * degraded + 0.1, 5)
    torch.testing.assert_close(after.kernel, before.kernel, atol=1e-3, rtol=0)
    torch.testing.assert_close(after.confidence, before.confidence, atol=1e-3, rtol=0)


def test_a_batch_equals_its_images(views):
    sharp, degraded = (torch.cat([view[part][..., :40, :48] for view in views]) for part in (0, 1))
    together = measure_kernels(sharp, degraded, 5)
    for number in range(2):
        alone = measure_kernels(sharp[number, None], degraded[number, None], 5)
        torch.testing.assert_close(together.kernel[number], alone.kernel[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.confidence[number], alone.confidence[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("fit", [Fit(pull=0.0), Fit(pull=1.0), Fit(window=7, pull=0.0)])
def test_strips_do_not_show(views, monkeypatch, fit):
    sharp, degraded, _ = (part[..., :70, :48] for part in views[0])  # 18 rows of 12 cells, the last one cut
    whole = measure_cells(sharp, degraded, 3, fit)
    monkeypatch.setattr(measure_module, "_STRIP_BYTES", 12 * 12 * 81 * 4)
    in_strips = measure_cells(sharp, degraded, 3, fit)
    torch.testing.assert_close(in_strips.kernel, whole.kernel, atol=1e-5, rtol=0)
    torch.testing.assert_close(in_strips.confidence, whole.confidence, atol=1e-5, rtol=0)


def test_the_negative_of_an_image_has_kernels_without_confidence(views):
    sharp = views[0][0][..., :40, :48]
    kernel, confidence = measure_cells(sharp, 1 - sharp, 3)
    torch.testing.assert_close(kernel.sum(1), torch.ones_like(kernel[:, 0]))
    assert confidence.max() < 0.1


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("channel", [0, 2])
def test_confidence_falls_by_the_share_of_saturated_pixels(views, image, channel):
    """One colour of one image is enough; values just below that of saturation are fitted alike, and are trusted."""
    images = [0.5 * view[..., :40, :48] for view in views[0][:2]]
    for one in images:
        one[..., 16:24, 16:24] = measure_module.SATURATED - 1e-6
    before = measure_cells(*images, 5).confidence
    images[image][:, channel, 16:24, 16:24] += 2e-6
    after = measure_cells(*images, 5).confidence
    saturated, share = np.zeros((2, 10, 12))
    saturated[4:6, 4:6] = 1
    for row, column in np.ndindex(share.shape):
        share[row, column] = saturated[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].mean()
    assert before[..., 4:6, 4:6].min() > 0.1
    torch.testing.assert_close(after, before * (1 - torch.from_numpy(share).float()), atol=1e-3, rtol=0)


def test_what_no_kernel_explains_lowers_the_confidence(views):
    """An occlusion: the degraded image shows something else there."""
    sharp, degraded, _ = views[0]
    occluded = degraded.clone()
    occluded[..., 20:40, 20:40] = views[1][1][..., 20:40, 20:40]
    before, after = (measure_cells(sharp, image, 5).confidence for image in (degraded, occluded))
    assert after[..., 6:9, 6:9].mean() < 0.3 * before[..., 6:9, 6:9].mean()


def test_of_one_pixel_nothing_is_known():
    kernel, confidence = measure_kernels(torch.full((1, 3, 1, 1), 0.2), torch.full((1, 3, 1, 1), 0.7), 3)
    torch.testing.assert_close(kernel, torch.full((1, 9, 1, 1), 1 / 9))
    assert confidence == 0


@pytest.mark.parametrize(("sizes", "kernel_size", "window"), [((20, 24), 5, 3), ((20, 20), 4, 3), ((20, 20), 5, 2)])
def test_bad_input_gets_one_line(sizes, kernel_size, window):
    with pytest.raises(InputError, match="size|odd"):
        measure_kernels(*(torch.rand(1, 3, 16, side) for side in sizes), kernel_size, Fit(window=window))


@pytest.mark.skipif(not GOPRO.is_dir(), reason="the GoPro frames are not at hand")
def test_explains_a_real_frame():
    blurred = sorted(GOPRO.glob("*/*/blur/*.png"))[0]
    sharp, degraded = (
        downsample(to_tensor(read_image(path)), SCALE)[None]
        for path in (blurred.parents[1] / "sharp" / blurred.name, blurred)
    )
    kernel = measure_kernels(sharp, degraded, KERNEL_SIZE).kernel
    assert psnr(apply_kernel_field(sharp, kernel), degraded) >= 40
