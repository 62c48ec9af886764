"""The per-pixel blur against loops and dense matrices."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import (
    MotionField,
    apply_blended_kernels,
    apply_kernel_field,
    dense_field,
    downsample,
    gaussian_kernel,
    lr_field,
)
from arcsr_lightning.operators import native


def blur_matrix(field: np.ndarray) -> np.ndarray:
    """The blur of one channel as a dense (H*W, H*W) matrix, tap by tap from the definition; field (k*k, H, W)."""
    taps, height, width = field.shape
    size = round(taps**0.5)
    matrix = np.zeros((height * width, height * width))
    for y in range(height):
        for x in range(width):
            for tap in range(taps):
                sy = min(max(y + tap // size - size // 2, 0), height - 1)
                sx = min(max(x + tap % size - size // 2, 0), width - 1)
                matrix[y * width + x, sy * width + sx] += field[tap, y, x]
    return matrix


def random_field(size: int, batch: int = 1, height: int = 6, width: int = 8) -> torch.Tensor:
    torch.manual_seed(size)
    return torch.rand(batch, size * size, height, width, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("size", [1, 3, 5, 15])
def test_field_equals_the_per_pixel_definition(size):
    x, field = torch.rand(2, 3, 6, 8, dtype=torch.float64), random_field(size, batch=2)
    out = apply_kernel_field(x, field)
    for image, kernel, result in zip(x, field, out, strict=True):
        expected = image.flatten(1).numpy() @ blur_matrix(kernel.numpy()).T
        np.testing.assert_allclose(result.flatten(1).numpy(), expected, atol=1e-12)


def test_adjoint():
    x = torch.rand(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    y, field = torch.randn(1, 2, 6, 8, dtype=torch.float64), random_field(5)
    blurred = apply_kernel_field(x, field)
    (adjoint,) = torch.autograd.grad(blurred, x, y)
    expected = y.flatten(2)[0].numpy() @ blur_matrix(field[0].numpy())
    np.testing.assert_allclose(adjoint.flatten(2)[0].numpy(), expected, atol=1e-12)
    torch.testing.assert_close((blurred * y).sum(), (x * adjoint).sum())


def test_gradients_in_image_and_field():
    x = torch.rand(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    field = random_field(3, batch=2, height=4, width=3).requires_grad_()
    assert torch.autograd.gradcheck(apply_kernel_field, (x, field))


def test_delta_field_is_the_identity():
    x, field = torch.rand(1, 3, 6, 8), torch.zeros(1, 49, 6, 8)
    field[:, 24] = 1
    assert torch.equal(apply_kernel_field(x, field), x)


def test_constants_are_kept_up_to_the_border():
    x = torch.full((1, 3, 6, 8), 0.7, dtype=torch.float64)
    torch.testing.assert_close(apply_kernel_field(x, random_field(9)), x)


def test_one_tap_below_right_of_the_centre_fetches_the_pixel_below_right():
    x, field = torch.zeros(1, 1, 7, 7), torch.zeros(1, 25, 7, 7)
    x[..., 3, 4] = 1
    field[:, 3 * 5 + 4] = 1  # row 3, column 4: offset (+1, +2)
    assert apply_kernel_field(x, field)[0, 0].nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("width", [3, 10, 150])  # less than a vector, some, more than fit into registers
def test_blending_equals_per_pixel_application(width, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "takes", lambda *tensors, name: False)
    rng = np.random.default_rng(3)
    fields = [MotionField(kernel_size=9, max_length=8, regions=1)(rng, 12, width) for _ in range(2)]
    kernels, masks = (torch.stack(parts).double() for parts in zip(*fields, strict=True))
    x = torch.rand(2, 3, 12, width, dtype=torch.float64)
    blended = apply_blended_kernels(x, kernels, masks)
    torch.testing.assert_close(blended, apply_kernel_field(x, dense_field(kernels, masks)))
    for image, basis, weights, result in zip(x, kernels, masks, blended, strict=True):
        field = np.einsum("mij,mhw->ijhw", basis.numpy(), weights.numpy()).reshape(81, 12, width)
        expected = image.flatten(1).numpy() @ blur_matrix(field).T
        np.testing.assert_allclose(result.flatten(1).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("known", [1, 4, 6])  # of the 4 pixels that the kernels reach
@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_known_around_an_image_is_blurred_into_it(known, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "takes", lambda *tensors, name: False)
    x, inner = torch.rand(1, 3, 26, 32, dtype=torch.float64), (..., slice(8, -8), slice(8, -8))
    kernels, masks = torch.rand(1, 2, 9, 9, dtype=torch.float64), torch.rand(1, 2, 26, 32, dtype=torch.float64)
    seen = x[..., 8 - known : known - 8, 8 - known : known - 8]
    around = torch.nn.functional.pad(seen, [8 - known] * 4, mode="replicate")
    expected = apply_kernel_field(around, dense_field(kernels, masks))[inner]
    torch.testing.assert_close(apply_blended_kernels(seen, kernels, masks[inner]), expected)


def test_blending_has_gradients():
    x, kernels, masks = (torch.rand(1, *shape, dtype=torch.float64) for shape in ((1, 4, 5), (2, 3, 3), (2, 4, 5)))
    inputs = [part.requires_grad_() for part in (x, kernels, masks)]
    assert torch.autograd.gradcheck(apply_blended_kernels, inputs)


@pytest.mark.parametrize("taps", [4, 5, 16])
def test_a_field_without_odd_square_taps_is_refused(taps):
    with pytest.raises(ValueError, match=f"odd k, got {taps}"):
        apply_kernel_field(torch.rand(1, 1, 4, 4), torch.rand(1, taps, 4, 4))


def test_a_field_of_another_size_is_refused():
    with pytest.raises(ValueError, match="differ in batch, height or width"):
        apply_kernel_field(torch.rand(1, 1, 4, 4), torch.rand(1, 9, 4, 5))


@pytest.mark.parametrize(("scale", "size"), [(2, 13), (3, 9), (4, 7), (4, 11)])
def test_lr_field_keeps_sum_and_centroid(scale, size):
    kernel = torch.rand(1, 1, 25, 25, dtype=torch.float64)
    kernel /= kernel.sum()
    field = lr_field(kernel, torch.ones(1, 1, 2 * scale, scale, dtype=torch.float64), scale, size)
    assert field.shape == (1, size * size, 2, 1)
    torch.testing.assert_close(field.sum(1), torch.ones(1, 2, 1, dtype=torch.float64))

    def centroid(k):
        taps = torch.arange(k.shape[-1], dtype=k.dtype) - k.shape[-1] // 2
        return torch.stack([(k.sum(1) * taps).sum(), (k.sum(0) * taps).sum()])

    lr_kernel = field[0, :, 0, 0].reshape(size, size)
    torch.testing.assert_close(centroid(lr_kernel), centroid(kernel[0, 0]) / scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_shift_by_scale_hr_pixels_is_a_shift_by_one_lr_tap(scale):
    kernel = torch.zeros(1, 1, 9, 9)
    kernel[..., 4 + scale, 4 - scale] = 1
    field = lr_field(kernel, torch.ones(1, 1, 3 * scale, 3 * scale), scale, 5)
    assert torch.equal(field[0, :, 1, 1].reshape(5, 5).nonzero(), torch.tensor([[3, 1]]))


def test_lr_field_is_the_mean_over_the_pixels_of_a_block():
    kernels, masks = torch.rand(1, 3, 5, 5), torch.rand(1, 3, 8, 12)
    whole = lr_field(kernels, masks, 4, 3)
    pixels = [
        lr_field(kernels, masks[..., y, x].reshape(1, 3, 1, 1).expand(1, 3, 4, 4), 4, 3)
        for y in range(4, 8)
        for x in range(8, 12)
    ]
    torch.testing.assert_close(whole[..., 1, 2], torch.stack(pixels).mean(0)[..., 0, 0])


def test_on_smooth_images_blur_then_downsample_is_downsample_then_lr_blur():
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    hr = (0.5 + 0.25 * torch.sin(y / 11 + x / 17) + 0.25 * torch.cos(x / 13))[None, None]
    wide, tall = gaussian_kernel(25, 4.0, 1.0), gaussian_kernel(25, 1.0, 3.0)
    shifted = torch.roll(tall, (4, -3), dims=(0, 1))
    kernels, right = torch.stack([wide, shifted])[None], (x / 95)[None, None]
    masks = torch.cat([1 - right, right], dim=1)
    truth = downsample(apply_blended_kernels(hr, kernels, masks), 4)
    seen = apply_kernel_field(downsample(hr, 4), lr_field(kernels, masks, 4, 7))
    error = (truth - seen)[..., 4:-4, 4:-4].abs().max()
    effect = (truth - downsample(hr, 4))[..., 4:-4, 4:-4].abs().max()
    assert effect > 0.05
    assert error < 0.1 * effect  # the rest is the widening by bilinear taps; half a pixel off would be 0.2


def test_lr_field_names_the_smallest_size_that_holds_the_kernels():
    kernels, masks = torch.rand(1, 1, 25, 25), torch.ones(1, 1, 12, 12)
    for size in (5, 8):
        with pytest.raises(ValueError, match="at scale 4; use an odd size, at least 7"):
            lr_field(kernels, masks, 4, size)
    with pytest.raises(ValueError, match="divisible by 4, got 12x10"):
        lr_field(kernels, masks[..., :10], 4, 7)
