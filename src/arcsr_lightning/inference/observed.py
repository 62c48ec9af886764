"""A network that also tells where its last DMconv reads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from arcsr_lightning.blocks import DMConv
from arcsr_lightning.networks.restoration import Restoration


def last_dmconv(network: nn.Module) -> DMConv | None:
    """The DMconv that works on the finest level of the estimator, if there is one: its offsets count LR pixels."""
    return next((layer for layer in reversed(list(network.modules())) if isinstance(layer, DMConv)), None)


@contextmanager
def offsets_of(layer: DMConv) -> Iterator[list[Tensor]]:
    """The offsets of every pass of a DMconv while this lasts, (B, 2 * taps, H, W), (dy, dx) for each tap.

    H and W are those of the LR image rounded up to what the estimator halves: it pads on the right and below.
    """
    seen: list[Tensor] = []
    hook = layer.offset.register_forward_hook(lambda layer, inputs, offset: seen.append(offset))
    try:
        yield seen
    finally:
        hook.remove()


class Observed(nn.Module):
    """A network whose offsets come with its kernels, so that tiles are joined in both alike.

    Those of :func:`last_dmconv`. Not for an ensemble, whose turns are those of kernels.

    Args:
        network: any method; without DMconvs, or without kernels, what it restores is as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.layer = last_dmconv(network)
        self.taps = 0 if self.layer is None else self.layer.offset[-1].out_channels

    @property
    def scale(self) -> int:
        return self.network.scale

    def forward(self, lr: Tensor) -> Restoration:
        """``kernel`` is (B, ks*ks + taps, H, W), the offsets last, (dy, dx) for each tap; :meth:`split` parts them."""
        if self.layer is None:
            return self.network(lr)
        with offsets_of(self.layer) as seen:
            sr, kernel = self.network(lr)
        if kernel is None:
            return Restoration(sr)
        offset = seen[-1][..., : lr.shape[-2], : lr.shape[-1]]  # without what the estimator pads
        return Restoration(sr, torch.cat([kernel, offset.to(kernel)], 1))

    def split(self, field: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What :meth:`forward` returns as ``kernel``, or tiles of it joined: the kernels, and the offsets if any."""
        if field is None or self.layer is None:
            return field, None
        return field[:, : -self.taps], field[:, -self.taps :]
