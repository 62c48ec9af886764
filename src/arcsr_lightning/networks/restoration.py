"""What every method of this package returns."""

from typing import NamedTuple

from torch import Tensor


class Restoration(NamedTuple):
    """The result of ``network(lr)``.

    ``sr`` is the restored image, (B, 3, s*H, s*W), RGB, nominally in [0, 1] but not clamped. ``kernel`` is the
    estimated per-pixel blur kernel on the LR grid, (B, ks*ks, H, W), taps row-major, or None where the method
    estimates none.
    """

    sr: Tensor
    kernel: Tensor | None = None
