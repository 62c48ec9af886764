"""A network that also tells where its last DMconv reads."""

import torch
from torch import Tensor, nn

from arcsr_lightning.blocks import DMConv
from arcsr_lightning.networks.restoration import Restoration


class Observed(nn.Module):
    """A network whose offsets come with its kernels, so that tiles are joined in both alike.

    Those of the last DMconv, which works on the finest level of the estimator: they count LR pixels. Not for an
    ensemble, whose turns are those of kernels.

    Args:
        network: any method; without DMconvs, or without kernels, what it restores is as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.layer = next((layer for layer in reversed(list(network.modules())) if isinstance(layer, DMConv)), None)
        self.taps = 0 if self.layer is None else self.layer.offset[-1].out_channels

    @property
    def scale(self) -> int:
        return self.network.scale

    def forward(self, lr: Tensor) -> Restoration:
        """``kernel`` is (B, ks*ks + taps, H, W), the offsets last, (dy, dx) for each tap; :meth:`split` parts them."""
        if self.layer is None:
            return self.network(lr)
        seen: list[Tensor] = []
        hook = self.layer.offset.register_forward_hook(lambda layer, inputs, offset: seen.append(offset))
        try:
            sr, kernel = self.network(lr)
        finally:
            hook.remove()
        if kernel is None:
            return Restoration(sr)
        offset = seen[-1][..., : lr.shape[-2], : lr.shape[-1]]  # without what the estimator pads
        return Restoration(sr, torch.cat([kernel, offset.to(kernel)], 1))

    def split(self, field: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What :meth:`forward` returns as ``kernel``, or tiles of it joined: the kernels, and the offsets if any."""
        if field is None or self.layer is None:
            return field, None
        return field[:, : -self.taps], field[:, -self.taps :]
