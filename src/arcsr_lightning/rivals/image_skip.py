"""A skip in image space for networks that were published without one."""

from torch import Tensor, nn

from arcsr_lightning.blocks.initialisation import nearly_zero_
from arcsr_lightning.degradation import upsample
from arcsr_lightning.errors import InputError

SKIPS = (None, "bicubic")


class ImageSkip(nn.Module):
    """Adds to the image that a network has made the one that it has seen, enlarged bicubically; or adds nothing.

    With it a network need not learn the identity first: a fresh one is close to bicubic upscaling, as ArcSR's restorer
    is, because its last convolution then starts nearly at zero.

    Args:
        kind: "bicubic", or None for none: the network stays as it was published.
        last: the convolution that makes the image.
        scale: of the image made over the image seen.

    Shapes: made (B, 3, scale*H, scale*W) and seen (B, 3, H, W), in the same units -> as ``made``.

    Raises:
        InputError: an unknown ``kind``.
    """

    def __init__(self, kind: str | None, last: nn.Conv2d, scale: int) -> None:
        super().__init__()
        if kind not in SKIPS:
            raise InputError(f"skip must be null or bicubic, got {kind!r}")
        self.kind = kind
        self.scale = scale
        if kind:
            nearly_zero_(last)

    def forward(self, made: Tensor, seen: Tensor) -> Tensor:
        return made + upsample(seen, self.scale) if self.kind else made


def skip_added(network: nn.Module) -> str | None:
    """The kind of skip that was added to a network or to a part of it, None where it is as published."""
    return next((part.kind for part in network.modules() if isinstance(part, ImageSkip) and part.kind), None)
