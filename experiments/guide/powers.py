"""A restorer that is guided by a power of the kernel: sharper than the estimate above one, blunter below."""

from typing import Any

from torch import Tensor

from arcsr_lightning.networks import Restorer


class PowerRestorer(Restorer):
    """``Restorer``, with the power."""

    def __init__(self, power: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.power = power

    def forward(self, lr: Tensor, kernel: Tensor) -> Tensor:
        other = kernel**self.power
        return super().forward(lr, other / other.sum(1, keepdim=True))
