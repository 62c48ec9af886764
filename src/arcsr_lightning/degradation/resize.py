"""Bicubic resizing by whole factors, equal to MATLAB's ``imresize(x, factor, 'bicubic')``."""

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 2  # pixels of the smaller image, on either side of one, that its bicubic weights cover


def downsample(x: Tensor, scale: int, margin: int = 0) -> Tensor:
    """Shrink by antialiased bicubic interpolation.

    Args:
        x: (..., H, W), 3 or 4 dimensions.
        scale: 1 or more.
        margin: pixels of the small image, on every side of it, that are not asked for: what they are made of only lends
            to the others, in place of the mirrored image.

    Returns:
        (..., H/scale - 2 margin, W/scale - 2 margin). Bicubic weights overshoot: the result of an image in [0, 1] may
        leave it a little.

    Raises:
        ValueError: H or W is no multiple of ``scale``.
    """
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} needs H and W divisible by {scale}, got {height}x{width}; crop the image")
    lacks = max(REACH - margin, 0)
    out = _resize(_mirror_pad(x, lacks * scale), height // scale + 2 * lacks, width // scale + 2 * lacks)
    return crop_border(out, margin + lacks)


def upsample(x: Tensor, scale: int) -> Tensor:
    """Enlarge by bicubic interpolation.

    Args:
        x: (..., H, W), 3 or 4 dimensions.
        scale: 1 or more.

    Returns:
        (..., H*scale, W*scale); the result of an image in [0, 1] may leave it a little.
    """
    height, width = (side + 2 * REACH for side in x.shape[-2:])
    return crop_border(_resize(_mirror_pad(x, REACH), height * scale, width * scale), REACH * scale)


def crop_border(x: Tensor, border: int) -> Tensor:
    """``x`` (..., H, W) less ``border`` pixels on every side, a view."""
    height, width = x.shape[-2:]
    return x[..., border : height - border, border : width - border]


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bicubic interpolation, but at the border, where torch renormalises the weights and MATLAB mirrors the image."""
    # antialias=True also selects MATLAB's cubic (a = -0.5) when upsampling; antialias=False has a = -0.75.
    images = x if x.ndim == 4 else x[None]
    out = F.interpolate(images, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return out if x.ndim == 4 else out[0]


def _mirror_pad(x: Tensor, margin: int) -> Tensor:
    """Half-sample symmetric extension (the edge pixel repeats), periodic, hence for images of any size."""
    if not margin:
        return x
    for dim in (-2, -1):
        size = x.shape[dim]
        index = torch.arange(-margin, size + margin, device=x.device)
        index = index % torch.full_like(index, 2 * size)  # ONNX has no remainder of a tensor and a size
        x = x.index_select(dim, torch.minimum(index, 2 * size - 1 - index))
    return x
