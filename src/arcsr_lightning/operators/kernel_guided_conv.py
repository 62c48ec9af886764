"""Kernel-guided convolution (Sec. 3.2.3): a convolution whose taps are weighted anew at every pixel."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from arcsr_lightning.operators import gpu, native
from arcsr_lightning.operators.tracing import is_traced

CPU_STRIP_BYTES = 4 << 20  # of products
GPU_STRIP_BYTES = 256 << 20  # many launches' worth of work, yet small beside the memory of a card


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x with weights that each pixel's own kernel scales tap by tap (Sec. 3.2.3).

    out[o, p] = bias[o] + sum over c, t of weight[o, c, t] * kernel[t, p] * x[c, p + offset(t)],
    with offset(t) = (t // ks - ks // 2, t % ks - ks // 2) and zeros outside the image. Ones as kernel give conv2d.

    Never holds the C * ks * ks * H * W products: they are made piece by piece, and once more in backward. On a CPU a
    library does that which is compiled at first use (operators.native), on CUDA Triton kernels where Triton is
    installed, and elsewhere PyTorch, in strips of lines. ``torch.export`` sees kernel_guided_conv2d_plain.
    First derivatives only. Under autocast the inputs are cast to its dtype, which the result has too; outside of Triton
    half precision is computed in float32.

    Args:
        x: (B, C, H, W), any range.
        kernel: (B, ks*ks, H, W), taps row-major like those of weight.
        weight: (O, C, ks, ks), ks odd.
        bias: (O,).

    Returns:
        (B, O, H, W).

    Raises:
        ValueError: ks is even, or the shapes do not fit together.
    """
    _check_shapes(x, kernel, weight, bias)
    if torch.compiler.is_exporting():  # a program for machines that have none of this
        return kernel_guided_conv2d_plain(x, kernel, weight, bias)
    # Others may have no autocast, and to ask torch.amp whether they do breaks the graph of torch 2.11's compiler.
    if x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            return kernel_guided_conv2d(x.to(dtype), kernel.to(dtype), weight.to(dtype), bias)
    if gpu.takes(x):
        out = gpu.kernel_guided_conv2d(x, kernel, weight.to(x.dtype))
        return out if bias is None else out + bias.to(out.dtype)[:, None, None]
    if x.dtype in (torch.bfloat16, torch.float16):
        bias = bias if bias is None else bias.float()
        return _KernelGuidedConv2d.apply(x.float(), kernel.float(), weight.float(), bias).to(x.dtype)
    return _KernelGuidedConv2d.apply(x, kernel, weight, bias)


