"""PSNR and SSIM as this field reports them, on RGB and on luma; and the error of a kernel field."""

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from arcsr_lightning.degradation import round_to_8bit
from arcsr_lightning.scores.protocol import SSIM_SIGMA, SSIM_WINDOW

LUMA = (65.481, 128.553, 24.966)  # BT.601, studio range, as MATLAB's rgb2ycbcr
LUMA_OFFSET = 16.0


def luma(rgb: Tensor) -> Tensor:
    """RGB in [0, 1], (B, 3, H, W) -> Y in [16/255, 235/255], (B, 1, H, W)."""
    weights = rgb.new_tensor(LUMA).view(1, 3, 1, 1)
    return ((rgb * weights).sum(dim=1, keepdim=True) + LUMA_OFFSET) / 255


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """PSNR of each image in dB, data range 1: (B, C, H, W) twice -> (B,)."""
    # Pooling the error of a data set before the logarithm, torchmetrics' default, is not the mean of its images' PSNR.
    return peak_signal_noise_ratio(x, y, data_range=1.0, dim=(1, 2, 3), reduction="none")


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each image on the valid window, data range 1: (B, C, H, W) twice -> (B,).

    Raises:
        ValueError: an image is smaller than the window.
    """
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs sides of at least {SSIM_WINDOW} px after the border crop, got {tuple(x.shape[-2:])}"
        )
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
    sr, hr = (crop_border(round_to_8bit(x.float()), border) for x in (sr, hr))
    sr_y, hr_y = luma(sr), luma(hr)
    return {
        "psnr_rgb": psnr(sr, hr),
        "ssim_rgb": ssim(sr, hr),
        "psnr_y": psnr(sr_y, hr_y),
        "ssim_y": ssim(sr_y, hr_y),
    }


def crop_border(x: Tensor, border: int) -> Tensor:
    height, width = x.shape[-2:]
    return x[..., border : height - border, border : width - border]


def kernel_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """L1 distance of two kernel fields, summed over the taps, mean over pixels: (B, ks*ks, H, W) twice -> (B,).

    0 is right everywhere; 2 is the worst possible, no tap in common.
    """
    return (estimate - truth).abs().sum(dim=1).mean(dim=(1, 2))
