"""ESRGAN's generator (Wang et al., ECCV workshops 2018): the sanity line, and ReDegNet's SR network."""

from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.rrdb.dense import RRDB
from arcsr_lightning.rivals.upsampling import FACTORS


class RRDBNet(nn.Module):
    """A trunk of RRDBs with a skip in feature space, then nearest-neighbour enlargement with convolutions.

    It knows nothing of blur: one restoration for all degradations.

    Args:
        scale: 2, 3 or 4; 2 and 4 in steps of 2.
        width: channels (64 as published).
        blocks: RRDBs (23 as published).
        growth: growth channels of the dense blocks (32 as published).
        signed: work on images in [-1, 1] inside, as ReDegNet does.
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped; no kernel.

    Raises:
        ValueError: a scale other than 2, 3 or 4.
    """

    def __init__(
        self,
        scale: int = 4,
        width: int = 64,
        blocks: int = 23,
        growth: int = 32,
        signed: bool = False,
        skip: str | None = None,
    ) -> None:
        super().__init__()
        if scale not in FACTORS:
            raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
        self.scale = scale
        self.signed = signed
        self.factors = FACTORS[scale]
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.enlarge = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.factors)
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(width, 3, 3, padding=1)
        )
        self.skip = ImageSkip(skip, self.tail[-1], scale)

    def forward(self, lr: Tensor) -> Restoration:
        seen = 2 * lr - 1 if self.signed else lr
        features = self.head(seen)
        features = features + self.body(features)
        for factor, convolution in zip(self.factors, self.enlarge, strict=True):
            features = F.interpolate(features, scale_factor=factor, mode="nearest")  # factor times the size
            features = F.leaky_relu(convolution(features), 0.2)
        sr = self.skip(self.tail(features), seen)  # (B, 3, sH, sW)
        return Restoration((sr + 1) / 2 if self.signed else sr)
