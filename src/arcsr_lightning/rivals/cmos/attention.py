"""CMOS's grouping-interactive attention (GIA): two feature streams that gate each other."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.rivals.cmos.hrnet import conv_bn


class GIA(nn.Module):
    """Align the first stream with the second, let their channels and their positions interact, merge both parts.

    The interactions enter the gates through factors that start at zero: a fresh GIA gates each stream by itself.

    Args:
        channels: C, divisible by ``groups``.
        groups: r, into which the channels of a stream are grouped to meet those of the other.
        window: (rows, columns) within which positions meet.
        first_channels: C1 of the first stream; C where not given.

    Shapes: (B, C1, H1, W1), (B, C, H, W) of any size -> both (B, C, H, W).

    Raises:
        InputError: channels that do not divide into groups.
    """

    def __init__(
        self, channels: int, groups: int, window: Sequence[int] = (15, 20), first_channels: int | None = None
    ) -> None:
        super().__init__()
        self.align = Align(first_channels or channels, channels)
        self.channel_part = ChannelPart(channels, groups)
        self.spatial_part = SpatialPart(channels, window)
        self.merge = pair(lambda: conv_bn(2 * channels, channels))

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        streams = [self.align(first, second), second]
        parts = zip(self.channel_part(streams), self.spatial_part(streams), strict=True)
        return each(self.merge, (torch.cat(both, dim=1) for both in parts))


class Align(nn.Module):
    """Bring the first stream to the size and place of the second by an estimated flow.

    Shapes: (B, C1, H1, W1), (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, first_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(c, channels, 1, bias=False) for c in (first_channels, channels))
        self.flow = nn.Conv2d(2 * channels, 2, 3, padding=1, bias=False)
        self.leave = nn.Conv2d(first_channels, channels, 3, padding=1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        coarse, fine = each(self.reduce, (first, second))
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)
        flow = self.flow(torch.cat([coarse, fine], dim=1))  # (B, 2, H, W)
        return self.leave(warp(first, flow))


