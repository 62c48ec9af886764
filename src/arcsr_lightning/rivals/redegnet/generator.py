"""The generator: content, degraded as a code says."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.rivals.redegnet.pyramid import pyramid_widths, spectral_conv


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True) -> Tensor:
    """Convolve every sample with weights of its own: ``weight`` times the sample's style, per input channel.

    Demodulation scales the weights of a sample and output channel to unit norm. Scaling the input and the output is
    the same and needs no weights per sample.

    Shapes: x (B, C, H, W), weight (O, C, k, k) with odd k, style (B, C) -> (B, O, H, W), zero "same" padding.
    """
    y = F.conv2d(x * style[..., None, None], weight, padding=weight.shape[-1] // 2)
    if demodulate:
        energy = style.square() @ weight.square().sum((2, 3)).T  # (B, O)
        y = y * torch.rsqrt(energy + 1e-8)[..., None, None]
    return y


class Generator(nn.Module):
    """Features of a sharp image, and a code -> a degraded image; a generator like StyleGAN2's.

    Args:
        image_size, width, widest, code: as for ``DegNet``.
        style_layers: fully connected layers between code and style.

    Shapes: the maps of ``ContentEncoder`` and (B, code) -> (B, 3, S, S) in [-1, 1].

    Every size has two styled layers, 4x4 has one. To the first of a size the content of that size is added, times a
    factor that starts at zero: a fresh generator sees only the deepest map.
    """

    def __init__(
        self, image_size: int = 256, width: int = 64, widest: int = 512, code: int = 512, style_layers: int = 8
    ) -> None:
        super().__init__()
        widths = pyramid_widths(image_size, width, widest)[::-1]  # coarsest first
        coarser = widths[:1] + widths[:-1]
        self.style = nn.Sequential(*(nn.Sequential(dense(code, code), nn.LeakyReLU(0.2)) for _ in range(style_layers)))
        self.start = spectral_conv(widths[0], widths[0])
        self.strength = nn.Parameter(torch.zeros(len(widths)))  # of the content, per size
        self.firsts = nn.ModuleList(StyledLayer(*channels, code) for channels in zip(coarser, widths, strict=True))
        self.seconds = nn.ModuleList(StyledLayer(channels, channels, code) for channels in widths[1:])
        self.to_rgb = nn.ModuleList(ToRGB(channels, code) for channels in widths)

    def forward(self, content: list[Tensor], code: Tensor) -> Tensor:
        deepest, *others = content
        added = [factor * features for factor, features in zip(self.strength, others, strict=True)]
        style = self.style(pixel_norm(code))
        x = self.firsts[0](F.leaky_relu(self.start(deepest), 0.2), style, added[0])  # (B, widest, 4, 4)
        rgb = self.to_rgb[0](x, style)
        layers = zip(self.firsts[1:], self.seconds, self.to_rgb[1:], added[1:], strict=True)
        for first, second, to_rgb, features in layers:
            x = second(first(double(x), style, features), style)  # twice the side
            rgb = to_rgb(x, style, double(rgb))
        return rgb


class StyledLayer(nn.Module):
    """A modulated convolution, to which features may be added; then an ordinary convolution.

    Shapes: x (B, in_channels, H, W), style (B, code), added (B, out_channels, H, W) -> (B, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, code: int) -> None:
        super().__init__()
        self.modulation = modulation(code, in_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.convolution = spectral_conv(out_channels, out_channels)

    def forward(self, x: Tensor, style: Tensor, added: Tensor | float = 0.0) -> Tensor:
        y = modulated_conv2d(x, equalised(self.weight), self.modulation(style))
        return F.leaky_relu(self.convolution(y + added), 0.2)


class ToRGB(nn.Module):
    """Features -> image in [-1, 1], on top of the image of the size before."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.modulation = modulation(code, channels)
        self.weight = nn.Parameter(torch.randn(3, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, coarser: Tensor | float = 0.0) -> Tensor:
        rgb = modulated_conv2d(x, equalised(self.weight), self.modulation(style), demodulate=False)
        return torch.tanh(rgb + self.bias + coarser)


def equalised(weight: Tensor) -> Tensor:
    """Divide weights (O, C, k, k) of unit variance by sqrt(C * k * k).

    Divided in every call rather than once, all weights move under Adam by the same share of their spread.
    """
    return weight / math.sqrt(weight[0].numel())


def modulation(code: int, channels: int) -> nn.Linear:
    """Style -> one factor per channel, about one at first."""
    layer = dense(code, channels)
    nn.init.ones_(layer.bias)
    return layer


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer that neither fades nor amplifies: eight of them follow each other."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    nn.init.zeros_(layer.bias)
    return layer


def pixel_norm(code: Tensor) -> Tensor:
    """Scale a code (B, C) to mean square one."""
    return code * torch.rsqrt(code.square().mean(dim=1, keepdim=True) + 1e-8)


def double(x: Tensor) -> Tensor:
    """Enlarge twofold, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
