"""Mean and contrast of a picture around every pixel."""

from torch import Tensor
from torch.nn import functional as F


def local_mean(x: Tensor, window: int = 13) -> Tensor:
    """Average over the part of a square window around every pixel that lies in the image.

    Args:
        x: (B, C, H, W).
        window: side of the square, odd.

    Returns:
        (B, C, H, W).
    """
    half = window // 2
    rows = F.avg_pool2d(x, (window, 1), stride=1, padding=(half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, window), stride=1, padding=(0, half), count_include_pad=False)


def local_contrast_normalised(x: Tensor, window: int = 13) -> Tensor:
    """Subtract the local mean and divide by the local standard deviation, one for all channels.

    Args:
        x: (B, C, H, W), in units of [0, 1].
        window: side of the square around a pixel, odd; beyond the image there is nothing to average.

    Returns:
        (B, C, H, W), about zero and of variance one where there is texture, zero where there is none.
    """
    mean = local_mean(x, window)
    variance = (local_mean(x.square(), window) - mean.square()).mean(dim=1, keepdim=True).clamp_min(0)  # (B, 1, H, W)
    return (x - mean) / (variance + (1 / 255) ** 2).sqrt()
