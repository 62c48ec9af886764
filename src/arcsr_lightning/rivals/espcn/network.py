"""ESPCN: the network that the pixel shuffle comes from (Shi et al., CVPR 2016)."""

from collections.abc import Sequence

from torch import Tensor, nn

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip


class ESPCN(nn.Module):
    """Three convolutions at LR size, of which the last gives the pixels of every scale x scale square as channels.

    It knows nothing of blur.

    Args:
        scale: 1 or more.
        widths: channels after the first two (64 and 32 as published).
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped; no kernel.
    """

    def __init__(
        self,
        scale: int = 4,
        widths: Sequence[int] = (64, 32),
        skip: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        coarse, fine = widths
        self.layers = nn.Sequential(
            nn.Conv2d(3, coarse, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(coarse, fine, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(fine, 3 * scale**2, 3, padding=1),
        )
        self.shuffle = nn.PixelShuffle(scale)
        self.skip = ImageSkip(skip, self.layers[-1], scale)

    def forward(self, lr: Tensor) -> Restoration:
        return Restoration(self.skip(self.shuffle(self.layers(lr)), lr))
