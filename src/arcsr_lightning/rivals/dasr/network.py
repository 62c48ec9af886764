"""DASR: one learned degradation vector per image, and a restorer that it adapts (Wang et al., CVPR 2021)."""

import torch
from torch import Tensor, nn

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.dasr.blocks import SLOPE, DAGroup
from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.upsampling import ShuffledUp

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of the publication's training images


class DegradationEncoder(nn.Module):
    """LR image -> a vector that tells its degradation, the same for all its pixels.

    Args:
        width: channels of the first two convolutions; the vector has four times as many elements.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> (B, 4*width).

    ``head`` maps the vector to the space of the contrastive loss; restoring does without it.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.dimension = 4 * width
        self.trunk = nn.Sequential(
            *stage(3, width),
            *stage(width, width),
            *stage(width, 2 * width, stride=2),
            *stage(2 * width, 2 * width),
            *stage(2 * width, 4 * width, stride=2),
            *stage(4 * width, 4 * width),
        )
        self.head = nn.Sequential(nn.Linear(4 * width, 4 * width), nn.LeakyReLU(SLOPE), nn.Linear(4 * width, 4 * width))

    def forward(self, lr: Tensor) -> Tensor:
        return self.trunk(255 * lr).mean(dim=(2, 3))


class DASRRestorer(nn.Module):
    """LR image and degradation vector -> SR image: groups of degradation-aware blocks, then pixel shuffle.

    Args:
        scale: 2, 3 or 4.
        width: channels, 8 or more, as the encoder's.
        groups: in a row.
        blocks: in each group.
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W), and vectors (B, 4*width) -> (B, 3, scale*H, scale*W), not clamped.

    Raises:
        ValueError: a scale other than 2, 3, 4, or ``width`` below 8.
    """

    def __init__(
        self, scale: int = 4, width: int = 64, groups: int = 5, blocks: int = 5, skip: str | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        # Constants: the publication stores them as two frozen 1x1 convolutions of 12 values each.
        self.register_buffer("mean", 255 * torch.tensor(RGB_MEAN)[:, None, None], persistent=False)
        self.compress = nn.Sequential(nn.Linear(4 * width, width, bias=False), nn.LeakyReLU(SLOPE))
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.groups = nn.ModuleList(DAGroup(width, blocks) for _ in range(groups))
        self.body_tail = nn.Conv2d(width, width, 3, padding=1)
        self.upsample = ShuffledUp(width, scale)
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        self.skip = ImageSkip(skip, self.tail, scale)

    def forward(self, lr: Tensor, degradation: Tensor) -> Tensor:
        code = self.compress(degradation)  # (B, width), shared by all blocks
        seen = 255 * lr - self.mean
        shallow = self.head(seen)
        features = shallow
        for group in self.groups:
            features = group(features, code)
        features = shallow + self.body_tail(features)
        sr = self.skip(self.tail(self.upsample(features)), seen)  # (B, 3, sH, sW)
        return (sr + self.mean) / 255


class DASR(nn.Module):
    """Unsupervised degradation representation: what differs between images, not within one, is their degradation.

    Misspecified for blur that varies within an image: the code is one vector for all pixels (patches of the image may
    change places and it hardly changes), so it can at best tell an average of the blurs present. It is learned from
    pairs of crops on the assumption that crops of one image share their degradation and crops of others do not. Under
    spatially varying blur two crops of one image differ, and neighbouring frames of a video differ too little.

    Args:
        encoder: ``DegradationEncoder``.
        restorer: ``DASRRestorer`` of the same width; gives the network its ``scale``.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> ``Restoration`` of sr (B, 3, scale*H, scale*W), kernel None. An
    image restored in tiles gets a vector for each tile.
    """

    def __init__(self, encoder: nn.Module, restorer: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.restorer = restorer

    @property
    def scale(self) -> int:
        return self.restorer.scale

    def forward(self, lr: Tensor) -> Restoration:
        degradation = self.encoder(lr)  # (B, 4*width)
        return Restoration(self.restorer(lr, degradation))


def stage(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """The layers of one step of the encoder."""
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
