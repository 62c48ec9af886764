"""Kernel-guided convolution on a GPU (Sec. 3.2.3): two Triton kernels that never hold an unfolded image.

Importing this module needs Triton. Sums are float32, and the factors of the kernel scale these sums, not inputs of half
precision; only the gradient of the weight, a sum over pixels, rounds x times a factor to the dtype of x, as unfolding
does. Nothing is added atomically: the same blocks give the same bits. Which blocks, timings decide, unless
torch.use_deterministic_algorithms has been called.
"""
# ruff: noqa: N803, N806 - Triton's constants are written in capitals

import logging
import os
from functools import cache, partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from triton import Config

log = logging.getLogger(__name__)

BLOCK = 64  # channels of one tile, at most
PROGRAMS = 1024  # to split the gradient for the weight into: several for each multiprocessor of a large GPU
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


def takes(x: Tensor) -> bool:
    """Tell whether kernel_guided_conv2d_triton runs on the device and in the dtype of x."""
    return x.is_cuda and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and _supports(x.device.index)


@torch.compiler.assume_constant_result
def _supports(device: int) -> bool:
    return _works(device)


@cache
def _works(device: int) -> bool:
    if torch.cuda.get_device_capability(device) < (8, 0):  # Triton on these lacks bfloat16
        return False
    try:
        _try(device)
    except Exception as error:  # of Triton, of the compiler that it calls, or of the driver
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        log.warning("Triton does not work here (%s): PyTorch computes kernel-guided convolutions, slower", reason)
        return False
    return True


def _try(device: int) -> None:
    """Compile and launch a kernel, for which Triton needs a C compiler and Python's headers."""
    with torch.cuda.device(device):
        _nothing[(1,)](torch.empty(1, device="cuda"))


@triton.jit
def _nothing(pointer):
    tl.store(pointer, 0.0)


def kernel_guided_conv2d_triton(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
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
    source, matrices = _channels_last(x), weight.permute(2, 3, 0, 1).contiguous()  # (B, H, W, C), (ks, ks, O, C)
    out = source.new_empty(*source.shape[:3], weight.shape[0])
    _launch_taps(source, kernel.contiguous(), matrices, out)
    return out.permute(0, 3, 1, 2)


def _pixel_gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool
) -> tuple[Tensor, Tensor]:
    """Both gradients from one matrix product for each tap; empty where not needed."""
    source, features = _channels_last(grad_out), _channels_last(x)
    matrices = weight.permute(2, 3, 1, 0).contiguous()  # (ks, ks, C, O)
    grad_x = features.new_empty(features.shape) if needs_x else None
    # Zeros stay at taps that lie outside the image. Blocks of channels are summed in float32.
    dtype = kernel.dtype if x.shape[1] <= BLOCK else torch.float32
    grad_kernel = torch.zeros(kernel.shape, dtype=dtype, device=x.device) if needs_kernel else None
    _launch_taps(source, kernel.contiguous(), matrices, grad_x, features, grad_kernel, backward=True)
    return (
        x.new_empty(0) if grad_x is None else grad_x.permute(0, 3, 1, 2),
        kernel.new_empty(0) if grad_kernel is None else grad_kernel.to(kernel.dtype),
    )