class ChannelPart(nn.Module):
    """Gate channels by their means and by how groups of channels relate across streams.

    Shapes: two of (B, C, H, W) -> two of the same.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        if channels % groups:
            raise InputError(
                f"{channels} channels do not divide into {groups} groups; change cmos.estimator_width and "
                "cmos.groups, or cmos.code and cmos.code_groups"
            )
        self.groups = groups
        self.enter = pair(lambda: conv_bn_act(channels))
        self.squeeze = pair(lambda: conv_bn(channels, channels, 1))
        self.relate = pair(
            lambda: nn.Sequential(nn.Linear(groups**2, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
        )
        self.strength = nn.Parameter(torch.zeros(2))  # of the interaction, per stream
        self.leave = pair(lambda: conv_bn(channels, channels))

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        features = each(self.enter, streams)
        means = (x.mean((2, 3), keepdim=True) for x in features)
        vectors = [vector.flatten(1) for vector in each(self.squeeze, means)]  # (B, C)
        affinity = group_affinity(*vectors, self.groups)  # (B, r, r)
        related = each(self.relate, (affinity.flatten(1), affinity.mT.flatten(1)))  # (B, C)
        gates = (torch.sigmoid(v + c * r) for v, c, r in zip(vectors, self.strength, related, strict=True))
        return each(self.leave, (x * gate[..., None, None] for x, gate in zip(features, gates, strict=True)))


class SpatialPart(nn.Module):
    """Gate positions by their own features and by how they relate to all positions of their window across streams.

    The convolution within the windows serves these relations alone; scored and gated is what it was given.

    Shapes: two of (B, C, H, W) -> two of the same.
    """

    def __init__(self, channels: int, window: Sequence[int]) -> None:
        super().__init__()
        self.window = tuple(window)
        rows, columns = self.window
        self.enter = pair(lambda: conv_bn_act(channels))
        self.within = pair(lambda: conv_bn_act(channels))
        self.score = pair(lambda: nn.Conv2d(channels, 1, 1))
        self.relate = pair(lambda: nn.Linear(rows * columns, 1))
        self.strength = nn.Parameter(torch.zeros(2))  # of the interaction, per stream
        self.leave = pair(lambda: conv_bn(channels, channels))

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        height, width = streams[0].shape[-2:]
        windows = [to_windows(x, self.window) for x in each(self.enter, streams)]  # (N, C, rows, columns), N windows
        first, second = (x.flatten(2) for x in each(self.within, windows))  # (N, C, P), P positions of a window
        relations = zip(self.relate, (first, second), (second, first), strict=True)
        related = [weighted_affinity(x, other, r.weight, r.bias) for r, x, other in relations]  # (N, 1, P)
        scores = each(self.score, windows)  # (N, 1, rows, columns)
        gates = (torch.sigmoid(a + s * r.view_as(a)) for a, s, r in zip(scores, self.strength, related, strict=True))
        gated = (x * gate for x, gate in zip(windows, gates, strict=True))
        return each(self.leave, (from_windows(x, height, width) for x in gated))


def group_affinity(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """Products of every group of channels with every group of the other stream: (B, C) twice -> (B, r, r)."""
    return first.unflatten(1, (groups, -1)) @ second.unflatten(1, (groups, -1)).mT


def weighted_affinity(x: Tensor, other: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The products of every position of ``x`` with all of ``other``, summed by ``weight``, and ``bias``.

    A linear layer on the (N, P, P) products, which are P times as large as the result, and so never made: the positions
    of ``other`` are summed first.

    Shapes: x and other (N, C, P), weight (1, P), bias (1,) -> (N, 1, P).
    """
    return F.linear(other, weight).mT @ x + bias


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample ``x``, stretched to the size of ``flow``, at positions displaced by it.

    x (B, C, H1, W1), flow (B, 2, H, W) as (right, down) in half pixels of (H, W) -> (B, C, H, W). Zero flow is bilinear
    interpolation with aligned corners; zeros are read beyond the border.
    """
    height, width = flow.shape[-2:]
    flow = flow.float()  # positions in half precision would be off by pixels
    down = torch.linspace(-1, 1, height, device=flow.device)[:, None] + flow[:, 1] / height
    right = torch.linspace(-1, 1, width, device=flow.device) + flow[:, 0] / width
    return F.grid_sample(x.float(), torch.stack([right, down], dim=-1), align_corners=True).to(x.dtype)


def to_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut (B, C, H, W), mirrored at the right and below to full windows -> (B * n, C, rows, columns)."""
    rows, columns = window
    tiles = mirror_to_multiple(mirror_to_multiple(x, -2, rows), -1, columns)
    tiles = tiles.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # (B, C, down, rows, right, columns)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def from_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """The inverse of ``to_windows``: (B * n, C, rows, columns) -> (B, C, height, width)."""
    rows, columns = windows.shape[-2:]
    down, right = ceil_div(height, rows), ceil_div(width, columns)
    tiles = windows.unflatten(0, (-1, down, right)).permute(0, 3, 1, 4, 2, 5)  # (B, C, down, rows, right, columns)
    return tiles.flatten(4, 5).flatten(2, 3)[..., :height, :width]


def mirror_to_multiple(x: Tensor, dim: int, multiple: int) -> Tensor:
    """Lengthen ``x`` along ``dim`` by reflection, back and forth where one reflection is not long enough."""
    length = x.shape[dim]
    if length % multiple == 0:
        return x
    period = max(2 * (length - 1), 1)
    there = torch.arange(ceil_div(length, multiple) * multiple, device=x.device) % period
    return x.index_select(dim, torch.minimum(there, period - there))


def check_training_batch(x: Tensor) -> None:
    """Raise InputError for a single image: the batch norms of pooled features have nothing to compare it with."""
    if len(x) < 2:
        raise InputError(
            "CMOS normalises pooled features over the batch, so that training needs two images on every device; "
            "set data.batch_size=2 or more"
        )


def conv_bn_act(channels: int) -> nn.Sequential:
    """A convolution of GIA with its activation."""
    return nn.Sequential(conv_bn(channels, channels), nn.LeakyReLU(0.01, inplace=True))


def pair(make: Callable[[], nn.Module]) -> nn.ModuleList:
    """A module for either stream."""
    return nn.ModuleList([make(), make()])


def each(modules: Iterable[nn.Module], streams: Iterable[Tensor]) -> list[Tensor]:
    """Every module of its own stream."""
    return [module(x) for module, x in zip(modules, streams, strict=True)]
