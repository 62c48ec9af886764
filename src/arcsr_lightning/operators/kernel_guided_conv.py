"""Kernel-guided convolution (Sec. 3.2.3): a convolution whose taps are weighted anew at every pixel."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

CPU_BAND_BYTES = (
    4 << 20
)  # per thread; measured: smaller bands lose to call overhead, larger ones fall out of the caches
GPU_BAND_BYTES = 512 << 20  # many launches' worth of work, yet small beside the memory of a card


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x with weights that each pixel's own kernel scales tap by tap (Sec. 3.2.3).

    out[o, p] = bias[o] + sum over c, t of weight[o, c, t] * kernel[t, p] * x[c, p + offset(t)],
    with offset(t) = (t // ks - ks // 2, t % ks - ks // 2) and zeros outside the image. Ones as kernel give conv2d.

    Works in bands of rows, recomputed in backward, and so never holds the C * ks * ks * H * W products.
    First derivatives only. Under autocast the inputs are cast to its dtype, which the result has too.

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
    """With buffer[c, t, p] = kernel[t, p] * x[c, p + offset(t)], a band of p at a time, out = weight @ buffer."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel, weight)
        out_channels, _, ks, _ = weight.shape
        windows, taps = _windows(_pad(x, ks), ks), _taps(kernel, ks)
        matrix = weight.reshape(1, out_channels, -1)  # (1, O, C*ks*ks)
        out = x.new_empty(x.shape[0], out_channels, x.shape[2] * x.shape[3])
        for band in _bands(windows):
            torch.mul(windows[band.window], taps[band.window], out=band.buffer)
            torch.bmm(matrix.expand(len(band.products), -1, -1), band.products, out=out[band.pixels])
        return out.unflatten(2, x.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, kernel, weight = ctx.saved_tensors
        needs_x, needs_kernel, needs_weight = ctx.needs_input_grad
        ks = weight.shape[-1]
        padded, taps = _pad(x, ks), _taps(kernel, ks)
        windows = _windows(padded, ks)
        grad_out = grad_out.contiguous().flatten(2)  # (B, O, H*W)
        matrices = weight.permute(2, 1, 3, 0).flatten(1, 2)  # (ks, C*ks, O)

        # Sums of many small terms: half precision would lose them.
        exact = torch.promote_types(x.dtype, torch.float32)
        grad_padded = torch.zeros_like(padded, dtype=exact)
        grad_windows = _windows(grad_padded, ks)
        grad_matrices = torch.zeros_like(matrices, dtype=exact)
        grad_taps = torch.empty_like(taps)

        for i in range(ks):  # rows of taps share few sums, and bands of one row of taps are taller
            row_windows, row_taps, row_grad_windows = (t[:, :, i : i + 1] for t in (windows, taps, grad_windows))
            for band in _bands(row_windows):
                grad_band = grad_out[band.pixels]  # (b, O, n*W)
                if needs_weight:
                    torch.mul(row_windows[band.window], row_taps[band.window], out=band.buffer)
                    grad_matrices[i] += torch.bmm(band.products, grad_band.mT).sum(0, dtype=exact)
                if needs_x or needs_kernel:  # the buffer turns into its own gradient
                    torch.bmm(matrices[i].expand(len(grad_band), -1, -1), grad_band, out=band.products)
                if needs_x:
                    for j in range(ks):  # windows overlap: added to one tap at a time
                        tap = (*band.window[:1], slice(None), 0, j, *band.window[2:])
                        row_grad_windows[tap].addcmul_(band.buffer[:, :, 0, j], row_taps[tap])
                if needs_kernel:
                    band.buffer.mul_(row_windows[band.window])
                    torch.sum(band.buffer, 1, keepdim=True, out=grad_taps[:, :, i : i + 1][band.window])

        radius = ks // 2
        grad_x = grad_padded[..., radius : radius + x.shape[2], radius : radius + x.shape[3]].to(x.dtype)
        grad_weight = grad_matrices.unflatten(1, (-1, ks)).permute(3, 1, 0, 2).to(weight.dtype)  # (O, C, ks, ks)
        return (
            grad_x if needs_x else None,
            grad_taps.flatten(1, 3) if needs_kernel else None,
            grad_weight if needs_weight else None,
        )


def _pad(x: Tensor, ks: int) -> Tensor:
    return F.pad(x.contiguous(), (ks // 2,) * 4)


def _windows(padded: Tensor, ks: int) -> Tensor:
    """View the ks x ks neighbours of every pixel, without a copy: (B, C, ks, ks, H, W)."""
    return padded.unfold(2, ks, 1).unfold(3, ks, 1).permute(0, 1, 4, 5, 2, 3)


def _taps(kernel: Tensor, ks: int) -> Tensor:
    return kernel.contiguous().unflatten(1, (1, ks, ks))  # (B, 1, ks, ks, H, W)


class _Band(NamedTuple):
    window: tuple  # index into (B, ..., H, W)
    pixels: tuple  # index into (B, ..., H*W)
    buffer: Tensor  # (b, C, rows of taps, ks, n, W), memory shared by all bands
    products: Tensor  # (b, C*taps, n*W), the same memory


def _bands(windows: Tensor) -> Iterator[_Band]:
    """Split batch and image so that the buffer keeps to its budget, on a CPU to half of C * ks * ks * H * W too."""
    batch, channels, down, across, height, width = windows.shape
    row = channels * down * across * width  # numbers in one row of one sample
    if windows.device.type == "cpu":
        budget = CPU_BAND_BYTES * torch.get_num_threads() // windows.element_size()
        budget = min(budget, channels * across * across * ((height + 1) // 2) * width)
    else:
        budget = GPU_BAND_BYTES // windows.element_size()
    rows = min(max(1, budget // row), height)
    samples = min(max(1, budget // (row * rows)), batch)
    memory = windows.new_empty(samples * row * rows)
    for first in range(0, batch, samples):
        for top in range(0, height, rows):
            b, n = min(samples, batch - first), min(rows, height - top)
            buffer = memory[: b * n * row].view(b, channels, down, across, n, width)
            window = (slice(first, first + b), ..., slice(top, top + n), slice(None))
            pixels = (slice(first, first + b), ..., slice(top * width, (top + n) * width))
            yield _Band(window, pixels, buffer, buffer.view(b, -1, n * width))


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
