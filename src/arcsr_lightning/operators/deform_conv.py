"""Deformable convolution, with torchvision's arguments and meaning, but without needing torchvision."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from arcsr_lightning.operators import gpu, native
from arcsr_lightning.operators.tracing import is_traced


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """Convolve with every tap moved by its own offset at every pixel (Sec. 3.2.2).

    Tap t of output pixel p reads x at p * stride - padding + position(t) * dilation + offset[t, p], bilinearly, with
    zeros outside the image. Offsets of zero give conv2d. The number of weight groups is C / weight.shape[1]; that of
    offset groups follows from the channels of offset.
    With one group of either kind a library computes it on a CPU, which is compiled at first use (operators.native), and
    Triton kernels on CUDA (operators.gpu), unless torch.use_deterministic_algorithms has been called. Otherwise, and
    for ``torch.export``, deform_conv2d_plain. Of shapes alone, on the meta device, it is one operator, as under
    torch.compile. First derivatives only. Positions are float32, or float64 with x; outside of Triton half precision is
    computed in float32.

    Args:
        x: (B, C, H, W), any range.
        offset: (B, 2*groups*kh*kw, Ho, Wo) in pixels, (dy, dx) for each tap, taps row-major.
        weight: (O, C/groups, kh, kw).
        bias: (O,).
        stride, padding, dilation: one number or (vertical, horizontal).

    Returns:
        (B, O, Ho, Wo), of the dtype of x.

    Raises:
        ValueError: the shapes do not fit together.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check_shapes(x, offset, weight, bias, stride, padding, dilation)
    one_group = weight.shape[1] == x.shape[1] and offset.shape[1] == 2 * weight[0, 0].numel()
    if torch.compiler.is_exporting() or not one_group:
        return deform_conv2d_plain(x, offset, weight, bias, stride, padding, dilation)
    if gpu.takes(x) and not torch.are_deterministic_algorithms_enabled():
        out = gpu.deform_conv2d(x, offset, weight.to(x.dtype), stride, padding, dilation)
        return out if bias is None else out + bias.to(x.dtype)[:, None, None]
    exact = torch.promote_types(x.dtype, torch.float32)  # half precision cannot tell neighbouring pixels apart
    inputs = (x.to(exact), offset.to(exact), weight.to(exact), bias if bias is None else bias.to(exact))
    if x.is_meta or native.takes(*inputs):
        return _DeformConv2d.apply(*inputs, stride, padding, dilation).to(x.dtype)
    return deform_conv2d_plain(x, offset, weight, bias, stride, padding, dilation)


def deform_conv2d_plain(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """Compute deform_conv2d in plain torch: a grid_sample and a matrix product for each row of taps. Same contract."""
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check_shapes(x, offset, weight, bias, stride, padding, dilation)
    batch, channels, height, width = x.shape
    out_channels, group_channels, kh, kw = weight.shape
    out_height, out_width = offset.shape[2:]
    groups, offset_groups = channels // group_channels, offset.shape[1] // (2 * kh * kw)

    # Half precision cannot tell neighbouring pixels apart, and autocast would multiply in it.
    exact = torch.promote_types(x.dtype, torch.float32)
    weights = weight.to(exact).unbind(2)
    features = x.to(exact).reshape(batch * offset_groups, channels // offset_groups, height, width)
    shifts = offset.to(exact).reshape(-1, kh, kw, 2, out_height, out_width)
    down = _steps(out_height, stride[0], x).view(-1, 1) - padding[0]
    across = _steps(kw, dilation[1], x).view(-1, 1, 1) + _steps(out_width, stride[1], x) - padding[1]
    out = x.new_zeros((), dtype=exact)
    for i in range(kh):  # all rows at once would hold their samples twice in backward
        row_down = down + i * dilation[0] + shifts[:, i, :, 0]  # (B*offset_groups, kw, Ho, Wo)
        row_across = across + shifts[:, i, :, 1]
        # grid_sample counts from -1 to 1 between the outer edges of the image.
        grid = torch.stack(((2 * row_across + 1) / width - 1, (2 * row_down + 1) / height - 1), dim=-1)
        samples = F.grid_sample(features, grid.flatten(1, 2), padding_mode="zeros", align_corners=False)
        # (B*offset_groups, C/offset_groups, kw*Ho, Wo)
        samples = samples.view(batch, groups, group_channels * kw, out_height * out_width)
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            # (B, groups, O/groups, Ho*Wo)
            out = out + weights[i].reshape(groups, out_channels // groups, -1) @ samples
    out = out.view(batch, out_channels, out_height, out_width)
    return (out if bias is None else out + bias.to(exact)[:, None, None]).to(x.dtype)


class _DeformConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        offset: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, offset, weight)
        ctx.geometry = stride, padding, dilation
        return (_opaque_convolve if is_traced(x) else _convolve)(x, offset, weight, bias, stride, padding, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        compute: Any = _opaque_gradients if is_traced(grad_out) else _gradients
        gradients = compute(grad_out, *ctx.saved_tensors, *ctx.geometry)
        return *gradients, grad_out.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None, None, None, None


def _convolve(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    return native.deform_conv2d(x.contiguous(), offset.contiguous(), weight, bias, stride, padding, dilation)


def _gradients(
    grad_out: Tensor,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, offset and weight."""
    inputs = (grad_out.contiguous(), x.contiguous(), offset.contiguous(), weight)
    return native.deform_conv2d_gradients(*inputs, stride, padding, dilation)


# For torch.compile, which cannot see through ctypes, and for shapes alone: operators that are taken as they are.
_opaque_convolve = torch.library.custom_op("arcsr_lightning::deform_conv2d_cpu", _convolve, mutates_args=())
_opaque_gradients = torch.library.custom_op("arcsr_lightning::deform_conv2d_cpu_gradients", _gradients, mutates_args=())


@_opaque_convolve.register_fake
def _(x: Tensor, offset: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])


@_opaque_gradients.register_fake
def _(grad_out: Tensor, x: Tensor, offset: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), offset.new_empty(offset.shape), weight.new_empty(weight.shape)


def _steps(count: int, size: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device) * size


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _check_shapes(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    if x.dim() != 4 or offset.dim() != 4 or weight.dim() != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x, offset, weight))
        raise ValueError(f"x, offset and weight need 4 dimensions, got shapes {shapes}")
    channels, (out_channels, group_channels, *taps) = x.shape[1], weight.shape
    if channels % group_channels or out_channels % (channels // group_channels):
        raise ValueError(f"weight {tuple(weight.shape)} does not divide the {channels} channels of x into groups")
    per_group = 2 * taps[0] * taps[1]
    if offset.shape[1] == 0 or offset.shape[1] % per_group or channels % (offset.shape[1] // per_group):
        raise ValueError(f"offset needs {per_group} channels for each group of x's {channels}, got {offset.shape[1]}")
    size = [(x.shape[2 + d] + 2 * padding[d] - dilation[d] * (taps[d] - 1) - 1) // stride[d] + 1 for d in range(2)]
    if offset.shape[0] != x.shape[0] or list(offset.shape[2:]) != size or min(size) < 1:
        raise ValueError(f"offset needs batch {x.shape[0]} and size {size}, both positive, got {tuple(offset.shape)}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"bias needs shape ({out_channels},), got {tuple(bias.shape)}")
