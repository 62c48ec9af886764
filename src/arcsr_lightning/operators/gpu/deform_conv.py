"""Deformable convolution on a GPU (Sec. 3.2.2): three Triton kernels that gather samples tile by tile and hold none.

Positions, bilinear weights and sums are float32; a sample is rounded to the dtype of x before it is multiplied. The
gradient of x is added atomically, in an order that differs from run to run.
"""
# ruff: noqa: N803, N806 - Triton's constants are written in capitals

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton import Config

from arcsr_lightning.integers import ceil_div
from arcsr_lightning.operators.gpu.tiles import (
    are_many,
    block,
    chosen,
    configs,
    dot,
    empty_image,
    laid_out,
    matrices_of,
    precision,
    splits_of,
)

Pair = Sequence[int]  # (vertical, horizontal)


def deform_conv2d(x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Compute deform_conv2d without bias, with one group of weights and one of offsets; shapes go unchecked.

    x and weight share a dtype, which the result has too; it is channels-last in memory. float32 is multiplied as TF32
    where PyTorch's setting for matrix products allows it. A batch has fewer than two billion pixels.
    """
    return _DeformConv2d.apply(x, offset, weight, tuple(stride), tuple(padding), tuple(dilation))


class _DeformConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, offset, weight)
        ctx.geometry = stride, padding, dilation
        convolve: Any = _opaque_convolve if torch.compiler.is_compiling() else _convolve
        return convolve(x, offset, weight, stride, padding, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        compiling = torch.compiler.is_compiling()
        pixel_gradients: Any = _opaque_pixel_gradients if compiling else _pixel_gradients
        weight_gradient: Any = _opaque_weight_gradient if compiling else _weight_gradient
        needs_x, needs_offset, needs_weight, *_ = ctx.needs_input_grad
        inputs = (grad_out, *ctx.saved_tensors, *ctx.geometry)
        grad_x = grad_offset = None
        if needs_x or needs_offset:
            grad_x, grad_offset = pixel_gradients(*inputs)
        return grad_x, grad_offset, weight_gradient(*inputs) if needs_weight else None, None, None, None


def _convolve(x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    out = empty_image((x.shape[0], weight.shape[0], *offset.shape[2:]), x)
    geometry = _geometry(x, offset, weight, stride, padding, dilation)

    def grid(config: dict) -> tuple[int, int]:
        return ceil_div(geometry["pixels"], config["BLOCK_P"]), ceil_div(weight.shape[0], geometry["BLOCK_O"])

    with torch.cuda.device_of(x):
        inputs = (laid_out(x), offset.contiguous(), matrices_of(weight))
        chosen(_forward_kernel, grid)(*inputs, out.permute(0, 2, 3, 1), **geometry)
    return out


def _pixel_gradients(
    grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor]:
    """The gradients for x and offset, which share all samples."""
    source, features = laid_out(grad_out), laid_out(x)
    sums = torch.zeros(features.shape, dtype=torch.float32, device=x.device)
    grad_offset = torch.empty(offset.shape, dtype=offset.dtype, device=x.device)
    geometry = _geometry(x, offset, weight, stride, padding, dilation)

    def grid(config: dict) -> tuple[int]:
        return (ceil_div(geometry["pixels"], config["BLOCK_P"]),)

    inputs = (source, features, offset.contiguous(), matrices_of(weight))
    with torch.cuda.device_of(x):
        chosen(_pixel_gradients_kernel, grid)(*inputs, sums, grad_offset, **geometry)
    return empty_image(x.shape, x).copy_(sums[..., : x.shape[1]].permute(0, 3, 1, 2)), grad_offset


def _weight_gradient(
    grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    out_channels, channels, kh, kw = weight.shape
    geometry = _geometry(x, offset, weight, stride, padding, dilation)
    tiles = ceil_div(out_channels, geometry["BLOCK_O"]) * ceil_div(channels, geometry["BLOCK_C"])
    splits = splits_of(kh * kw * tiles, x.numel() + offset.numel() + grad_out.numel(), weight.numel())
    sums = torch.empty(splits, kh, kw, channels, out_channels, dtype=torch.float32, device=x.device)
    inputs = (laid_out(grad_out), laid_out(x), offset.contiguous())
    with torch.cuda.device_of(x):
        chosen(_weight_gradient_kernel, (kh * kw, splits, tiles))(*inputs, sums, **geometry)
    return torch.empty_like(weight).copy_(sums.sum(0).permute(3, 2, 0, 1))  # in the layout of the weight


def _geometry(x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> dict[str, Any]:
    """What all three kernels are told of sizes."""
    out_channels, channels, kh, kw = weight.shape
    (height, width), (out_height, out_width) = x.shape[2:], offset.shape[2:]
    sizes = {"height": height, "width": width, "out_height": out_height, "out_width": out_width}
    steps = {"DOWN": stride[0], "ACROSS": stride[1], "TOP": padding[0], "LEFT": padding[1]}
    steps |= {"DILATED_DOWN": dilation[0], "DILATED_ACROSS": dilation[1]}
    blocks = {"BLOCK_C": block(channels), "BLOCK_O": block(out_channels)}
    pixels = x.shape[0] * out_height * out_width
    numbers = {"C": channels, "O": out_channels, "KH": kh, "KW": kw}
    return {
        "pixels": pixels,
        "MANY": are_many(pixels),
        "PRECISION": precision(x),
        **sizes,
        **steps,
        **blocks,
        **numbers,
    }


# For torch.compile: operators that it takes as they are. By themselves these cost more than the launch of a kernel.
_opaque_convolve = torch.library.custom_op("arcsr_lightning::deform_conv2d", _convolve, mutates_args=())
_opaque_pixel_gradients = torch.library.custom_op(
    "arcsr_lightning::deform_conv2d_pixel_gradients", _pixel_gradients, mutates_args=()
)
_opaque_weight_gradient = torch.library.custom_op(
    "arcsr_lightning::deform_conv2d_weight_gradient", _weight_gradient, mutates_args=()
)


@_opaque_convolve.register_fake
def _(x: Tensor, offset: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return empty_image((x.shape[0], weight.shape[0], *offset.shape[2:]), x)


@_opaque_pixel_gradients.register_fake
def _(grad_out: Tensor, x: Tensor, offset: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return empty_image(x.shape, x), torch.empty(offset.shape, dtype=offset.dtype, device=offset.device)


@_opaque_weight_gradient.register_fake
def _(grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(weight)


CONFIGS = configs(
    Config({"BLOCK_P": 32}, num_warps=4, num_stages=2),  # the first needs the least memory
    Config({"BLOCK_P": 64}, num_warps=4, num_stages=2),
    Config({"BLOCK_P": 128}, num_warps=8, num_stages=2),
)
KEY = ["C", "O", "KH", "KW", "MANY", "PRECISION"]
SIZES = ["pixels", "height", "width", "out_height", "out_width"]


@triton.jit
def _window(p, out_height, out_width, DOWN: tl.constexpr, ACROSS: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr):
    """Image, row and column of the first tap of output pixel p, before its offset."""
    row, column = p // out_width % out_height, p % out_width
    return p.to(tl.int64) // (out_height * out_width), row * DOWN - TOP, column * ACROSS - LEFT


@triton.jit
def _moved(offset, p, image, t, plane, row, column, TAPS: tl.constexpr):
    """Where tap t is read: row and column of the pixel above left of it, and how far it lies from that one."""
    at = offset + p + (image * (2 * TAPS - 1) + 2 * t) * plane
    y = row + tl.load(at).to(tl.float32)
    x = column + tl.load(at + plane).to(tl.float32)
    top, left = tl.floor(y), tl.floor(x)
    # Further away there are zeros alone; a position that is no number makes its sample none by its distances.
    return (
        tl.minimum(tl.maximum(top, -2.0), 1e9).to(tl.int32),
        tl.minimum(tl.maximum(left, -2.0), 1e9).to(tl.int32),
        y - top,
        x - left,
    )


@triton.jit
def _corner(features, image, row, column, height, width, c, C: tl.constexpr):
    """Pointers to the channels c of one pixel for each row of a tile, and whether it lies within the image."""
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = (image * height + tl.where(inside, row, 0)) * width + tl.where(inside, column, 0)
    return features + at[:, None] * C + c[None, :], inside[:, None]


@triton.jit
def _corners(features, image, top, left, height, width, c, C: tl.constexpr):
    """The pixels above left, above right, below left and below right of a position, zero outside."""
    pointers, inside = _corner(features, image, top, left, height, width, c, C)
    above_left = tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    pointers, inside = _corner(features, image, top, left + 1, height, width, c, C)
    above_right = tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    pointers, inside = _corner(features, image, top + 1, left, height, width, c, C)
    below_left = tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    pointers, inside = _corner(features, image, top + 1, left + 1, height, width, c, C)
    below_right = tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    return above_left, above_right, below_left, below_right


@triton.jit
def _sample(features, image, top, left, down, right, height, width, c, C: tl.constexpr):
    """The channels c of one position for each row of a tile, bilinearly."""
    above_left, above_right, below_left, below_right = _corners(features, image, top, left, height, width, c, C)
    down, right = down[:, None], right[:, None]
    above = above_left * (1 - right) + above_right * right
    below = below_left * (1 - right) + below_right * right
    return above * (1 - down) + below * down


@triton.autotune(CONFIGS, key=KEY)
@triton.jit(do_not_specialize=SIZES)
def _forward_kernel(
    features,  # (B, H, W, C), C filled up to whole blocks
    offset,  # (B, 2*KH*KW, Ho, Wo)
    matrices,  # (KH*KW, O, C), both filled up
    out,  # (B, Ho, Wo, O)
    pixels,  # B * Ho * Wo
    height,
    width,
    out_height,
    out_width,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KH: tl.constexpr,
    KW: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
    DILATED_DOWN: tl.constexpr,
    DILATED_ACROSS: tl.constexpr,
    MANY: tl.constexpr,  # for the choice of tiles alone
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """out[p] = sum over t of matrices[t] @ features[position of t at p]."""
    C_BLOCKS: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    FILLED: tl.constexpr = C_BLOCKS * BLOCK_C
    O_FILLED: tl.constexpr = (O + BLOCK_O - 1) // BLOCK_O * BLOCK_O
    own_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p = tl.minimum(own_p, pixels - 1)  # what follows the last pixel reads it, and is not written
    image, row, column = _window(p, out_height, out_width, DOWN, ACROSS, TOP, LEFT)
    plane = tl.cast(out_height, tl.int64) * out_width
    c, o = tl.arange(0, BLOCK_C), tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    total = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for t in range(KH * KW):
        to_row, to_column = row + t // KW * DILATED_DOWN, column + t % KW * DILATED_ACROSS
        top, left, down, right = _moved(offset, p, image, t, plane, to_row, to_column, KH * KW)
        for skip in range(0, FILLED, BLOCK_C):
            sample = _sample(features, image, top, left, down, right, height, width, skip + c, FILLED)
            matrix = tl.load(matrices + (t * O_FILLED + o[None, :]) * FILLED + skip + c[:, None])
            total += dot(sample.to(features.dtype.element_ty), matrix, PRECISION)
    tl.store(out + p.to(tl.int64)[:, None] * O + o[None, :], total, mask=(own_p < pixels)[:, None] & (o < O)[None, :])


@triton.autotune(CONFIGS, key=KEY, reset_to_zero=["grad_x"])
@triton.jit(do_not_specialize=SIZES)
def _pixel_gradients_kernel(
    source,  # (B, Ho, Wo, O), the gradient of the output, O filled up to whole blocks
    features,  # (B, H, W, C), C filled up
    offset,  # (B, 2*KH*KW, Ho, Wo)
    matrices,  # (KH*KW, O, C), both filled up
    grad_x,  # (B, H, W, C) of zeros, C filled up
    grad_offset,  # (B, 2*KH*KW, Ho, Wo)
    pixels,  # B * Ho * Wo
    height,
    width,
    out_height,
    out_width,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KH: tl.constexpr,
    KW: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
    DILATED_DOWN: tl.constexpr,
    DILATED_ACROSS: tl.constexpr,
    MANY: tl.constexpr,  # for the choice of tiles alone
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Share product = source[p] @ matrices[t], the gradient of a sample, between its four pixels and its position."""
    C_BLOCKS: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    FILLED: tl.constexpr = C_BLOCKS * BLOCK_C
    O_FILLED: tl.constexpr = (O + BLOCK_O - 1) // BLOCK_O * BLOCK_O
    own_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p = tl.minimum(own_p, pixels - 1)
    own = (own_p < pixels)[:, None]
    image, row, column = _window(p, out_height, out_width, DOWN, ACROSS, TOP, LEFT)
    plane = tl.cast(out_height, tl.int64) * out_width
    c, o = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_O)
    grads = source + p.to(tl.int64)[:, None] * O_FILLED + o[None, :]
    for t in range(KH * KW):
        to_row, to_column = row + t // KW * DILATED_DOWN, column + t % KW * DILATED_ACROSS
        top, left, down, right = _moved(offset, p, image, t, plane, to_row, to_column, KH * KW)
        below, beside = down[:, None], right[:, None]
        grad_down, grad_right = tl.zeros((BLOCK_P,), tl.float32), tl.zeros((BLOCK_P,), tl.float32)
        for skip in range(0, FILLED, BLOCK_C):
            product = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
            for first in range(0, O_FILLED, BLOCK_O):
                matrix = tl.load(matrices + (t * O_FILLED + first + o[:, None]) * FILLED + skip + c[None, :])
                product += dot(tl.load(grads + first), matrix, PRECISION)
            channel = skip + c
            above_left, above_right, below_left, below_right = _corners(
                features, image, top, left, height, width, channel, FILLED
            )
            slope = (below_left - above_left) * (1 - beside) + (below_right - above_right) * beside
            grad_down += tl.sum(product * slope, 1)
            slope = (above_right - above_left) * (1 - below) + (below_right - below_left) * below
            grad_right += tl.sum(product * slope, 1)
            for corner in tl.static_range(4):
                at, inside = _corner(
                    grad_x, image, top + corner // 2, left + corner % 2, height, width, channel, FILLED
                )
                share = (below if corner // 2 else 1 - below) * (beside if corner % 2 else 1 - beside)
                tl.atomic_add(at, product * share, mask=inside & own, sem="relaxed")
        at = grad_offset + p + (image * (2 * KH * KW - 1) + 2 * t) * plane
        tl.store(at, grad_down, mask=own_p < pixels)
        tl.store(at + plane, grad_right, mask=own_p < pixels)


@triton.autotune(CONFIGS, key=KEY)
@triton.jit(do_not_specialize=SIZES)
def _weight_gradient_kernel(
    source,  # (B, Ho, Wo, O), the gradient of the output, O filled up to whole blocks
    features,  # (B, H, W, C), C filled up
    offset,  # (B, 2*KH*KW, Ho, Wo)
    sums,  # (splits, KH*KW, C, O)
    pixels,  # B * Ho * Wo
    height,
    width,
    out_height,
    out_width,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KH: tl.constexpr,
    KW: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
    DILATED_DOWN: tl.constexpr,
    DILATED_ACROSS: tl.constexpr,
    MANY: tl.constexpr,  # for the choice of tiles alone
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """sums[s, t] = sum over the pixels p of split s of features[position of t at p] x source[p]."""
    C_BLOCKS: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    O_FILLED: tl.constexpr = (O + BLOCK_O - 1) // BLOCK_O * BLOCK_O
    t, split = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) % C_BLOCKS * BLOCK_C + tl.arange(0, BLOCK_C)
    o = tl.program_id(2) // C_BLOCKS * BLOCK_O + tl.arange(0, BLOCK_O)
    plane = tl.cast(out_height, tl.int64) * out_width
    lane = tl.arange(0, BLOCK_P)
    share = tl.cdiv(tl.cdiv(pixels, BLOCK_P), tl.num_programs(1)) * BLOCK_P
    total = tl.zeros((BLOCK_C, BLOCK_O), tl.float32)
    for first in range(split * share, tl.minimum((split + 1) * share, pixels), BLOCK_P):
        within = first + lane < pixels
        p = tl.where(within, first + lane, first)
        image, row, column = _window(p, out_height, out_width, DOWN, ACROSS, TOP, LEFT)
        to_row, to_column = row + t // KW * DILATED_DOWN, column + t % KW * DILATED_ACROSS
        top, left, down, right = _moved(offset, p, image, t, plane, to_row, to_column, KH * KW)
        sample = _sample(features, image, top, left, down, right, height, width, c, C_BLOCKS * BLOCK_C)
        grad = tl.load(source + p.to(tl.int64)[:, None] * O_FILLED + o[None, :], mask=within[:, None], other=0.0)
        total += dot(tl.trans(sample.to(grad.dtype)), grad, PRECISION)
    at = ((split.to(tl.int64) * KH * KW + t) * C + c[:, None]) * O + o[None, :]
    tl.store(sums + at, total, mask=(c < C)[:, None] & (o < O)[None, :])
