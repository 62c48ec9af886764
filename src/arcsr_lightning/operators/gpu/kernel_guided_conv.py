"""Kernel-guided convolution on a GPU (Sec. 3.2.3): two Triton kernels that never hold an unfolded image.

The factors of the kernel scale float32 sums, not inputs of half precision; only the gradient of the weight, a sum over
pixels, rounds x times a factor to the dtype of x, as unfolding does. Nothing is added atomically: the same tiles give
the same bits.
"""
# ruff: noqa: N803, N806 - Triton's constants are written in capitals

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
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


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    """Compute kernel_guided_conv2d without bias. Same contract, but shapes go unchecked.

    x and weight share a dtype, which the result has too; it is channels-last in memory. float32 is multiplied as TF32
    where PyTorch's setting for matrix products (torch.set_float32_matmul_precision) allows it, else exactly. A batch
    has fewer than two billion pixels.
    """
    return _KernelGuidedConv2d.apply(x, kernel, weight)


class _KernelGuidedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel, weight)
        return (_opaque_convolve if torch.compiler.is_compiling() else _convolve)(x, kernel, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, kernel, weight = ctx.saved_tensors
        compiling = torch.compiler.is_compiling()
        pixel_gradients: Any = _opaque_pixel_gradients if compiling else _pixel_gradients
        weight_gradient: Any = _opaque_weight_gradient if compiling else _weight_gradient
        needs_x, needs_kernel, needs_weight = ctx.needs_input_grad
        grad_x = grad_kernel = grad_weight = None
        if needs_x or needs_kernel:
            grad_x, grad_kernel = pixel_gradients(grad_out, x, kernel, weight, needs_x, needs_kernel)
        if needs_weight:
            grad_weight = weight_gradient(grad_out, x, kernel, weight)
        return grad_x if needs_x else None, grad_kernel if needs_kernel else None, grad_weight


def _convolve(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    source = laid_out(x, weight.shape[-1] // 2)
    out = empty_image((x.shape[0], weight.shape[0], *x.shape[2:]), x)
    _launch_taps(source, kernel.contiguous(), matrices_of(weight), out.permute(0, 2, 3, 1))
    return out


def _pixel_gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool
) -> tuple[Tensor, Tensor]:
    """Both gradients from one matrix product for each tap; empty where not needed."""
    source = laid_out(grad_out, weight.shape[-1] // 2)
    features = x.permute(0, 2, 3, 1).contiguous() if needs_kernel else None
    grad_x = empty_image(x.shape, x) if needs_x else None
    # Zeros stay at taps that lie outside the image. Blocks of channels are summed in float32.
    dtype = kernel.dtype if x.shape[1] <= block(x.shape[1]) else torch.float32
    grad_kernel = torch.zeros(kernel.shape, dtype=dtype, device=x.device) if needs_kernel else None
    matrices = matrices_of(weight.transpose(0, 1))
    out = None if grad_x is None else grad_x.permute(0, 2, 3, 1)
    _launch_taps(source, kernel.contiguous(), matrices, out, features, grad_kernel, backward=True)
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        kernel.new_empty(0) if grad_kernel is None else grad_kernel.to(kernel.dtype),
    )


def _weight_gradient(grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    out_channels, channels, ks, _ = weight.shape
    batch, _, height, width = x.shape
    source, features = laid_out(grad_out), laid_out(x)
    block_o, block_c = block(out_channels), block(channels)
    tiles = ceil_div(out_channels, block_o) * ceil_div(channels, block_c)
    splits = splits_of(ks * ks * tiles, x.numel() + kernel.numel() + grad_out.numel(), weight.numel())
    sums = torch.empty(splits, ks, ks, channels, out_channels, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        chosen(_weight_gradient_kernel, (ks * ks, splits, tiles))(
            features,
            kernel.contiguous(),
            source,
            sums,
            batch * height * width,
            HEIGHT=height,
            WIDTH=width,
            C=channels,
            O=out_channels,
            KS=ks,
            MANY=are_many(batch * height * width),
            PRECISION=precision(x),
            BLOCK_C=block_c,
            BLOCK_O=block_o,
        )
    # In the layout of the weight, as whoever adds gradients up copies those of another one.
    return torch.empty_like(weight).copy_(sums.sum(0).permute(3, 2, 0, 1))


# For torch.compile: operators that it takes as they are. By themselves these cost more than the launch of a kernel.
_opaque_convolve = torch.library.custom_op("arcsr_lightning::kernel_guided_conv2d", _convolve, mutates_args=())
_opaque_pixel_gradients = torch.library.custom_op(
    "arcsr_lightning::kernel_guided_conv2d_pixel_gradients", _pixel_gradients, mutates_args=()
)
_opaque_weight_gradient = torch.library.custom_op(
    "arcsr_lightning::kernel_guided_conv2d_weight_gradient", _weight_gradient, mutates_args=()
)


@_opaque_convolve.register_fake
def _(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    return empty_image((x.shape[0], weight.shape[0], *x.shape[2:]), x)


@_opaque_pixel_gradients.register_fake
def _(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool
) -> tuple[Tensor, Tensor]:
    grad_x = empty_image(x.shape, x)
    grad_kernel = torch.empty(kernel.shape, dtype=kernel.dtype, device=kernel.device)
    return grad_x if needs_x else x.new_empty(0), grad_kernel if needs_kernel else kernel.new_empty(0)


@_opaque_weight_gradient.register_fake
def _(grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight)


def _launch_taps(
    source: Tensor,
    kernel: Tensor,
    matrices: Tensor,
    out: Tensor | None,
    features: Tensor | None = None,
    grad_kernel: Tensor | None = None,
    backward: bool = False,
) -> None:
    batch, taps, height, width = kernel.shape
    channels = next(one.shape[-1] for one in (out, features) if one is not None)
    pixels, block_n = batch * height * width, block(channels)

    def grid(config: dict) -> tuple[int, int]:  # whoever sums over the channels of features takes all their blocks
        return ceil_div(pixels, config["BLOCK_P"]), ceil_div(channels, block_n) if grad_kernel is None else 1

    with torch.cuda.device_of(source):
        chosen(_taps_kernel, grid)(
            source,
            kernel,
            matrices,
            out,
            features,
            grad_kernel,
            pixels,
            height,
            width,
            K=source.shape[-1],
            N=channels,
            KS=round(taps**0.5),
            BACKWARD=backward,
            MANY=are_many(pixels),
            PRECISION=precision(source),
            # Without tensor cores both tiles of a product are held in registers.
            BLOCK_K=16 if precision(source) == "ieee" else block(source.shape[-1]),
            BLOCK_N=block_n,
        )


@triton.autotune(
    configs(
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=4),
        Config({"BLOCK_P": 128}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=3),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=4),
        Config({"BLOCK_P": 256}, num_warps=8, num_stages=3),
    ),
    key=["K", "N", "KS", "BACKWARD", "MANY", "PRECISION"],
)
@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _taps_kernel(
    source,  # (B, H + KS - 1, W + KS - 1, K), zeros around the image
    kernel,  # (B, KS*KS, H, W)
    matrices,  # (KS*KS, N, K), N filled up to whole blocks
    out,  # (B, H, W, N) or None
    features,  # (B, H, W, N), read for grad_kernel
    grad_kernel,  # (B, KS*KS, H, W) of zeros, or None
    pixels,  # B * H * W
    height,
    width,
    K: tl.constexpr,  # whole blocks
    N: tl.constexpr,
    KS: tl.constexpr,
    BACKWARD: tl.constexpr,
    MANY: tl.constexpr,  # for the choice of tiles alone
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Forward: out[p] = sum over t of kernel[t, p] * (matrices[t] @ source[p + offset(t)]).

    Backward goes from an input pixel p to the output pixels q = p - offset(t) that saw it, with source their gradient:
    out[p] = sum over t of kernel[t, q] * (matrices[t] @ source[q]), and grad_kernel[t, q] = features[p] . product.
    """
    N_BLOCKS: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    K_BLOCKS: tl.constexpr = K // BLOCK_K
    own_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p = tl.minimum(own_p, pixels - 1)  # what follows the last pixel reads it, and is not written
    far = p.to(tl.int64)
    row, column, image = p // width % height, p % width, far // (height * width)
    plane = tl.cast(height, tl.int64) * width
    first_tap = far + image * (KS * KS - 1) * plane  # of kernel, at p
    across = width + KS - 1
    window = (image * (height + KS - 1) + row) * across + column  # its first pixel in source
    k = tl.arange(0, BLOCK_K)
    CHANNELS: tl.constexpr = BLOCK_N if grad_kernel is None else N  # that one program sees to
    for first in range(0, CHANNELS, BLOCK_N):
        n = tl.program_id(1) * BLOCK_N + first + tl.arange(0, BLOCK_N)
        at = far[:, None] * N + n[None, :]
        within = (own_p < pixels)[:, None] & (n < N)[None, :]
        total = tl.zeros((BLOCK_P, BLOCK_N), tl.float32)
        if grad_kernel is not None:
            own = tl.load(features + at, mask=within, other=0.0).to(tl.float32)
            overlap = tl.zeros((BLOCK_P,), tl.float32)
        # What the loop adds to these pointers is the same for a whole tile.
        tiles = source + window[:, None] * K + k[None, :]
        transposed = matrices + n[None, :] * K + k[:, None]
        for i in range(KS * KS * K_BLOCKS):
            t, skip = i // K_BLOCKS, i % K_BLOCKS * BLOCK_K
            down, right = t // KS, t % KS  # in the window
            if BACKWARD:
                down, right = KS - 1 - down, KS - 1 - right
            tile = tl.load(tiles + ((down * across + right) * K + skip))
            matrix = tl.load(transposed + (t * N_BLOCKS * BLOCK_N * K + skip))
            product = dot(tile, matrix, PRECISION)
            tap = first_tap + t * plane
            if BACKWARD:  # at q, which may lie outside the image
                down, right = down - KS // 2, right - KS // 2
                tap += down * width + right
                seen = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
                factor = tl.load(kernel + tap, mask=seen, other=0.0)
            else:
                factor = tl.load(kernel + tap)
            if out is not None:
                total += factor.to(tl.float32)[:, None] * product
            if grad_kernel is not None:
                overlap = tl.where(i % K_BLOCKS == 0, 0.0, overlap) + tl.sum(own * product, 1)
                complete = seen & (own_p < pixels) & (i % K_BLOCKS == K_BLOCKS - 1)
                before = tl.load(grad_kernel + tap, mask=complete & (first > 0), other=0.0)
                tl.store(grad_kernel + tap, before + overlap, mask=complete)
        if out is not None:
            tl.store(out + at, total, mask=within)
        if grad_kernel is not None:
            tl.debug_barrier()  # the next block of channels adds to what this one stored


@triton.autotune(
    configs(
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=4),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=3),
        Config({"BLOCK_P": 16}, num_warps=4, num_stages=3),  # without tensor cores
    ),
    key=["C", "O", "KS", "MANY", "PRECISION"],
)
@triton.jit(do_not_specialize=["pixels"])
def _weight_gradient_kernel(
    features,  # (B, H, W, C), C filled up to whole blocks
    kernel,  # (B, KS*KS, H, W)
    source,  # (B, H, W, O), the gradient of the output, O filled up to whole blocks
    sums,  # (splits, KS*KS, C, O)
    pixels,  # B * H * W
    HEIGHT: tl.constexpr,  # constants, as each step divides by them; training has one size
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KS: tl.constexpr,
    MANY: tl.constexpr,  # for the choice of tiles alone
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """sums[s, t] = sum over the pixels p of split s of (kernel[t, p] * features[p + offset(t)]) x source[p]."""
    C_BLOCKS: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    O_BLOCKS: tl.constexpr = (O + BLOCK_O - 1) // BLOCK_O
    t, split = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) % C_BLOCKS * BLOCK_C + tl.arange(0, BLOCK_C)
    o = tl.program_id(2) // C_BLOCKS * BLOCK_O + tl.arange(0, BLOCK_O)
    down, right = t // KS - KS // 2, t % KS - KS // 2
    shift = down * WIDTH + right
    lane = tl.arange(0, BLOCK_P)
    tiles = features + (lane[:, None] * (C_BLOCKS * BLOCK_C) + c[None, :])
    grads = source + (lane[:, None] * (O_BLOCKS * BLOCK_O) + o[None, :])
    share = tl.cdiv(tl.cdiv(pixels, BLOCK_P), tl.num_programs(1)) * BLOCK_P
    total = tl.zeros((BLOCK_C, BLOCK_O), tl.float32)
    for first in range(split * share, tl.minimum((split + 1) * share, pixels), BLOCK_P):
        p, far = first + lane, tl.cast(first, tl.int64)
        row, column, image = p // WIDTH % HEIGHT + down, p % WIDTH + right, p // (HEIGHT * WIDTH)
        seen = (p < pixels) & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
        tap = p + (image.to(tl.int64) * (KS * KS - 1) + t) * (HEIGHT * WIDTH)
        factor = tl.load(kernel + tap, mask=seen, other=0.0).to(tl.float32)
        tile = tl.load(tiles + (far + shift) * (C_BLOCKS * BLOCK_C), mask=seen[:, None], other=0.0)
        grad = tl.load(grads + far * (O_BLOCKS * BLOCK_O), mask=seen[:, None], other=0.0)
        guided = (factor[:, None] * tile.to(tl.float32)).to(tile.dtype)
        total += dot(tl.trans(guided), grad, PRECISION)
    at = ((split.to(tl.int64) * KS * KS + t) * C + c[:, None]) * O + o[None, :]
    tl.store(sums + at, total, mask=(c < C)[:, None] & (o < O)[None, :])
