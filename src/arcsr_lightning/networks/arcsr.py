"""Fig. 1(a): ArcSR, a kernel estimator and a restorer that it guides."""

from torch import Tensor, nn

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.networks.restorer import Restorer


class ArcSR(nn.Module):
    """Customised treatment per pixel: estimate one blur kernel per LR pixel, then restore with it (Sec. 3.2.1).

    Args:
        estimator: ``KernelEstimator``, or None for a restorer that needs no kernel.
        restorer: ``Restorer``; gives the network its ``scale``.

    Shapes: RGB in [0, 1], (B, 3, H, W) -> ``Restoration`` of sr (B, 3, scale*H, scale*W) and
    kernel (B, ks*ks, H, W), or kernel None without an estimator.
    """

    def __init__(self, estimator: nn.Module | None, restorer: Restorer) -> None:
        super().__init__()
        self.estimator = estimator
        self.restorer = restorer

    @property
    def scale(self) -> int:
        return self.restorer.scale

    def forward(self, lr: Tensor, kernel: Tensor | None = None) -> Restoration:
        """Restore ``lr``, guided by its estimated kernels or, where they are known, by ``kernel``."""
        if kernel is None and self.estimator is not None:
            kernel = self.estimator(lr)  # (B, ks*ks, H, W)
        sr = self.restorer(lr, kernel)  # (B, 3, sH, sW)
        return Restoration(sr, kernel)