def kernel_guided_conv2d_reference(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute kernel_guided_conv2d as Sec. 3.2.3 writes it: unfold, multiply, matrix product. Same contract."""
    _check_shapes(x, kernel, weight, bias)
    batch, channels, height, width = x.shape
    patches = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2)  # (B, C*ks*ks, H*W)
    guided = patches.unflatten(1, (channels, -1)) * kernel.flatten(2).unsqueeze(1)  # (B, C, ks*ks, H*W)
    out = (weight.flatten(1) @ guided.flatten(1, 2)).view(batch, -1, height, width)  # (B, O, H, W)
    return out if bias is None else out + bias[:, None, None]


def kernel_guided_conv2d_plain(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute kernel_guided_conv2d in plain torch: a product and a 1x1 convolution for each row of taps. Same contract.

    What ``torch.export`` sees, as standard operators that every runtime has.
    """
    _check_shapes(x, kernel, weight, bias)
    (height, width), size = x.shape[-2:], weight.shape[-1]
    padded = F.pad(x, [size // 2] * 4)
    out = weight.new_zeros(())
    for i in range(size):
        row = padded[..., i : i + height, :]
        shifted = torch.stack([row[..., j : j + width] for j in range(size)], dim=1)  # (B, ks, C, H, W)
        guided = shifted * kernel[:, i * size : (i + 1) * size, None]
        matrix = weight[:, :, i].mT.flatten(1)  # (O, ks*C)
        out = out + F.conv2d(guided.flatten(1, 2), matrix[..., None, None])  # (B, O, H, W)
    return out if bias is None else out + bias[:, None, None]


class _KernelGuidedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, kernel, weight)
        return (_opaque_convolve if is_traced(x) else _convolve)(x, kernel, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        compute: Any = _opaque_gradients if is_traced(grad_out) else _gradients
        _, needs_kernel, _, needs_bias = ctx.needs_input_grad
        grad_x, grad_kernel, grad_weight = compute(grad_out, *ctx.saved_tensors, needs_kernel)
        grad_bias = grad_out.sum((0, 2, 3)) if needs_bias else None
        return grad_x, grad_kernel if needs_kernel else None, grad_weight, grad_bias


def _convolve(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, kernel, weight = x.contiguous(), kernel.contiguous(), weight.contiguous()
    if native.takes(x, kernel, weight, bias):
        return native.kernel_guided_conv2d(x, kernel, weight, bias)
    out, matrix = x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:]), weight.flatten(1)
    for sample, lines, window in _strips(x, weight):
        products = _patches(window, weight) * kernel[sample, :, lines].flatten(1)  # (C, ks*ks, n*W)
        out[sample, :, lines] = (matrix @ products.flatten(0, 1)).view_as(out[sample, :, lines])
    return out if bias is None else out.add_(bias[:, None, None])


def _gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, kernel and weight; that for the kernel, the largest of them, is empty where not needed."""
    grad_out, x, kernel, weight = grad_out.contiguous(), x.contiguous(), kernel.contiguous(), weight.contiguous()
    if native.takes(grad_out, x, kernel, weight):
        return native.kernel_guided_conv2d_gradients(grad_out, x, kernel, weight, needs_kernel)
    half, matrix = weight.shape[-1] // 2, weight.flatten(1)
    padded = x.new_zeros(*x.shape[:2], *(side + 2 * half for side in x.shape[2:]))
    grad_kernel, grad_matrix = kernel.new_empty(kernel.shape if needs_kernel else 0), torch.zeros_like(matrix)
    for sample, lines, window in _strips(x, weight):
        patches, factors = _patches(window, weight), kernel[sample, :, lines].flatten(1)
        grad_strip = grad_out[sample, :, lines].flatten(1)  # (O, n*W)
        grad_matrix += grad_strip @ (patches * factors).flatten(0, 1).mT
        grad_products = (matrix.mT @ grad_strip).view_as(patches)
        if needs_kernel:
            grad_kernel[sample, :, lines] = (grad_products * patches).sum(0).view_as(kernel[sample, :, lines])
        grad_window = F.fold((grad_products * factors).flatten(0, 1), window.shape[1:], weight.shape[2:])
        padded[sample, :, lines.start : lines.stop + 2 * half] += grad_window
    inside = slice(half, -half or None)
    return padded[..., inside, inside].contiguous(), grad_kernel, grad_matrix.view_as(weight)


def _strips(x: Tensor, weight: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """(sample, lines, what they see of x with zeros around it), a few lines at a time."""
    batch, channels, height, width = x.shape
    half, line_bytes = weight.shape[-1] // 2, channels * weight[0, 0].numel() * width * x.element_size()
    strip_bytes = CPU_STRIP_BYTES if x.device.type == "cpu" else GPU_STRIP_BYTES
    count = min(height, max(1, strip_bytes // line_bytes))
    for sample, top in itertools.product(range(batch), range(0, height, count)):
        bottom = min(top + count, height)
        seen = x[sample, :, max(top - half, 0) : bottom + half]
        margins = (half, half, max(half - top, 0), max(bottom + half - height, 0))
        yield sample, slice(top, bottom), F.pad(seen, margins)


def _patches(window: Tensor, weight: Tensor) -> Tensor:
    """(C, n + ks - 1, W + ks - 1) -> (C, ks*ks, n*W)."""
    return F.unfold(window, weight.shape[2:]).unflatten(0, (len(window), -1))


# For torch.compile, which would unroll strips and cannot see through ctypes, and for shapes alone: operators that are
# taken as they are.
_opaque_convolve = torch.library.custom_op("arcsr_lightning::kernel_guided_conv2d_cpu", _convolve, mutates_args=())
_opaque_gradients = torch.library.custom_op(
    "arcsr_lightning::kernel_guided_conv2d_cpu_gradients", _gradients, mutates_args=()
)


@_opaque_convolve.register_fake
def _(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


@_opaque_gradients.register_fake
def _(grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_kernel: bool) -> tuple[Tensor, Tensor, Tensor]:
    grad_kernel = kernel.new_empty(kernel.shape if needs_kernel else 0)
    return x.new_empty(x.shape), grad_kernel, weight.new_empty(weight.shape)


def _check_shapes(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() != 4 or weight.dim() != 4:
        raise ValueError(f"x and weight need 4 dimensions, got shapes {tuple(x.shape)} and {tuple(weight.shape)}")
    batch, channels, height, width = x.shape
    out_channels, in_channels, ks, ks_across = weight.shape
    if ks != ks_across or ks % 2 == 0:
        raise ValueError(f"weight needs a square window of odd size, got {ks}x{ks_across}")
    if in_channels != channels:
        raise ValueError(f"weight takes {in_channels} channels but x has {channels}")
    if kernel.shape != (batch, ks * ks, height, width):
        raise ValueError(f"kernel needs shape {(batch, ks * ks, height, width)}, got {tuple(kernel.shape)}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"bias needs shape ({out_channels},), got {tuple(bias.shape)}")
