"""PSNR and SSIM as this field reports them, on RGB and on luma; and what tells how right a kernel field is."""

import torch
from torch import Tensor

from arcsr_lightning.degradation import confident_mean, crop_border, round_to_8bit
from arcsr_lightning.degradation.moments import field_covariance
from arcsr_lightning.precision import exact_float32
from arcsr_lightning.scores.protocol import SSIM_SIGMA, SSIM_WINDOW

LUMA = (65.481, 128.553, 24.966)  # BT.601, studio range, as MATLAB's rgb2ycbcr
LUMA_OFFSET = 16.0


def luma(rgb: Tensor) -> Tensor:
    """RGB in [0, 1], (B, 3, H, W) -> Y in [16/255, 235/255], (B, 1, H, W)."""
    weights = rgb.new_tensor(LUMA).view(1, 3, 1, 1)
    return ((rgb * weights).sum(dim=1, keepdim=True) + LUMA_OFFSET) / 255


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """PSNR of each image in dB, data range 1: (B, C, H, W) twice -> (B,)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # here: it takes seconds to import

    # Pooling the error of a data set before the logarithm, torchmetrics' default, is not the mean of its images' PSNR.
    return peak_signal_noise_ratio(x, y, data_range=1.0, dim=(1, 2, 3), reduction="none")


@exact_float32()
def ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each image on the valid window, data range 1: (B, C, H, W) twice -> (B,).

    Raises:
        ValueError: an image is smaller than the window.
    """
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs sides of at least {SSIM_WINDOW} px after the border crop, got {tuple(x.shape[-2:])}"
        )
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, image = structural_similarity_index_measure(
        x,
        y,
        data_range=1.0,
        gaussian_kernel=True,
        kernel_size=SSIM_WINDOW,
        sigma=SSIM_SIGMA,
        reduction="none",
        return_full_image=True,
    )
    margin = SSIM_WINDOW // 2
    return image[..., margin:-margin, margin:-margin].mean(dim=(1, 2, 3))


def score(sr: Tensor, hr: Tensor, border: int) -> dict[str, Tensor]:
    """The four scores of each image: ``psnr_rgb``, ``ssim_rgb``, ``psnr_y``, ``ssim_y``, each (B,).

    Args:
        sr, hr: RGB in [0, 1], (B, 3, H, W); sr is rounded to 8 bits first, as every reader of a saved picture sees it.
        border: pixels cut from every side before scoring; the field cuts ``scale``.
    """
    sr, hr = as_scored(sr, border), as_scored(hr, border)
    sr_y, hr_y = luma(sr), luma(hr)
    return {
        "psnr_rgb": psnr(sr, hr),
        "ssim_rgb": ssim(sr, hr),
        "psnr_y": psnr(sr_y, hr_y),
        "ssim_y": ssim(sr_y, hr_y),
    }


def as_scored(x: Tensor, border: int) -> Tensor:
    """What of an image is scored: float32, rounded to 8 bits, without its border."""
    return crop_border(round_to_8bit(x.float()), border)


def kernel_error(estimate: Tensor, truth: Tensor, confidence: Tensor | None = None) -> Tensor:
    """L1 distance of two kernel fields, summed over the taps, mean over pixels: (B, ks*ks, H, W) twice -> (B,).

    0 is right everywhere; 2 is the worst possible, no tap in common. A pixel counts as much as the true kernels are
    sure there, (B, 1, H, W), where they were measured.
    """
    return confident_mean((estimate - truth).abs().sum(dim=1), confidence)


def best_constant_kernel(truth: Tensor) -> Tensor:
    """Find the one kernel whose ``kernel_error`` to all kernels of a field is the smallest.

    The best tap by itself is the median of that tap. That taps must sum to one moves all of them to another quantile,
    the same for every tap (the condition of Lagrange): which one, a bisection finds.

    Args:
        truth: (B, ks*ks, H, W), non-negative, summing to one over the taps.

    Returns:
        (ks*ks,), non-negative, summing to one.
    """
    taps = truth.movedim(1, 0).flatten(1).sort(dim=1).values  # (ks*ks, pixels)
    low, high = 0, taps.shape[1] - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taps[:, middle].sum() < 1 else (low, middle)
    below, above = taps[:, low], taps[:, high]
    gap = (above - below).sum()
    return below + (above - below) * ((1 - below.sum()) / gap if gap > 0 else 0)


def blur_amount(kernel: Tensor) -> Tensor:
    """Root of the trace of every kernel's covariance, in taps: (B, ks*ks, H, W) -> (B, 1, H, W)."""
    covariance = field_covariance(kernel)
    return (covariance.yy + covariance.xx).clamp_min(0).sqrt()[:, None]


def blur_direction(kernel: Tensor) -> Tensor:
    """Direction of every kernel, weighted by how elongated it is: (B, ks*ks, H, W) -> (B, 2, H, W).

    The components are yy - xx and 2 xy of its covariance. Together they are a vector at twice the angle of the streak,
    of a length that does not depend on it: turning the picture turns the vector.
    """
    yy, xx, xy = field_covariance(kernel)
    return torch.stack([yy - xx, 2 * xy], dim=1)
