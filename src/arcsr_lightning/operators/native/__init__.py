"""Both operators compiled for this processor: operators.cpp, built at first use, called through ctypes.

Every function takes contiguous CPU tensors of one dtype, float32 or float64, and checks nothing. ``load`` says whether
there is a library to call.
"""

import ctypes
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.integers import ceil_div
from arcsr_lightning.operators.native.build import load

DTYPES = {torch.float32: "float", torch.float64: "double"}
MOST_ROWS, MOST_BYTES = 8, 64  # of operators.cpp on any processor: what a matrix is rounded up to

Pair = Sequence[int]  # (vertical, horizontal)


def takes(first: Tensor, *others: Tensor | None) -> bool:
    """Tell whether the functions of this module can be called with these tensors."""
    same = all(one is None or (one.dtype == first.dtype and one.device == first.device) for one in others)
    return same and first.device.type == "cpu" and first.dtype in DTYPES and _is_there()


@torch.compiler.assume_constant_result
def _is_there() -> bool:
    return load() is not None


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute kernel_guided_conv2d."""
    out_channels, channels, ks, _ = weight.shape
    matrix = x.new_empty(_round_up(out_channels, MOST_ROWS) * channels * ks * ks)
    out = x.new_empty(x.shape[0], out_channels, *x.shape[2:])
    inputs = (x, kernel, weight, _contiguous(bias), None)
    _call("guided_forward", x.dtype, _guided_sizes(x, weight), *inputs, matrix, None, out, None, None, None)
    return out


def kernel_guided_conv2d_gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, kernel and weight; that for the kernel is empty where not needed."""
    out_channels, channels, ks, _ = weight.shape
    # For each block of channels, one channel at least, as many rows as divide by MOST_ROWS.
    matrix = x.new_empty(channels * _round_up(ks * ks, MOST_ROWS) * out_channels)
    sums = x.new_zeros(torch.get_num_threads() * channels * ks * ks * _whole_vectors(out_channels, x))
    grad_x, grad_weight = torch.zeros_like(x), torch.empty_like(weight)
    grad_kernel = kernel.new_empty(kernel.shape if needs_kernel else 0)
    inputs, memory = (x, kernel, weight, None, grad_out), (matrix, sums, None)
    outputs = (grad_x, grad_kernel if needs_kernel else None, grad_weight)
    _call("guided_backward", x.dtype, _guided_sizes(x, weight), *inputs, *memory, *outputs)
    return grad_x, grad_kernel, grad_weight


def deform_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Compute deform_conv2d with one group of weights and one of offsets."""
    sizes, filled = _deformed_sizes(x, offset, weight, stride, padding, dilation, splits=1), _filled(weight)
    out = x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])
    matrix = x.new_empty(_round_up(weight.shape[0], MOST_ROWS) * filled[0].numel())
    inputs = (x, offset, filled, _contiguous(bias), None)
    _call("deformed_forward", x.dtype, sizes, *inputs, matrix, _pixels(x, 1, filled), *[None] * 2, out, *[None] * 3)
    return out


def deform_conv2d_gradients(
    grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, offset and weight."""
    threads = torch.get_num_threads()
    splits = threads // math.gcd(x.shape[0], threads)  # of an image, so that threads get equal shares of the batch
    sizes, filled = _deformed_sizes(x, offset, weight, stride, padding, dilation, splits), _filled(weight)
    depth = filled[0].numel()
    matrix = x.new_empty(_round_up(depth, MOST_ROWS) * len(weight))
    sums = x.new_zeros(threads * depth * _whole_vectors(len(weight), x))
    memory = (matrix, _pixels(x, 1, filled), _pixels(x, splits, filled).zero_(), sums)
    grad_x, grad_offset, grad_filled = torch.empty_like(x), torch.empty_like(offset), torch.empty_like(filled)
    inputs = (x, offset, filled, None, grad_out)
    _call("deformed_backward", x.dtype, sizes, *inputs, *memory, None, grad_x, grad_offset, grad_filled)
    return grad_x, grad_offset, grad_filled[..., : x.shape[1]].permute(0, 3, 1, 2).contiguous()


def _call(function: str, dtype: torch.dtype, sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    """Call with a struct of operators.cpp, whose fields all have 64 bits."""
    fields = *sizes, *(0 if tensor is None else tensor.data_ptr() for tensor in tensors)
    getattr(load(), f"{function}_{DTYPES[dtype]}")((ctypes.c_int64 * len(fields))(*fields))


def _guided_sizes(x: Tensor, weight: Tensor) -> tuple[int, ...]:
    batch, channels, height, width = x.shape
    return batch, channels, weight.shape[0], weight.shape[-1], height, width, torch.get_num_threads()


def _deformed_sizes(
    x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, splits: int
) -> tuple[int, ...]:
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape
    sizes = (batch, channels, out_channels, kh, kw, height, width, *offset.shape[2:])
    return *sizes, *stride, *padding, *dilation, torch.get_num_threads(), splits


def _contiguous(bias: Tensor | None) -> Tensor | None:
    return bias if bias is None else bias.contiguous()


def _filled(weight: Tensor) -> Tensor:
    """(O, C, kh, kw) -> (O, kh, kw, C rounded up to a multiple of four with zeros)."""
    return F.pad(weight.permute(0, 2, 3, 1), (0, -weight.shape[1] % 4)).contiguous()


def _pixels(x: Tensor, copies: int, filled: Tensor) -> Tensor:
    """Memory for images whose pixels come before their channels, and one pixel more."""
    return x.new_empty(x.shape[0], copies, x.shape[2] * x.shape[3] + 1, filled.shape[-1])


def _round_up(number: int, multiple: int) -> int:
    return ceil_div(number, multiple) * multiple


def _whole_vectors(number: int, like: Tensor) -> int:
    return _round_up(number, MOST_BYTES // like.element_size())
