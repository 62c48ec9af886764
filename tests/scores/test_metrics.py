import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from arcsr_lightning.degradation import round_to_8bit
from arcsr_lightning.scores.metrics import kernel_error, luma, psnr, score, ssim


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


def test_kernel_error_is_zero_for_the_truth_and_two_for_no_tap_in_common():
    truth, other = torch.zeros(1, 9, 4, 5), torch.zeros(1, 9, 4, 5)
    truth[:, 0], other[:, 8] = 1, 1
    assert kernel_error(truth, truth).tolist() == [0]
    assert kernel_error(other, truth).tolist() == [2]
