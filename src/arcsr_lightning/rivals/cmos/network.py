"""CMOS (Chen et al., CVPR 2023): estimate a blur map and a class map, then restore with them."""

from collections.abc import Sequence

from torch import Tensor, nn

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.cmos.attention import GIA, check_training_batch
from arcsr_lightning.rivals.cmos.estimator import BlurMaps
from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT


class MapRestorer(nn.Module):
    """LR image and its maps at HR size -> SR image.

    Args:
        scale, width, blocks, code, skip: of the ``RRDBSFT``; the maps meet in ``code`` channels.
        groups, window: of the GIA in which the maps meet, the window in HR pixels; groups must divide ``code``.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size, and ``BlurMaps`` -> (B, 3, scale*H, scale*W), not clamped.

    Raises:
        InputError: groups that do not divide ``code``; a training batch of a single image.
    """

    def __init__(
        self,
        scale: int = 4,
        width: int = 64,
        blocks: int = 10,
        code: int = 64,
        groups: int = 8,
        window: Sequence[int] = (15, 20),
        skip: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.blur_features = nn.Conv2d(1, code, 3, padding=1)
        self.class_features = nn.Conv2d(1, code, 3, padding=1)
        self.meet = GIA(code, groups, window)
        self.restore = RRDBSFT(scale, width, blocks, code, skip=skip)

    def forward(self, lr: Tensor, maps: BlurMaps) -> Tensor:
        if self.training:
            check_training_batch(lr)
        blur = self.blur_features(maps.blur)
        classes = self.class_features(maps.classes[:, None].to(maps.blur.dtype))  # their numbers, as published
        code_map = sum(self.meet(blur, classes))  # (B, code, sH, sW)
        return self.restore(lr, code_map[..., :: self.scale, :: self.scale])


class CMOS(nn.Module):
    """Blur amount and class of every HR pixel guide the restorer.

    A blur map is one number per pixel: of a motion blur it keeps the length and loses the direction.

    Args:
        estimator: ``MapEstimator``.
        restorer: ``MapRestorer``; gives the network its ``scale``.

    Shapes: RGB in [0, 1], (B, 3, H, W) -> ``Restoration`` of sr (B, 3, scale*H, scale*W) and kernel None.
    """

    why_not_exported = (
        "its attention cuts the image into windows, whose number changes which steps are taken"  # by arcsr-export
    )

    def __init__(self, estimator: nn.Module, restorer: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator
        self.restorer = restorer

    @property
    def scale(self) -> int:
        return self.restorer.scale

    def forward(self, lr: Tensor, maps: BlurMaps | None = None) -> Restoration:
        """Restore ``lr``, guided by its estimated maps or, where they are known, by ``maps``."""
        if maps is None:
            maps = self.estimator(lr).maps()
        return Restoration(self.restorer(lr, maps))
