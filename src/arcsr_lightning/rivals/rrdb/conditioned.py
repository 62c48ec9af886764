"""RRDB trunk told of the degradation by a map of codes: MANet's non-blind network, also used by CMOS."""

from torch import Tensor, nn

from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.rrdb.dense import RESIDUAL_SCALE, ResidualDenseBlock
from arcsr_lightning.rivals.rrdb.sft import SFT


class ConditionedRRDB(nn.Module):
    """An RRDB whose dense blocks read features that the code map has transformed.

    Args:
        width, growth: as ``RRDB``.
        code: channels of the code map.

    Shapes: features (B, width, H, W), code map (B, code, H, W) -> (B, width, H, W).
    """

    def __init__(self, width: int, code: int, growth: int) -> None:
        super().__init__()
        self.sft = SFT(width, code)
        self.dense_blocks = nn.Sequential(*(ResidualDenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor, code_map: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * self.dense_blocks(self.sft(x, code_map))


class RRDBSFT(nn.Module):
    """LR image and code map -> SR image: a trunk of conditioned RRDBs with a skip in feature space, pixel shuffle.

    Every block sees the same code map.

    Args:
        scale: 1 or more.
        width: channels (64 as published).
        blocks: conditioned RRDBs (10 as published).
        code: channels of the code map (15 in MANet, 64 in CMOS).
        growth: growth channels of the dense blocks (32 as published).
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size, and code map (B, code, H, W)
    -> (B, 3, scale*H, scale*W), not clamped.
    """

    def __init__(
        self,
        scale: int = 4,
        width: int = 64,
        blocks: int = 10,
        code: int = 15,
        growth: int = 32,
        skip: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.code = code
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(ConditionedRRDB(width, code, growth) for _ in range(blocks))
        self.fuse = nn.Conv2d(width, width, 3, padding=1)
        self.upsample = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.skip = ImageSkip(skip, self.upsample[0], scale)

    def forward(self, lr: Tensor, code_map: Tensor) -> Tensor:
        shallow = self.head(lr)
        features = shallow
        for block in self.blocks:
            features = block(features, code_map)
        return self.skip(self.upsample(shallow + self.fuse(features)), lr)
