import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from arcsr_lightning.degradation import gaussian_kernel, round_to_8bit
from arcsr_lightning.scores.metrics import (
    best_constant_kernel,
    blur_amount,
    blur_direction,
    kernel_error,
    luma,
    psnr,
    score,
    ssim,
)


def images(height: int = 40, width: int = 33, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(count, 3, height, width, generator=generator)
    noise = torch.randn(count, 3, height, width, generator=generator) * torch.tensor([0.01, 0.3])[:, None, None, None]
    return (hr + noise).clamp(0, 1), hr


def as_numpy(x: torch.Tensor) -> np.ndarray:
    return x.permute(1, 2, 0).double().numpy()


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """MATLAB's SSIM through scikit-image: Gaussian window, population covariance, valid region."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    _, image = structural_similarity(x, y, channel_axis=-1, **settings)
    return image[5:-5, 5:-5].mean()


def test_psnr_agrees_with_scikit_image_per_image():
    x, y = images()
    expected = [peak_signal_noise_ratio(as_numpy(b), as_numpy(a), data_range=1.0) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr(x, y), expected, atol=1e-3)


def test_ssim_agrees_with_scikit_image_on_the_valid_window():
    x, y = images()
    expected = [reference_ssim(as_numpy(a), as_numpy(b)) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ssim(x, y), expected, atol=1e-4)


def test_luma_is_matlab_s():
    x, _ = images()
    np.testing.assert_allclose(luma(x)[0, 0] * 255, rgb2ycbcr(as_numpy(x[0]))[..., 0], atol=1e-3)


def test_score_rounds_and_cuts_the_border():
    x, y = images()
    polluted = x.clone()
    polluted[..., :4, :] = 5.0
    polluted[..., -4:] = -5.0
    expected = score(x, y, border=4)
    for name, value in score(polluted, y, border=4).items():
        assert torch.equal(value, expected[name]), name
    inner = (round_to_8bit(v)[..., 4:-4, 4:-4] for v in (x, y))
    assert torch.equal(expected["psnr_rgb"], psnr(*inner))
    assert not torch.equal(score(x, y, border=3)["psnr_rgb"], expected["psnr_rgb"])


def test_mean_is_over_images_not_over_the_pooled_error():
    x, y = images()
    pooled = -10 * ((x - y) ** 2).mean().log10()
    assert psnr(x, y).mean() > pooled + 3


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20))


def test_kernel_error_counts_measured_kernels_by_their_confidence():
    estimate, truth = random_field(), random_field().flip(-1)
    confidence = torch.rand(len(truth), 1, *truth.shape[-2:], generator=torch.Generator().manual_seed(1))
    error = kernel_error(estimate, truth, confidence)
    for one in range(len(truth)):
        apart = np.abs(estimate[one].numpy() - truth[one].numpy()).sum(0)
        assert error[one].item() == pytest.approx(np.average(apart, weights=confidence[one, 0].numpy()), rel=1e-5)
    sure = torch.zeros_like(confidence)
    sure[..., 1, 2] = 0.3
    only = kernel_error(estimate[..., 1:2, 2:3], truth[..., 1:2, 2:3])
    torch.testing.assert_close(kernel_error(estimate, truth, sure), only)


def test_kernel_error_is_zero_for_the_truth_and_two_for_no_tap_in_common():
    truth, other = torch.zeros(1, 9, 4, 5), torch.zeros(1, 9, 4, 5)
    truth[:, 0], other[:, 8] = 1, 1
    assert kernel_error(truth, truth).tolist() == [0]
    assert kernel_error(other, truth).tolist() == [2]


def random_field(height: int = 5, width: int = 7, seed: int = 0) -> torch.Tensor:
    logits = 3 * torch.randn(1, 9, height, width, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=1)


def as_field(*kernels: torch.Tensor) -> torch.Tensor:
    """(1, ks*ks, 1, number of kernels)."""
    return torch.stack([kernel.flatten() for kernel in kernels], dim=1)[None, :, None]


def test_best_constant_kernel_is_what_linear_programming_finds():
    from scipy.optimize import linprog

    taps = random_field()[0].flatten(1).double().numpy()  # (9, pixels)
    count, pixels = taps.shape
    # Minimise the sum of distances d >= |k - c| over the kernel c and all d, where c sums to one.
    cost = np.concatenate([np.zeros(count), np.full(taps.size, 1 / pixels)])
    own = np.kron(np.eye(count), np.ones((pixels, 1)))
    sides = np.block([[own, -np.eye(taps.size)], [-own, -np.eye(taps.size)]])
    best = linprog(
        cost,
        A_ub=sides,
        b_ub=np.concatenate([taps.ravel(), -taps.ravel()]),
        A_eq=np.concatenate([np.ones(count), np.zeros(taps.size)])[None],
        b_eq=[1],
    )
    constant = best_constant_kernel(random_field())
    assert float(constant.sum()) == pytest.approx(1)
    assert float(kernel_error(constant[None, :, None, None], random_field())) == pytest.approx(best.fun, abs=1e-5)


def test_best_constant_kernel_of_two_pixels_is_between_their_kernels():
    field = random_field(1, 2)
    constant = best_constant_kernel(field)
    assert float(constant.sum()) == pytest.approx(1)
    one, other = field[0, :, 0].unbind(-1)  # any kernel between the two is at this distance
    assert float(kernel_error(constant[None, :, None, None], field)) == pytest.approx(
        float((one - other).abs().sum()) / 2
    )


def test_best_constant_kernel_of_one_kernel_is_that_kernel():
    field = random_field(1, 1).expand(1, 9, 4, 4)
    torch.testing.assert_close(best_constant_kernel(field), field[0, :, 0, 0])


def test_amount_and_direction_of_gaussians_are_their_sigmas_and_angle():
    angles = torch.tensor([0.0, 0.3, np.pi / 2, 2.0])
    field = as_field(*(gaussian_kernel(21, 2.5, 1.5, float(angle)) for angle in angles))
    torch.testing.assert_close(
        blur_amount(field).flatten(), torch.full((4,), np.sqrt(2.5**2 + 1.5**2)), rtol=1e-2, atol=0
    )
    # sigma_x lies along the angle, so var_y - var_x is -(2.5² - 1.5²) cos(2 angle)
    expected = 4 * torch.stack([-(2 * angles).cos(), (2 * angles).sin()])
    torch.testing.assert_close(blur_direction(field)[0, :, 0], expected.float(), rtol=0, atol=0.06)
