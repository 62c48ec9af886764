"""Both operators, and the blur of the degradation, compiled for this processor and called through ctypes.

operators.cpp and blur.cpp are built at first use. Every function takes contiguous CPU tensors of one dtype, float32 or
float64, and checks nothing. ``takes`` says whether there is a library to call.
"""

import ctypes
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.integers import ceil_div
from arcsr_lightning.operators.native.build import load
from arcsr_lightning.operators.tracing import constant_when_compiled

NUMBERS = {torch.float32: "float", torch.float64: "double"}  # as operators.cpp calls them
MOST_ROWS, MOST_BYTES = 8, 64  # of operators.cpp on any processor: what a matrix is rounded up to

Pair = Sequence[int]  # (vertical, horizontal)


def takes(first: Tensor, *others: Tensor | None, name: str = "operators") -> bool:
    """Tell whether the functions of a source can be called with these tensors."""
    same = all(one is None or (one.dtype == first.dtype and one.device == first.device) for one in others)
    return same and first.device.type == "cpu" and first.dtype in NUMBERS and _is_there(NUMBERS[first.dtype], name)


@constant_when_compiled
def _is_there(number: str, name: str) -> bool:
    return load(number, name) is not None


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute kernel_guided_conv2d."""
    out_channels, channels, ks, _ = weight.shape
    matrix = x.new_empty(_round_up(out_channels, MOST_ROWS) * channels * ks * ks)
    out = x.new_empty(x.shape[0], out_channels, *x.shape[2:])
    inputs = (x, kernel, weight, _contiguous(bias), None)
    _call("guided", x.dtype, _guided_sizes(x, weight), *inputs, matrix, None, out, None, None)
    return out


def kernel_guided_conv2d_gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, kernel and weight; that for the kernel is empty where not needed."""
    out_channels, channels, ks, _ = weight.shape
    # For each block of channels, one channel at least, as many rows as divide by MOST_ROWS.
    matrix = x.new_empty(channels * _round_up(ks * ks, MOST_ROWS) * out_channels)
    sums = x.new_zeros(torch.get_num_threads(), channels * ks * ks, _whole_vectors(out_channels, x))
    grad_x, grad_kernel = torch.zeros_like(x), kernel.new_empty(kernel.shape if needs_kernel else 0)
    inputs, outputs = (x, kernel, weight, None, grad_out), (None, grad_x, grad_kernel if needs_kernel else None)
    _call("guided", x.dtype, _guided_sizes(x, weight), *inputs, matrix, sums, *outputs)
    return grad_x, grad_kernel, _sum_of_threads(sums, out_channels).view_as(weight)


def deform_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Compute deform_conv2d with one group of weights and one of offsets."""
    pixels, filled = _pixels(x), _filled(weight)
    out = x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])
    matrix = x.new_empty(_whole_vectors(weight.shape[0], x) * filled[0].numel())
    sizes = _deformed_sizes(x, offset, filled, stride, padding, dilation, splits=_splits(x))
    inputs = (pixels, offset, filled, _contiguous(bias), None)
    _call("deformed", x.dtype, sizes, *inputs, matrix, None, out, None, None)
    return out


def deform_conv2d_gradients(
    grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, offset and weight."""
    (out_channels, channels, kh, kw), (batch, _, height, width) = weight.shape, x.shape
    pixels, filled, splits = _pixels(x), _filled(weight), _splits(x)
    depth = filled[0].numel()
    matrix = x.new_empty(out_channels * _whole_vectors(depth, x))
    sums = x.new_zeros(torch.get_num_threads(), depth, _whole_vectors(out_channels, x))
    grad_pixels, grad_offset = pixels.new_zeros(batch, splits, *pixels.shape[1:]), torch.empty_like(offset)
    sizes = _deformed_sizes(x, offset, filled, stride, padding, dilation, splits)
    inputs = (pixels, offset, filled, None, grad_out)
    _call("deformed", x.dtype, sizes, *inputs, matrix, sums, None, grad_pixels, grad_offset)
    grad_x = (grad_pixels.sum(1) if splits > 1 else grad_pixels[:, 0])[:, :-1, :channels]  # (B, H*W, C)
    grad_filled = _sum_of_threads(sums, out_channels).view(out_channels, kh, kw, -1)
    grad_weight = grad_filled[..., :channels].permute(0, 3, 1, 2).contiguous()
    return grad_x.mT.contiguous().view(batch, channels, height, width), grad_offset, grad_weight


def blended_blur(padded: Tensor, kernels: Tensor, masks: Tensor) -> Tensor:
    """Compute the sum over m of masks[m] * (padded correlated with kernels[m]); taps that are zero cost nothing.

    Args:
        padded: (B, C, H + k - 1, W + k - 1).
        kernels: (B, M, k, k).
        masks: (B, M, H, W).

    Returns:
        (B, C, H, W).
    """
    out = padded.new_empty(*padded.shape[:2], *masks.shape[2:])
    sizes = (*padded.shape[:2], *kernels.shape[1:3], *masks.shape[2:], torch.get_num_threads())
    _call("blended", padded.dtype, sizes, padded, kernels, masks, out, name="blur")
    return out


def _call(
    function: str, dtype: torch.dtype, sizes: tuple[int, ...], *tensors: Tensor | None, name: str = "operators"
) -> None:
    """Call with a struct of the source of that name, whose fields all have 64 bits."""
    fields = *sizes, *(0 if tensor is None else tensor.data_ptr() for tensor in tensors)
    getattr(load(NUMBERS[dtype], name), function)((ctypes.c_int64 * len(fields))(*fields))


def _guided_sizes(x: Tensor, weight: Tensor) -> tuple[int, ...]:
    batch, channels, height, width = x.shape
    return batch, channels, weight.shape[0], weight.shape[-1], height, width, torch.get_num_threads()


def _deformed_sizes(
    x: Tensor, offset: Tensor, filled: Tensor, stride: Pair, padding: Pair, dilation: Pair, splits: int
) -> tuple[int, ...]:
    batch, _, height, width = x.shape
    out_channels, kh, kw, channels = filled.shape
    sizes = (batch, channels, out_channels, kh, kw, height, width, *offset.shape[2:])
    return *sizes, *stride, *padding, *dilation, torch.get_num_threads(), splits


def _contiguous(bias: Tensor | None) -> Tensor | None:
    return bias if bias is None else bias.contiguous()


def _filled(weight: Tensor) -> Tensor:
    """(O, C, kh, kw) -> (O, kh, kw, C rounded up to a multiple of four with zeros)."""
    return F.pad(weight.permute(0, 2, 3, 1), (0, -weight.shape[1] % 4)).contiguous()


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W + 1, C rounded up to a multiple of four), with zeros where x has nothing."""
    return F.pad(x.flatten(2).mT, (0, -x.shape[1] % 4, 0, 1)).contiguous()


def _splits(x: Tensor) -> int:
    """Into how many parts an image is cut, so that all threads get equal shares of the batch."""
    threads = torch.get_num_threads()
    return threads // math.gcd(x.shape[0], threads)


def _sum_of_threads(sums: Tensor, out_channels: int) -> Tensor:
    """(threads, K, at least O) -> (O, K)."""
    return (sums.sum(0) if len(sums) > 1 else sums[0])[:, :out_channels].mT.contiguous()


def _round_up(number: int, multiple: int) -> int:
    return ceil_div(number, multiple) * multiple


def _whole_vectors(number: int, like: Tensor) -> int:
    return _round_up(number, MOST_BYTES // like.element_size())
