"""Bicubic resizing by whole factors, equal to MATLAB's ``imresize(x, factor, 'bicubic')``."""

import torch
import torch.nn.functional as F
from torch import Tensor


def downsample(x: Tensor, scale: int) -> Tensor:
    """Shrink by antialiased bicubic interpolation.

    Args:
        x: (..., H, W), 3 or 4 dimensions.
        scale: 1 or more.

    Returns:
        (..., H/scale, W/scale). Bicubic weights overshoot: the result of an image in [0, 1] may leave it a little.

    Raises:
        ValueError: H or W is no multiple of ``scale``.
    """
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} needs H and W divisible by {scale}, got {height}x{width}; crop the image")
    return _resize(x, height // scale, width // scale, margin=4 * scale, margin_out=4)


def upsample(x: Tensor, scale: int) -> Tensor:
    """Enlarge by bicubic interpolation.

    Args:
        x: (..., H, W), 3 or 4 dimensions.
        scale: 1 or more.

    Returns:
        (..., H*scale, W*scale); the result of an image in [0, 1] may leave it a little.
    """
    height, width = x.shape[-2:]
    return _resize(x, height * scale, width * scale, margin=4, margin_out=4 * scale)


def _resize(x: Tensor, height: int, width: int, margin: int, margin_out: int) -> Tensor:
    # torch renormalises the weights at the border where MATLAB mirrors the image; with a margin both agree.
    # antialias=True also selects MATLAB's cubic (a = -0.5) when upsampling; antialias=False has a = -0.75.
    padded = _mirror_pad(x if x.ndim == 4 else x[None], margin)
    size = (height + 2 * margin_out, width + 2 * margin_out)
    out = F.interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
    out = out[..., margin_out : margin_out + height, margin_out : margin_out + width]
    return out if x.ndim == 4 else out[0]


def _mirror_pad(x: Tensor, margin: int) -> Tensor:
    """Half-sample symmetric extension (the edge pixel repeats), periodic, hence for images of any size."""
    for dim in (-2, -1):
        size = x.shape[dim]
        index = torch.arange(-margin, size + margin, device=x.device)
        index = index % torch.full_like(index, 2 * size)  # ONNX has no remainder of a tensor and a size
        x = x.index_select(dim, torch.minimum(index, 2 * size - 1 - index))
    return x
