"""CMOS's estimator: blur amount and class of every HR pixel, coarse to fine."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.cmos.attention import GIA, check_training_batch, each, pair
from arcsr_lightning.rivals.cmos.hrnet import BasicBlock, HRNet, resize


class BlurMaps(NamedTuple):
    """What guides the restorer: ``blur`` (B, 1, sH, sW) in HR pixels and ``classes`` (B, sH, sW), whole numbers."""

    blur: Tensor
    classes: Tensor


class MapEstimate(NamedTuple):
    """``blur`` (B, 1, sH, sW) in HR pixels, not clamped, and ``logits`` (B, classes, sH, sW)."""

    blur: Tensor
    logits: Tensor

    def maps(self) -> BlurMaps:
        """The blur as it is and the likeliest class, which passes no gradient."""
        return BlurMaps(self.blur, self.logits.argmax(1))


class MapEstimator(nn.Module):
    """LR image -> blur map and class map at HR size, by two task streams that exchange features at every scale.

    With one class the second stream is there, yet says nothing: CMOS without semantics.

    Args:
        scale: of the maps over the LR image.
        classes: 1 or more.
        width, stem, modules: of the backbone; see ``HRNet``.
        groups: of GIA per scale, finest first; each must divide its scale's channels, width * 2^i.
        window: of GIA, (rows, columns) in pixels of every scale.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> ``MapEstimate``.

    Raises:
        InputError: groups that do not fit the scales or their channels; a training batch of a single image.
    """

    def __init__(
        self,
        scale: int = 4,
        classes: int = 1,
        width: int = 18,
        stem: int = 64,
        modules: Sequence[int] = (1, 3, 2),
        groups: Sequence[int] = (3, 6, 8, 12),
        window: Sequence[int] = (15, 20),
    ) -> None:
        super().__init__()
        self.scale = scale
        self.classes = classes
        self.backbone = HRNet(width, stem, modules)
        widths = self.backbone.widths
        if len(groups) != len(widths):
            raise InputError(f"cmos.groups needs one entry for each of the {len(widths)} scales, got {list(groups)}")
        scales = list(zip(widths, groups, strict=True))
        self.blocks = nn.ModuleList(pair(lambda c=c: nn.Sequential(BasicBlock(c), BasicBlock(c))) for c in widths)
        self.meet = nn.ModuleList(GIA(c, r, window) for c, r in scales[1:])
        self.refine = nn.ModuleList(
            pair(lambda c=c, r=r: GIA(c, r, window, first_channels=2 * c)) for c, r in scales[:-1]
        )
        self.early_heads = nn.ModuleList(nn.Conv2d(width, outputs, 1) for outputs in (1, classes))
        self.meet_again = nn.ModuleList(GIA(c, r, window) for c, r in scales)
        self.heads = nn.ModuleList(head(sum(widths), outputs) for outputs in (1, classes))
        # Of the images that backbones of this kind are trained on; kept out of the weights.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, lr: Tensor) -> MapEstimate:
        return self.estimates(lr)[-1]

    def estimates(self, lr: Tensor) -> tuple[MapEstimate, MapEstimate]:
        """The early estimates, which training supervises too, and the final ones."""
        if self.training:
            check_training_batch(lr)
        features = self.backbone((lr - self.mean) / self.std)
        tasks = self.coarse_to_fine(features)
        early = each(self.early_heads, tasks[0])
        met = [meet(*streams) for meet, streams in zip(self.meet_again, tasks, strict=True)]
        final = each(self.heads, (concat(stream) for stream in zip(*met, strict=True)))
        return MapEstimate(*map(self.enlarge, early)), MapEstimate(*map(self.enlarge, final))

    def coarse_to_fine(self, features: list[Tensor]) -> list[list[Tensor]]:
        """The two task streams of every scale, finest first."""
        streams = each(self.blocks[-1], (features[-1], features[-1]))
        tasks = [streams]
        for scale in reversed(range(len(features) - 1)):
            coarse = self.meet[scale](*streams)
            refined = (sum(gia(x, features[scale])) for gia, x in zip(self.refine[scale], coarse, strict=True))
            streams = each(self.blocks[scale], refined)
            tasks.insert(0, streams)
        return tasks

    def enlarge(self, x: Tensor) -> Tensor:
        """LR size -> HR size."""
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear")


def head(channels: int, outputs: int) -> nn.Sequential:
    """All scales of one task -> its map."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, outputs, 1),
    )


def concat(scales: Sequence[Tensor]) -> Tensor:
    """All scales at the size of the first."""
    return torch.cat([resize(x, scales[0].shape[-2:]) for x in scales], dim=1)
