"""The two data steps of UDKE (Zheng et al., ECCV 2022), and the model of the LR image that they invert.

One kernel k blurs the whole image: lr = ((x * k) * h)[::s, ::s] + n. The filter h is that of the downsampler and is
known; without one, downsampling is plain striding. Kernels and filters have odd sides, act by cross-correlation and are
centred at HR pixel s*i of LR pixel i, so the shift of a downsampler is part of its filter.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from arcsr_lightning.degradation import crop_border
from arcsr_lightning.errors import check_odd
from arcsr_lightning.integers import ceil_div

BAND_BYTES = 64 << 20  # neighbourhoods that the kernel step holds at a time


def image_step(
    x: Tensor,
    lr: Tensor,
    kernel: Tensor,
    weight: Tensor,
    scale: int,
    prefilter: Tensor | None = None,
    margin: int = 0,
) -> Tensor:
    """The z that minimises ||A z - lr||^2 + weight * ||z - x||^2, in closed form, each colour by itself.

    It is x + A' (A A' + weight)^-1 (lr - A x). A A' is a convolution on the LR grid, whose spectrum is the mean of
    |transfer function|^2 over the scale^2 frequencies that striding folds into one. For a kernel of zeros it is x.

    Args:
        x: (B, C, H, W).
        lr: (B, C, H/scale, W/scale).
        kernel: (B, k, k).
        weight: (B,), positive.
        scale: 1 or more.
        prefilter: (m, m), or None for plain striding.
        margin: LR pixels by which the image is continued beyond its borders, with no residual there. 0 is the exact
            solution for a circular image; for others, the reach of kernel and filter keeps opposite borders apart.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: even k or m, or one larger than the image with its margin.
    """
    padded = F.pad(x, [scale * margin] * 4, mode="replicate")
    transfer = transfer_function(kernel, prefilter, *padded.shape[-2:])  # (B, 1, H, W) with margin
    blurred = _filter(padded, transfer)[..., ::scale, ::scale]
    residual = F.pad(lr - crop_border(blurred, margin), [margin] * 4)

    height, width = residual.shape[-2:]
    power = transfer.real.square() + transfer.imag.square()
    folded = power.unflatten(-2, (scale, height)).unflatten(-1, (scale, width)).mean((-4, -2))  # (B, 1, H/s, W/s)
    strided = _filter(residual, 1 / (folded + weight[:, None, None, None]))
    spread = F.pad(strided[..., None, :, None], (0, scale - 1, 0, 0, 0, scale - 1))  # zeros between LR pixels
    spread = spread.flatten(-2).flatten(-3, -2)  # (B, C, H, W) with margin
    return x + crop_border(_filter(spread, transfer.conj()), scale * margin)


def kernel_step(
    x: Tensor, lr: Tensor, kernel: Tensor, weight: Tensor, scale: int, prefilter: Tensor | None = None
) -> Tensor:
    """The k that minimises ||A x - lr||^2 + weight * ||k - kernel||^2, each sample by itself, divided by its sum.

    One equation for each colour of each LR pixel whose kernel and filter lie inside the image. Solved in float64,
    as the neighbourhoods of a smooth image hardly differ.

    Args:
        x: (B, C, H, W).
        lr: (B, C, H/scale, W/scale).
        kernel: (B, k, k).
        weight: (B,), positive.
        scale: 1 or more.
        prefilter: (m, m), or None for plain striding.

    Returns:
        (B, k, k); taps may be negative.

    Raises:
        ValueError: even k or m, or an LR side below ``smallest_lr_side``.
        torch.linalg.LinAlgError: see ``solve_spd``.
    """
    size = check_odd(kernel.shape[-1])
    smallest = smallest_lr_side(size, scale, 1 if prefilter is None else check_odd(prefilter.shape[-1]))
    if min(lr.shape[-2:]) < smallest:
        raise ValueError(f"a {size}x{size} kernel needs LR sides of at least {smallest}, got {[*lr.shape[-2:]]}")
    gram, moment = _normal_equations(x.double(), lr.double(), size, scale, prefilter)
    ridge = weight.double()[:, None, None]
    identity = torch.eye(size**2, dtype=gram.dtype, device=gram.device)
    solution = solve_spd(gram + ridge * identity, moment + ridge * kernel.double().flatten(1)[..., None])
    solution = solution.view_as(kernel)
    return (solution / (solution.sum((1, 2), keepdim=True) + 1e-10)).to(kernel)


def solve_spd(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve matrix @ solution = rhs, differentiably; matrix (B, n, n) symmetric positive definite, rhs (B, n, m).

    Raises torch.linalg.LinAlgError where a matrix is not positive definite, or the result not finite.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    solution = torch.cholesky_solve(rhs, factor)
    if not matrix.is_meta and (failed.any() or not solution.isfinite().all()):
        raise torch.linalg.LinAlgError(
            "a system to solve is not positive definite or holds NaN; the image before it is degenerate, "
            "or the weight of the ridge too small"
        )
    return solution


def transfer_function(kernel: Tensor, prefilter: Tensor | None, height: int, width: int) -> Tensor:
    """What kernel (B, k, k), then prefilter (m, m), do to each frequency of a circular image: (B, 1, H, W).

    Raises:
        ValueError: a kernel of even size, or one larger than the image.
    """
    size = check_odd(kernel.shape[-1])
    if size > min(height, width):
        raise ValueError(f"a kernel of {size}x{size} is larger than its image of {height}x{width}")
    centred = F.pad(kernel, (0, width - size, 0, height - size)).roll((-(size // 2),) * 2, dims=(-2, -1))
    transfer = torch.fft.fft2(centred).conj()[:, None]
    return transfer if prefilter is None else transfer * transfer_function(prefilter[None], None, height, width)


def smallest_lr_side(kernel_size: int, scale: int, prefilter_size: int = 1) -> int:
    """The fewest LR pixels, along either axis, that give the kernel step an equation."""
    reach = kernel_size // 2 + prefilter_size // 2
    return _first_inside(reach, scale) + reach // scale + 1


def _first_inside(reach: int, scale: int) -> int:
    """The first LR pixel with ``reach`` HR pixels before it."""
    return ceil_div(reach, scale)


def _normal_equations(x: Tensor, lr: Tensor, size: int, scale: int, prefilter: Tensor | None) -> tuple[Tensor, Tensor]:
    """X'X (B, k*k, k*k) and X'lr (B, k*k, 1), where a row of X is the neighbourhood of an LR pixel in filtered x.

    X itself exists in bands of LR rows, also in backward, which computes it again.
    """
    reach = size // 2
    if prefilter is not None:
        transfer = transfer_function(prefilter[None].to(x), None, *x.shape[-2:])
        x = crop_border(_filter(x, transfer), prefilter.shape[-1] // 2)  # less what met the opposite border
        reach += prefilter.shape[-1] // 2
    first = _first_inside(reach, scale)
    corner = first * scale - reach  # of the first neighbourhood, in x
    x = x[..., corner:, corner:]
    rows, columns = ((side - size) // scale + 1 for side in x.shape[-2:])
    lr = lr[..., first : first + rows, first : first + columns]

    gram = x.new_zeros(len(x), size**2, size**2)
    moment = x.new_zeros(len(x), size**2, 1)
    band = max(1, BAND_BYTES // (len(x) * x.shape[1] * size**2 * columns * x.element_size()))
    for top in range(0, rows, band):
        targets = lr[..., top : top + band, :]
        pixels = x[..., top * scale : (top + targets.shape[-2] - 1) * scale + size, :]
        share = checkpoint(_band, pixels, targets, size, scale, use_reentrant=False, preserve_rng_state=False)
        gram, moment = gram + share[0], moment + share[1]
    return gram, moment


def _band(x: Tensor, lr: Tensor, size: int, scale: int) -> tuple[Tensor, Tensor]:
    """What some rows of LR pixels add to X'X and X'lr."""
    neighbourhoods = F.unfold(x, size, stride=scale).unflatten(1, (x.shape[1], -1))  # (B, C, k*k, h*w)
    moment = neighbourhoods @ lr.flatten(2)[..., None]
    # Last: backward computes again what this is made of, but not this, the largest product.
    gram = neighbourhoods @ neighbourhoods.mT  # (B, C, k*k, k*k)
    return gram.sum(1), moment.sum(1)


def _filter(x: Tensor, transfer: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(x) * transfer).real
