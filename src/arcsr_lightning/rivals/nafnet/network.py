"""NAFNet, a network for deblurring and denoising (Chen et al., ECCV 2022), put to super-resolution."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation import upsample
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.nafnet.blocks import NAFBlock


class NAFNet(nn.Module):
    """Enlarges by bicubic interpolation, then restores at HR size by the published U-Net, which adds its input.

    An LR image of 64x64 becomes the 256x256 that its publication counts operations for, and trains on. It knows nothing
    of blur, but was published to remove the motion blur of GoPro.

    Args:
        scale: 1 or more.
        width: channels at HR size, twice as many at each level below (64 as published, 32 for its smaller one).
        encoder: blocks of each level, finest first (1, 1, 1, 28 as published for GoPro).
        middle: blocks between encoder and decoder, below the deepest of its levels.
        decoder: blocks of each level, deepest first; as many levels as ``encoder``.
        window: of the channel attention, in HR pixels: half as much again as the training's crops.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped; no kernel.

    Raises:
        ValueError: encoder and decoder differ in their levels.
    """

    why_not_exported = (
        "its attention averages over windows that shrink with images smaller than they"  # by arcsr-export
    )

    def __init__(
        self,
        scale: int = 4,
        width: int = 64,
        encoder: Sequence[int] = (1, 1, 1, 28),
        middle: int = 1,
        decoder: Sequence[int] = (1, 1, 1, 1),
        window: int = 384,
    ) -> None:
        super().__init__()
        if len(encoder) != len(decoder):
            raise ValueError(f"encoder and decoder must have as many levels, got {[*encoder]} and {[*decoder]}")
        self.scale = scale
        levels = len(encoder)
        self.multiple = 2**levels  # HR sides are padded to this
        widths = [width * 2**level for level in range(levels + 1)]
        windows = [max(1, window // 2**level) for level in range(levels + 1)]

        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(
            level_of(blocks, widths[level], windows[level]) for level, blocks in enumerate(encoder)
        )
        self.downs = nn.ModuleList(nn.Conv2d(fine, 2 * fine, 2, stride=2) for fine in widths[:-1])
        self.middle = level_of(middle, widths[-1], windows[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * fine, 4 * fine, 1, bias=False), nn.PixelShuffle(2)) for fine in widths[-2::-1]
        )
        self.decoder = nn.ModuleList(
            level_of(blocks, widths[level], windows[level])
            for blocks, level in zip(decoder, reversed(range(levels)), strict=True)
        )
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Restoration:
        enlarged = upsample(lr, self.scale)  # (B, 3, sH, sW)
        height, width = enlarged.shape[-2:]
        below, right = ((self.multiple - side % self.multiple) % self.multiple for side in (height, width))
        features = self.head(F.pad(enlarged, (0, right, 0, below)))
        skips = []
        for level, down in zip(self.encoder, self.downs, strict=True):
            features = level(features)
            skips.append(features)
            features = down(features)  # half the size, twice the channels
        features = self.middle(features)
        for up, level in zip(self.ups, self.decoder, strict=True):
            features = level(up(features) + skips.pop())
        return Restoration(enlarged + self.tail(features)[..., :height, :width])


def level_of(blocks: int, channels: int, window: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels, window) for _ in range(blocks)))
