"""Kernel-guided convolution (Sec. 3.2.3): a convolution whose taps are weighted anew at every pixel."""

import contextlib
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from arcsr_lightning.operators.strips import split_into_bands

_triton: ModuleType | None = None
if torch.version.cuda is not None:  # a CPU build should not spend the time to import it
    with contextlib.suppress(ImportError):
        from arcsr_lightning.operators import kernel_guided_conv_triton as _triton

# Measured, and not the size of a cache: also where a core's L2 holds 1 MiB and no more, half of this takes 4 to 21 %
# longer, as calls weigh more than what falls out of it, and twice as much saves 3 to 9 % for twice the memory.
CPU_STRIP_BYTES = 1 << 20
GPU_STRIP_BYTES = 512 << 20  # many launches' worth of work, yet small beside the memory of a card


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x with weights that each pixel's own kernel scales tap by tap (Sec. 3.2.3).

    out[o, p] = bias[o] + sum over c, t of weight[o, c, t] * kernel[t, p] * x[c, p + offset(t)],
    with offset(t) = (t // ks - ks // 2, t % ks - ks // 2) and zeros outside the image. Ones as kernel give conv2d.

    Works in strips of lines, recomputed in backward, and so never holds the C * ks * ks * H * W products; on CUDA with
    Triton kernels where Triton is installed. First derivatives only. Under autocast the inputs are cast to its dtype,
    which the result has too.

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
    if torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, kernel, weight = x.to(dtype), kernel.to(dtype), weight.to(dtype)
        bias = bias if bias is None else bias.to(dtype)
    if _triton is not None and _triton.takes(x):
        out = _triton.kernel_guided_conv2d_triton(x, kernel, weight)
    else:
        out = _KernelGuidedConv2d.apply(x, kernel, weight)
    return out if bias is None else out + bias[:, None, None]


def kernel_guided_conv2d_reference(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute kernel_guided_conv2d as Sec. 3.2.3 writes it: unfold, multiply, matrix product. Same contract."""
    _check_shapes(x, kernel, weight, bias)
    batch, channels, height, width = x.shape
    patches = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2)  # (B, C*ks*ks, H*W)
    guided = patches.unflatten(1, (channels, -1)) * kernel.flatten(2).unsqueeze(1)  # (B, C, ks*ks, H*W)
    out = (weight.flatten(1) @ guided.flatten(1, 2)).view(batch, -1, height, width)  # (B, O, H, W)
    return out if bias is None else out + bias[:, None, None]


class _KernelGuidedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel, weight)
        return (_opaque_convolve if torch.compiler.is_compiling() else _convolve)(x, kernel, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        compute = _opaque_gradients if torch.compiler.is_compiling() else _gradients
        needs_x, needs_kernel, needs_weight = ctx.needs_input_grad
        grad_x, grad_kernel, grad_weight = compute(grad_out, *ctx.saved_tensors, *ctx.needs_input_grad)
        return grad_x if needs_x else None, grad_kernel if needs_kernel else None, grad_weight if needs_weight else None


def _convolve(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    """A few strips of the image and a row of taps at a time, so that what is computed on the way stays in the caches.

    With products[c, t, p] = kernel[t, p] * x[c, p + offset(t)], the result is the sum over rows of matrix @ products.
    """
    x, taps, matrices = x.contiguous(), _taps(kernel, weight.shape[-1]), _matrices(weight)
    out = x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])
    for band in _bands(x, weight):
        out_band = band.of(out).flatten(2)  # (s, O, n*W)
        in_place = len(out_band) == 1 and out.dtype == _exact(x)
        sums = out_band.zero_() if in_place else x.new_zeros(out_band.shape, dtype=_exact(x))
        rows = zip(band.windows(x).unbind(2), band.of(taps).unbind(2), matrices, strict=True)
        for row_windows, row_taps, matrix in rows:
            torch.mul(row_windows, row_taps, out=band.buffer)
            _add_products(sums, matrix.expand(len(sums), -1, -1), band.products)
        if not in_place:
            out_band.copy_(sums)
    return out


def _gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool, needs_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, kernel and weight, without meaning where not needed; the products are computed again."""
    x, grad_out, ks, width = x.contiguous(), grad_out.contiguous(), weight.shape[-1], x.shape[-1]
    taps, matrices, bands = _taps(kernel, ks), _matrices(weight), _bands(x, weight)
    grad_padded = x.new_zeros(*x.shape[:2], *(side + ks - 1 for side in x.shape[2:]), dtype=_exact(x))
    grad_taps = torch.empty_like(taps) if needs_kernel else taps
    grad_matrices = x.new_zeros(ks, len(bands[0].products), *matrices.mT.shape[1:], dtype=_exact(x))

    for band in bands:
        grad_band = band.of(grad_out).flatten(2)  # (s, O, n*W)
        rows = zip(*(rows.unbind(2) for rows in (band.windows(x), band.of(taps), band.of(grad_taps))), strict=True)
        for i, (row_windows, row_taps, row_grad_taps) in enumerate(rows):
            if needs_weight:
                torch.mul(row_windows, row_taps, out=band.buffer)
                _add_products(grad_matrices[i, : len(grad_band)], band.products, grad_band.mT)
            if needs_x or needs_kernel:  # the buffer turns into its own gradient
                torch.bmm(matrices[i].mT.expand(len(grad_band), -1, -1), grad_band, out=band.products)
            if needs_x:  # tap j of a pixel read j pixels further right in the padded image
                grad_row = band.of(grad_padded[:, :, i:])  # (s, C, n, W + ks - 1)
                for j in range(ks):
                    grad_row[..., j : j + width].addcmul_(band.buffer[:, :, j], row_taps[:, :, j])
            if needs_kernel:
                band.buffer.mul_(row_windows)
                torch.sum(band.buffer, 1, keepdim=True, out=row_grad_taps)

    inside = slice(ks // 2, -(ks // 2) or None)
    grad_weight = grad_matrices.sum(1).unflatten(1, (-1, ks)).permute(3, 1, 0, 2)  # (O, C, ks, ks)
    return grad_padded[..., inside, inside].to(x.dtype), grad_taps.flatten(1, 3), grad_weight.to(weight.dtype)


# For torch.compile, which would unroll strips and rows of taps: operators that it takes as they are.


def _contiguous_gradients(
    grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, needs_x: bool, needs_kernel: bool, needs_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = _gradients(grad_out, x, kernel, weight, needs_x, needs_kernel, needs_weight)
    grad_x, grad_kernel, grad_weight = (
        torch.clone(gradient, memory_format=torch.contiguous_format) for gradient in gradients
    )
    return grad_x, grad_kernel, grad_weight


_opaque_convolve = torch.library.custom_op("arcsr_lightning::kernel_guided_conv2d_strips", _convolve, mutates_args=())
_opaque_gradients = torch.library.custom_op(
    "arcsr_lightning::kernel_guided_conv2d_strips_gradients", _contiguous_gradients, mutates_args=()
)


@_opaque_convolve.register_fake
def _(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


@_opaque_gradients.register_fake
def _(grad_out: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, *_: bool) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), kernel.new_empty(kernel.shape), weight.new_empty(weight.shape)


def _exact(x: Tensor) -> torch.dtype:
    """In what many small terms are summed: half precision would lose them."""
    return torch.promote_types(x.dtype, torch.float32)


def _add_products(sums: Tensor, left: Tensor, right: Tensor) -> None:
    """sums += left @ right, in place, each (s, ., .)."""
    if sums.dtype != left.dtype:
        sums += torch.bmm(left, right)
    elif len(sums) == 1:  # unlike baddbmm_, into a strided view without a copy
        sums[0].addmm_(left[0], right[0])
    else:
        sums.baddbmm_(left, right)


def _taps(kernel: Tensor, ks: int) -> Tensor:
    return kernel.contiguous().unflatten(1, (1, ks, ks))  # (B, 1, ks, ks, H, W)


def _matrices(weight: Tensor) -> Tensor:
    """One matrix for each row of taps: (ks, O, C*ks)."""
    return weight.permute(2, 0, 1, 3).flatten(2)


class _Band(NamedTuple):
    """Lines that are computed together, in s strips of n lines each, and the memory for their products."""

    samples: slice
    lines: slice
    buffer: Tensor  # (s, C, ks, n, W), memory shared by all bands
    products: Tensor  # (s, C*ks, n*W), the same memory

    def of(self, tensor: Tensor) -> Tensor:
        """The band in (B, ..., H or more, any width), as (s, ..., n, width)."""
        return self.strips(tensor[self.samples, ..., self.lines, :])

    def windows(self, x: Tensor) -> Tensor:
        """The ks x ks neighbours in (B, C, H, W) of the band's pixels, zeros beyond the image: (s, C, ks, ks, n, W)."""
        ks, height = self.buffer.shape[2], x.shape[2]
        top, bottom = self.lines.start - ks // 2, self.lines.stop + ks // 2
        lines = x[self.samples, :, max(top, 0) : bottom]
        padded = F.pad(lines, (ks // 2, ks // 2, max(-top, 0), max(bottom - height, 0)))
        return self.strips(padded.unfold(2, ks, 1).unfold(3, ks, 1).permute(0, 1, 4, 5, 2, 3))

    def strips(self, lines: Tensor) -> Tensor:
        """(b, ..., all lines of the band, width) -> (s, ..., n, width), without a copy."""
        return lines.unflatten(-2, (-1, self.buffer.shape[3])).movedim(-3, 1).flatten(0, 1)


def _bands(x: Tensor, weight: Tensor) -> list[_Band]:
    """The bands of ``split_into_bands``, for products of C channels with a row of taps; the first is the largest."""
    (batch, channels, height, width), ks = x.shape, weight.shape[-1]
    line = channels * ks * width  # numbers
    on_cpu = x.device.type == "cpu"
    strip_bytes, threads = (CPU_STRIP_BYTES, torch.get_num_threads()) if on_cpu else (GPU_STRIP_BYTES, 1)
    memory = x.new_empty(0)
    bands: list[_Band] = []
    for samples, lines, strips in split_into_bands(batch, height, line * x.element_size(), strip_bytes, threads):
        count, n = (samples.stop - samples.start) * strips, (lines.stop - lines.start) // strips
        if not bands:
            memory = x.new_empty(count * n * line)
        buffer = memory[: count * n * line].view(count, channels, ks, n, width)
        bands.append(_Band(samples, lines, buffer, buffer.view(count, channels * ks, -1)))
    return bands


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
