"""What the Triton kernels share: the sizes of their tiles, the precision of products, the choice of what is fastest.

Sums are float32. Which tiles are fastest, timings decide, unless torch.use_deterministic_algorithms has been called.
"""
# ruff: noqa: N803 - Triton's constants are written in capitals

import os
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import Config

from arcsr_lightning.integers import ceil_div

BLOCK = 64  # channels of one tile, at most
PROGRAMS = 1024  # to split a gradient for a weight into: several for each multiprocessor of a large GPU
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


def block(channels: int) -> int:
    return min(max(16, triton.next_power_of_2(channels)), BLOCK)  # tensor cores take no less than 16


def filled(channels: int) -> int:
    """As many channels as whole tiles have."""
    return ceil_div(channels, block(channels)) * block(channels)


def laid_out(x: Tensor, border: int = 0) -> Tensor:
    """(B, C, H, W) -> (B, H + 2 * border, W + 2 * border, ``filled(C)``), with zeros around x and after its channels.

    So a loop over taps and channels needs no masks. No copy of what is channels-last and needs no zeros.
    """
    batch, channels, height, width = x.shape
    if not border and filled(channels) == channels:
        return x.permute(0, 2, 3, 1).contiguous()
    out = x.new_zeros(batch, height + 2 * border, width + 2 * border, filled(channels))
    out[:, border : border + height, border : border + width, :channels] = x.permute(0, 2, 3, 1)
    return out


def matrices_of(weight: Tensor) -> Tensor:
    """(O, C, kh, kw) -> (kh*kw, ``filled(O)``, ``filled(C)``), zeros in what is filled."""
    out_channels, channels, kh, kw = weight.shape
    out = weight.new_zeros(kh * kw, filled(out_channels), filled(channels))
    out[:, :out_channels, :channels] = weight.flatten(2).permute(2, 0, 1)
    return out


def empty_image(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """(B, C, H, W), channels-last in memory: no view of a tensor, so that who gets it may change it in place."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def are_many(pixels: int) -> bool:
    """Whether they fill a large GPU: other tiles are the fastest then."""
    return pixels >= 1 << 15


def splits_of(programs: int, numbers: int, weights: int) -> int:
    """How many programs share the sum over pixels for a gradient of ``weights`` numbers.

    Their sums are kept apart, as nothing is added atomically: one at least, and half as many numbers as the inputs have
    (``numbers``), at most. ``programs``: those that there are anyhow.
    """
    return max(1, min(PROGRAMS // programs, numbers // (2 * weights)))


def precision(x: Tensor) -> str:
    """How float32 is multiplied; half precision is multiplied exactly anyhow.

    Triton cuts float32 off to TF32, and does not round it: results are smaller by some 7e-4.
    """
    matmul = torch.backends.cuda.matmul
    # The new name is PyTorch 2.9's, where reading the old one can fail.
    allowed = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    return "tf32" if allowed or x.dtype != torch.float32 else "ieee"


def configs(*choice: Config) -> list[Config]:
    return list(choice[:1] if INTERPRETED else choice)  # the interpreter cannot time them


def chosen(tuned: Any, grid: Any) -> Any:
    """A kernel on a grid of programs, with the tiles that are fastest, or the first where bits have to repeat."""
    if torch.are_deterministic_algorithms_enabled():
        return partial(tuned.fn[grid], **tuned.configs[0].all_kwargs())
    return tuned[grid]


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """A product of matrices, summed in float32."""
    if INTERPRETED:  # it takes the bits of bfloat16 for integers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def nothing(pointer):
    """Be compiled and launched."""
    tl.store(pointer, 0.0)
