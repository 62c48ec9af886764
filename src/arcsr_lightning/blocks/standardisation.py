"""What brings the channels of an input to one scale."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Standardisation(nn.Module):
    """Subtract the mean of every channel and divide by its standard deviation, as known from all batches so far.

    In training, too: batch normalisation uses the batch's own statistics there, and those of a few crops say which
    pictures they are of. What a network learns behind them is not what it meets afterwards.

    For an input whose statistics do not change while the network learns. No ``nn.BatchNorm2d``, which Lightning
    replaces under ``sync_batchnorm``, though its buffers have the same names: of several processes those of the first
    count, as it sends them to the others.

    Args:
        channels: C.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._observe(x.detach())
        # Clones, as the next batch changes the statistics before this one may be gone backwards through.
        return F.batch_norm(x, self.running_mean.clone(), self.running_var.clone())

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        """Make the statistics those of one batch more; all batches count alike."""
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        ahead = mean - self.running_mean
        self.running_mean += share * ahead
        spread = variance + ahead * (mean - self.running_mean)  # Welford: that between batches, too
        self.running_var += share * (spread - self.running_var)
