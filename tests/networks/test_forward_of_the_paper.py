"""ArcSR stated a second time, from Sec. 3.2 and Fig. 1 and the choices of docs/paper_notes.md.

A function of the weights and the image, in float64, by loops over taps and levels; no part of the package is used but
to make the networks that it is compared with. Their weights are random, biases too, and none is near zero: whatever is
left out, swapped or added shows.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import BilinearUp, ConcatConv, DMConv, KGConv, OrdinaryConv, PlainConv, TransposedUp
from arcsr_lightning.networks import ArcSR, CueEstimator, KernelEstimator, Restorer
from arcsr_lightning.operators import motion_cues  # by loops over pixels in tests/operators/test_motion_cues.py

Weights = dict[str, Tensor]


def part(weights: Weights, name: str) -> Weights:
    """The weights whose names begin with ``name.``, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}


def convolved(x: Tensor, weights: Weights) -> Tensor:
    """Stride 1, zeros around, as large as before."""
    return F.conv2d(x, weights["weight"], weights.get("bias"), padding=weights["weight"].shape[-1] // 2)


def moved(x: Tensor, down: int, right: int) -> Tensor:
    """x at p + (down, right) for every pixel p, zeros beyond the image."""
    *_, height, width = x.shape
    big = F.pad(x, (abs(right), abs(right), abs(down), abs(down)))
    top, left = abs(down) + down, abs(right) + right
    return big[..., top : top + height, left : left + width]


def taps(ks: int) -> list[tuple[int, int]]:
    """(down, right) of the taps of a window, row by row."""
    reach = range(-(ks // 2), ks // 2 + 1)
    return list(itertools.product(reach, reach))


# --- Sec. 3.2.2, Fig. 1(b) ---


def sampled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x (B, C, H, W) at the places (B, H, W), bilinearly, zeros beyond the image."""
    _, channels, height, width = x.shape
    out = torch.zeros_like(x)
    for row, column in itertools.product((rows.floor(), rows.floor() + 1), (columns.floor(), columns.floor() + 1)):
        share = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
        values = x.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, channels, -1)).view_as(x)
        out += (share * inside)[:, None] * values
    return out


def deformed(x: Tensor, offset: Tensor, weights: Weights) -> Tensor:
    """A 3x3 convolution whose taps are moved at every pixel: (dy, dx) for each tap, taps row by row."""
    height, width = x.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    out = weights["bias"].view(1, -1, 1, 1)
    for number, (down, right) in enumerate(taps(3)):
        seen = sampled(x, rows + down + offset[:, 2 * number], columns + right + offset[:, 2 * number + 1])
        out = out + torch.einsum("oc,bchw->bohw", weights["weight"][:, :, 1 + down, 1 + right], seen)
    return out


def dmconv(x: Tensor, quarter: int, weights: Weights) -> Tensor:
    """Split; two convolutions give the offset; deform the quarter; concatenate; fuse."""
    size = x.shape[1] // 4
    own = x[:, quarter * size : (quarter + 1) * size]
    others = torch.cat([x[:, : quarter * size], x[:, (quarter + 1) * size :]], dim=1)
    hidden = F.relu(convolved(others, part(weights, "offset.0")))
    offset = convolved(hidden, part(weights, "offset.2"))
    own = deformed(own, offset, part(weights, "deform"))
    return convolved(torch.cat([own, others], dim=1), part(weights, "fuse"))


def dm_block(x: Tensor, weights: Weights) -> Tensor:
    """4 DMconvs, or ordinary ones, with other quarters, ReLUs between them, and a skip."""
    y = x
    for number in range(4):
        own = part(weights, f"convolutions.{number}")
        y = convolved(y, own) if "weight" in own else dmconv(y, number, own)
        y = F.relu(y) if number < 3 else y
    return x + y


# --- Sec. 3.2.1, Fig. 1(a): the U-Net ---


def u_net_level(x: Tensor, weights: Weights) -> Tensor:
    return dm_block(dm_block(x, part(weights, "0")), part(weights, "1"))


def halved(x: Tensor, weights: Weights) -> Tensor:
    """A 2x2 convolution of stride 2, pixel by pixel of its window."""
    out = weights["bias"].view(1, -1, 1, 1)
    for i, j in itertools.product(range(2), repeat=2):
        out = out + torch.einsum("oc,bchw->bohw", weights["weight"][:, :, i, j], x[..., i::2, j::2])
    return out


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Bilinear, pixels as squares, the last ones repeated."""
    for dim in (2, 3):
        size = x.shape[dim]
        place = (torch.arange(factor * size, dtype=x.dtype) + 0.5) / factor - 0.5
        low, share = place.floor(), place - place.floor()
        below, above = (x.index_select(dim, at.clamp(0, size - 1).long()) for at in (low, low + 1))
        share = share.view(-1, 1) if dim == 2 else share
        x = (1 - share) * below + share * above
    return x


def doubled(x: Tensor, weights: Weights) -> Tensor:
    """The 2x2 transposed convolution, or the 1x1 convolution and the bilinear enlargement."""
    if "0.weight" in weights:
        return enlarged(convolved(x, part(weights, "0")), 2)
    batch, _, height, width = x.shape
    out = torch.empty(batch, weights["weight"].shape[1], 2 * height, 2 * width, dtype=x.dtype)
    for i, j in itertools.product(range(2), repeat=2):
        out[..., i::2, j::2] = torch.einsum("co,bchw->bohw", weights["weight"][:, :, i, j], x)
    return out + weights["bias"].view(1, -1, 1, 1)


def edge_repeated(x: Tensor, multiple: int) -> Tensor:
    """The last row below and the last column to the right, until the sides are multiples."""
    while x.shape[2] % multiple:
        x = torch.cat([x, x[:, :, -1:]], dim=2)
    while x.shape[3] % multiple:
        x = torch.cat([x, x[:, :, :, -1:]], dim=3)
    return x


def mean_around(x: Tensor) -> Tensor:
    """Over the pixels of a window of 13x13 that lie in the image."""
    inside = torch.ones_like(x)
    around = taps(13)
    return sum(moved(x, *shift) for shift in around) / sum(moved(inside, *shift) for shift in around)


def contrast_normalised(x: Tensor) -> Tensor:
    variance = (mean_around(x**2) - mean_around(x) ** 2).mean(dim=1, keepdim=True)
    return (x - mean_around(x)) / (variance + 1 / 255**2).sqrt()


def standardised(cues: Tensor, weights: Weights) -> Tensor:
    mean, variance = (weights[f"running_{name}"].view(1, -1, 1, 1) for name in ("mean", "var"))
    return (cues - mean) / (variance + 1e-5).sqrt()


def u_net(lr: Tensor, weights: Weights, levels: int, normalise: bool, windows: tuple[int, ...]) -> Tensor:
    height, width = lr.shape[-2:]
    lr = edge_repeated(lr, 2 ** (levels - 1))
    x = convolved(contrast_normalised(lr) if normalise else lr, part(weights, "head"))
    encoded = []
    for number in range(levels):
        if number:
            x = halved(x, part(weights, f"downs.{number - 1}"))
        if windows and number == levels - 1:
            cues = standardised(motion_cues(lr, 2 ** (levels - 1), windows), part(weights, "cues.layers.0"))
            hidden = F.relu(convolved(cues, part(weights, "cues.layers.1")))
            x = x + convolved(hidden, part(weights, "cues.layers.3"))
        x = u_net_level(x, part(weights, f"encoder.{number}"))
        encoded.append(x)
    for number in range(levels - 1):
        x = encoded[levels - 2 - number] + doubled(x, part(weights, f"ups.{number}"))
        x = u_net_level(x, part(weights, f"decoder.{number}"))
    return soft(convolved(x, part(weights, "tail"))[:, :, :height, :width])


def soft(logits: Tensor) -> Tensor:
    powers = (logits - logits.max()).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def cue_estimator(lr: Tensor, weights: Weights, windows: tuple[int, ...], cell: int = 4) -> Tensor:
    """What stands in for the U-Net in model=arcsr_staged; not the paper's."""
    height, width = lr.shape[-2:]
    cues = motion_cues(edge_repeated(lr, cell), cell, windows)
    hidden = F.relu(convolved(standardised(cues, part(weights, "hidden.0")), part(weights, "hidden.1")))
    hidden = F.relu(convolved(hidden, part(weights, "hidden.4")))
    return enlarged(soft(convolved(hidden, part(weights, "tail"))), cell)[:, :, :height, :width]


# --- Sec. 3.2.3, Fig. 1(c), and the restorer ---


def factors(kernel: Tensor, normalisation: str) -> Tensor:
    count = kernel.shape[1]
    match normalisation:
        case "softmax":
            return kernel
        case "softmax_ks2":
            return count * kernel
        case "gate":
            return 2 * torch.sigmoid((count * kernel).log())
    return kernel / (kernel**2).mean(dim=1, keepdim=True).sqrt()  # unit energy: mean square one


def kgconv(x: Tensor, guide: Tensor, weights: Weights, kind: type) -> Tensor:
    if kind is ConcatConv:
        return convolved(torch.cat([x, guide], dim=1), weights)
    if kind is PlainConv:
        return convolved(x, weights)
    weight = weights["weight"]
    centre = weight.shape[-1] // 2
    out = torch.zeros(1, dtype=x.dtype)
    for number, (down, right) in enumerate(taps(weight.shape[-1])):
        seen = guide[:, number : number + 1] * moved(x, down, right)
        out = out + torch.einsum("oc,bchw->bohw", weight[:, :, centre + down, centre + right], seen)
    return out


def kg_block(x: Tensor, guide: Tensor, weights: Weights, kind: type) -> Tensor:
    """3 KGconvs, all guided, ReLUs between them, and a skip."""
    y = kgconv(x, guide, part(weights, "convolutions.0"), kind)
    y = kgconv(F.relu(y), guide, part(weights, "convolutions.1"), kind)
    y = kgconv(F.relu(y), guide, part(weights, "convolutions.2"), kind)
    return x + y


def attended(x: Tensor, weights: Weights) -> Tensor:
    """Convolution, average, fully connected layer; one factor a channel, nothing squashed."""
    mean = convolved(x, part(weights, "convolution")).sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])
    factor = mean @ weights["fully_connected.weight"].T + weights["fully_connected.bias"]
    return x * factor[:, :, None, None]


def shuffled(x: Tensor, scale: int) -> Tensor:
    """Channel c s² + i s + j becomes the pixels (i, j) of the s x s blocks of channel c."""
    batch, channels, height, width = x.shape
    out = torch.empty(batch, channels // scale**2, scale * height, scale * width, dtype=x.dtype)
    for i, j in itertools.product(range(scale), repeat=2):
        out[..., i::scale, j::scale] = x[:, i * scale + j :: scale**2]
    return out


def bicubic(x: Tensor, scale: int) -> Tensor:
    """Keys' cubic with a = -1/2, the image mirrored at its edges."""

    def cubic(d: float) -> float:
        d = abs(d)
        return 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0

    def matrix(size: int) -> Tensor:
        rows = torch.zeros(scale * size, size, dtype=x.dtype)
        for row in range(scale * size):
            place = (row + 0.5) / scale - 0.5
            for pixel in range(-3, size + 3):
                mirrored = pixel % (2 * size)
                rows[row, min(mirrored, 2 * size - 1 - mirrored)] += cubic(place - pixel)
        return rows

    return matrix(x.shape[-2]) @ x @ matrix(x.shape[-1]).T


def restored(
    lr: Tensor, kernel: Tensor | None, weights: Weights, scale: int, blocks: int, normalisation: str, kind: type
) -> Tensor:
    guide = None if kernel is None else factors(kernel, normalisation)
    x = convolved(lr - mean_around(lr), part(weights, "head"))
    for number in range(blocks):
        x = kg_block(x, guide, part(weights, f"kg_blocks.{number}"), kind)
        x = attended(x, part(weights, f"attentions.{number}"))
    x = F.relu(shuffled(convolved(x, part(weights, "upsample.0")), scale))
    return bicubic(lr, scale) + convolved(x, part(weights, "tail"))


# --- The comparison ---


def lively(network: nn.Module) -> nn.Module:
    """Random weights that keep the size of what passes through; offsets of about a pixel; kernels that are peaked."""
    generator = torch.Generator().manual_seed(1)

    def fill(x: Tensor, deviation: float) -> None:
        x.copy_(deviation * torch.randn(x.shape, generator=generator))

    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                gain = 1 if "encoder" in name or "decoder" in name else 2  # in forty DMconvs features would explode
                fill(module.weight, (gain / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    fill(module.bias, 0.5)
            elif isinstance(module, nn.BatchNorm2d):
                fill(module.running_mean, 0.1)
                module.running_var.copy_(0.1 + torch.rand(module.running_var.shape, generator=generator))
                for parameter in module.parameters():  # it has none; if it had, they would count
                    fill(parameter, 1)
    return network.eval()


def pictures(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2))


def agree(network: ArcSR, estimate: Callable[[Tensor, Weights], Tensor] | None, **restorer) -> None:
    """In both precisions: each has library code of its own."""
    lively(network)
    for dtype, close in ((torch.float64, 2e-5), (torch.float32, 1e-3)):  # kernels are float32 in either
        network.to(dtype)
        weights = {name: value.double() for name, value in network.state_dict().items()}
        for size in ((7, 10), (1, 3)):
            lr = pictures(*size).to(dtype)
            with torch.no_grad():
                sr, kernel = network(lr)
            expected = estimate(lr.double(), part(weights, "estimator")) if estimate else None
            if expected is not None:
                assert kernel.dtype == torch.float32
                assert expected.max() > 2 / expected.shape[1]  # peaked: a mistake in the field shows in the image
                torch.testing.assert_close(kernel.double(), expected, rtol=close, atol=close)
            expected = restored(lr.double(), expected, part(weights, "restorer"), **restorer)
            torch.testing.assert_close(sr.double(), expected, rtol=close, atol=close)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_arcsr_is_what_the_paper_writes(scale):
    torch.manual_seed(0)
    network = ArcSR(KernelEstimator(3, width=8, levels=3), Restorer(scale, 3, width=5, blocks=2))
    agree(
        network,
        lambda lr, weights: u_net(lr, weights, 3, False, ()),
        scale=scale,
        blocks=2,
        normalisation="unit_energy",
        kind=KGConv,
    )


@pytest.mark.parametrize("kind", [KGConv, ConcatConv, PlainConv])
@pytest.mark.parametrize("normalisation", ["softmax", "softmax_ks2", "gate", "unit_energy"])
def test_restorers_of_all_kinds_of_convolution_and_kernel(kind, normalisation):
    torch.manual_seed(0)
    estimator = KernelEstimator(5, width=4, levels=1)
    network = ArcSR(estimator, Restorer(2, 5, width=4, blocks=1, normalisation=normalisation, convolution=kind))
    agree(
        network,
        lambda lr, weights: u_net(lr, weights, 1, False, ()),
        scale=2,
        blocks=1,
        normalisation=normalisation,
        kind=kind,
    )


def test_a_restorer_without_an_estimator():
    torch.manual_seed(0)
    network = ArcSR(None, Restorer(2, 3, width=4, blocks=2, convolution=PlainConv))
    agree(network, None, scale=2, blocks=2, normalisation="unit_energy", kind=PlainConv)


@pytest.mark.parametrize(
    ("convolution", "upsampling", "normalise", "windows"),
    [
        (OrdinaryConv, TransposedUp, False, ()),
        (DMConv, BilinearUp, False, ()),
        (DMConv, TransposedUp, True, ()),
        (OrdinaryConv, TransposedUp, False, (1, 3)),
        (DMConv, BilinearUp, True, (1, 3, 7)),
    ],
)
def test_estimators_that_depart_from_the_paper(convolution, upsampling, normalise, windows):
    torch.manual_seed(0)
    estimator = KernelEstimator(
        3,
        width=4,
        levels=3,
        convolution=convolution,
        upsampling=upsampling,
        normalise_input=normalise,
        cues=windows or None,
    )
    agree(
        ArcSR(estimator, Restorer(2, 3, width=4, blocks=1)),
        lambda lr, weights: u_net(lr, weights, 3, normalise, windows),
        scale=2,
        blocks=1,
        normalisation="unit_energy",
        kind=KGConv,
    )


def test_the_staged_network_s_estimator():
    torch.manual_seed(0)
    windows = (1, 3, 7)
    network = ArcSR(CueEstimator(5, width=8, windows=windows), Restorer(2, 5, width=4, blocks=1))
    agree(
        network,
        lambda lr, weights: cue_estimator(lr, weights, windows),
        scale=2,
        blocks=1,
        normalisation="unit_energy",
        kind=KGConv,
    )
