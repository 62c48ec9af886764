"""JPEG coding of a batch: what most pictures of users have gone through."""

from torch import Tensor


def code_as_jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """Nearly the images that JPEG files of ``x`` hold (4:2:0, the standard's tables), on the device of ``x``.

    Args:
        x: (B, 3, H, W) of any H and W, RGB, clamped to [0, 1].
        quality: (B,), from 1 to 100, as image libraries count it; on the CPU, as it is looked at.

    Returns:
        (B, 3, H, W) in [0, 1]. Coefficients are rounded softly, so that gradients pass, which loses less than files do:
        0.5 to 0.7 dB up to quality 75, level at 90. Values are not rounded to 8 bits.
    """
    from kornia.enhance import jpeg_codec_differentiable  # here, as networks import this package too

    return jpeg_codec_differentiable(x.clamp(0, 1), quality.to(x.dtype)).clamp(0, 1)