def _weight_gradient(grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    out_channels, channels, ks, _ = weight.shape
    batch, _, height, width = x.shape
    source, features = _channels_last(grad_out), _channels_last(x)
    block_o, block_c = _block(out_channels), _block(channels)
    tiles = triton.cdiv(out_channels, block_o) * triton.cdiv(channels, block_c)
    # Pixels are split between programs, whose sums are kept apart: half as many numbers as the inputs have, at most.
    most = (x.numel() + kernel.numel() + grad_out.numel()) // (2 * weight.numel())
    splits = max(1, min(PROGRAMS // (ks * ks * tiles), most))
    sums = torch.empty(splits, ks, ks, channels, out_channels, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _chosen(_weight_gradient_kernel, (ks * ks, splits, tiles))(
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
            PRECISION=_precision(x),
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
    return x.new_empty(x.shape[0], *x.shape[2:], weight.shape[0]).permute(0, 3, 1, 2)


@_opaque_pixel_gradients.register_fake
def _(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool
) -> tuple[Tensor, Tensor]:
    grad_x = x.new_empty(x.shape[0], *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
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
    batch, height, width, _ = source.shape
    ks, _, outer, inner = matrices.shape
    pixels, block_n, precision = batch * height * width, _block(outer), _precision(source)
    # Without tensor cores both tiles of a product are held in registers.
    block_k = 16 if precision == "ieee" else _block(inner)

    def grid(chosen: dict) -> tuple[int, int]:  # whoever sums over the channels of features takes all their blocks
        return triton.cdiv(pixels, chosen["BLOCK_P"]), triton.cdiv(outer, block_n) if grad_kernel is None else 1

    with torch.cuda.device_of(source):
        _chosen(_taps_kernel, grid)(
            source,
            kernel,
            matrices,
            out,
            features,
            grad_kernel,
            pixels,
            height,
            width,
            K=inner,
            N=outer,
            KS=ks,
            BACKWARD=backward,
            PRECISION=precision,
            BLOCK_K=block_k,
            BLOCK_N=block_n,
        )


def _chosen(tuned: Any, grid: Any) -> Any:
    """A kernel on a grid of programs, with the blocks that are fastest, or the first where bits have to repeat."""
    if torch.are_deterministic_algorithms_enabled():
        return partial(tuned.fn[grid], **tuned.configs[0].all_kwargs())
    return tuned[grid]


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C); no copy of what is channels-last already


def _block(channels: int) -> int:
    return min(max(16, triton.next_power_of_2(channels)), BLOCK)  # tensor cores take no less than 16


def _precision(x: Tensor) -> str:
    """How float32 is multiplied; half precision is multiplied exactly anyhow."""
    matmul = torch.backends.cuda.matmul
    # The new name is PyTorch 2.9's, where reading the old one can fail.
    allowed = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    return "tf32" if allowed or x.dtype != torch.float32 else "ieee"


def _configs(*configs: Config) -> list[Config]:
    return list(configs[:1] if INTERPRETED else configs)  # the interpreter cannot time them


@triton.jit
def _dot(a, b, PRECISION: tl.constexpr):
    if INTERPRETED:  # it takes the bits of bfloat16 for integers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.autotune(
    _configs(
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=4),
        Config({"BLOCK_P": 128}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=3),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=4),
    ),
    key=["K", "N", "KS", "BACKWARD", "PRECISION"],
)
@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _taps_kernel(
    source,  # (B, H, W, K)
    kernel,  # (B, KS*KS, H, W)
    matrices,  # (KS*KS, N, K)
    out,  # (B, H, W, N) or None
    features,  # (B, H, W, N), read for grad_kernel
    grad_kernel,  # (B, KS*KS, H, W) of zeros, or None
    pixels,  # B * H * W
    height,
    width,
    K: tl.constexpr,
    N: tl.constexpr,
    KS: tl.constexpr,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Forward: out[p] = sum over t of kernel[t, p] * (matrices[t] @ source[p + offset(t)]).

    Backward goes from an input pixel p to the output pixels q = p - offset(t) that saw it, with source their gradient:
    out[p] = sum over t of kernel[t, q] * (matrices[t] @ source[q]), and grad_kernel[t, q] = features[p] . product.
    """
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    far = p.to(tl.int64)
    row, column, image = p // width % height, p % width, p // (height * width)
    plane = tl.cast(height, tl.int64) * width
    first_tap = far + image * (KS * KS - 1) * plane  # of kernel, at p
    k = tl.arange(0, BLOCK_K)
    K_BLOCKS: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    CHANNELS: tl.constexpr = BLOCK_N if grad_kernel is None else N  # that one program sees to
    for first in range(0, CHANNELS, BLOCK_N):
        n = tl.program_id(1) * BLOCK_N + first + tl.arange(0, BLOCK_N)
        at = far[:, None] * N + n[None, :]
        within = (p < pixels)[:, None] & (n < N)[None, :]
        total = tl.zeros((BLOCK_P, BLOCK_N), tl.float32)
        if grad_kernel is not None:
            own = tl.load(features + at, mask=within, other=0.0).to(tl.float32)
            overlap = tl.zeros((BLOCK_P,), tl.float32)
        # What the loop adds to these pointers is the same for a whole tile.
        tiles = source + far[:, None] * K + k[None, :]
        transposed = matrices + n[None, :] * K + k[:, None]
        for i in range(KS * KS * K_BLOCKS):
            t, skip = i // K_BLOCKS, i % K_BLOCKS * BLOCK_K
            down, right = t // KS - KS // 2, t % KS - KS // 2
            if BACKWARD:
                down, right = -down, -right
            shift = down * width + right
            seen = (p < pixels) & (row + down >= 0) & (row + down < height)
            seen = seen & (column + right >= 0) & (column + right < width)
            some = skip + k < K
            tile = tl.load(tiles + (shift * K + skip), mask=seen[:, None] & some[None, :], other=0.0)
            matrix = tl.load(transposed + (t * N * K + skip), mask=some[:, None] & (n < N)[None, :], other=0.0)
            product = _dot(tile, matrix, PRECISION)
            tap = first_tap + (t * plane + shift if BACKWARD else t * plane)
            if out is not None:
                total += tl.load(kernel + tap, mask=seen, other=0.0).to(tl.float32)[:, None] * product
            if grad_kernel is not None:
                overlap = tl.where(i % K_BLOCKS == 0, 0.0, overlap) + tl.sum(own * product, 1)
                complete = seen & (i % K_BLOCKS == K_BLOCKS - 1)
                before = tl.load(grad_kernel + tap, mask=complete & (first > 0), other=0.0)
                tl.store(grad_kernel + tap, before + overlap, mask=complete)
        if out is not None:
            tl.store(out + at, total, mask=within)
        if grad_kernel is not None:
            tl.debug_barrier()  # the next block of channels adds to what this one stored


@triton.autotune(
    _configs(
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=3),
        Config({"BLOCK_P": 64}, num_warps=4, num_stages=4),
        Config({"BLOCK_P": 128}, num_warps=8, num_stages=3),
        Config({"BLOCK_P": 16}, num_warps=4, num_stages=3),  # without tensor cores
    ),
    key=["C", "O", "KS", "PRECISION"],
)
@triton.jit(do_not_specialize=["pixels"])
def _weight_gradient_kernel(
    features,  # (B, H, W, C)
    kernel,  # (B, KS*KS, H, W)
    source,  # (B, H, W, O), the gradient of the output
    sums,  # (splits, KS*KS, C, O)
    pixels,  # B * H * W
    HEIGHT: tl.constexpr,  # constants, as each step divides by them; training has one size
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """sums[s, t] = sum over the pixels p of split s of (kernel[t, p] * features[p + offset(t)]) x source[p]."""
    t, split = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) % tl.cdiv(C, BLOCK_C) * BLOCK_C + tl.arange(0, BLOCK_C)
    o = tl.program_id(2) // tl.cdiv(C, BLOCK_C) * BLOCK_O + tl.arange(0, BLOCK_O)
    down, right = t // KS - KS // 2, t % KS - KS // 2
    shift = down * WIDTH + right
    lane = tl.arange(0, BLOCK_P)
    tiles = features + (lane[:, None] * C + c[None, :])
    grads = source + (lane[:, None] * O + o[None, :])
    share = tl.cdiv(tl.cdiv(pixels, BLOCK_P), tl.num_programs(1)) * BLOCK_P
    total = tl.zeros((BLOCK_C, BLOCK_O), tl.float32)
    for first in range(split * share, tl.minimum((split + 1) * share, pixels), BLOCK_P):
        p, far = first + lane, tl.cast(first, tl.int64)
        row, column, image = p // WIDTH % HEIGHT + down, p % WIDTH + right, p // (HEIGHT * WIDTH)
        seen = (p < pixels) & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
        tap = p + (image.to(tl.int64) * (KS * KS - 1) + t) * (HEIGHT * WIDTH)
        factor = tl.load(kernel + tap, mask=seen, other=0.0).to(tl.float32)
        tile = tl.load(tiles + (far + shift) * C, mask=seen[:, None] & (c < C)[None, :], other=0.0)
        grad = tl.load(grads + far * O, mask=seen[:, None] & (o < O)[None, :], other=0.0)
        guided = (factor[:, None] * tile.to(tl.float32)).to(tile.dtype)
        total += _dot(tl.trans(guided), grad, PRECISION)
    at = ((split.to(tl.int64) * KS * KS + t) * C + c[:, None]) * O + o[None, :]
    tl.store(sums + at, total, mask=(c < C)[:, None] & (o < O)[None, :])
