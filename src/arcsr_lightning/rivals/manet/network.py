"""MANet (Liang et al., ICCV 2021): estimate a kernel per LR pixel, compress it, restore with it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import pad_to_multiple
from arcsr_lightning.degradation.blur import splat_matrix
from arcsr_lightning.degradation.fields import Blur
from arcsr_lightning.errors import InputError, check_odd
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.kernel_code import draw_kernels, principal_kernels
from arcsr_lightning.rivals.manet.blocks import MABlock
from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT
from arcsr_lightning.rivals.taps import to_lr_taps


class MutualAffineEstimator(nn.Module):
    """LR image -> one blur kernel per LR pixel: a U-Net of two levels, one MABlock in every place, skips added.

    A kernel sees 22 x 22 LR pixels: local on purpose, but less than a long motion streak and its surroundings.

    Args:
        kernel_size: k, odd, in HR pixels (21 as published).
        width: channels of the finer level (128 as published); the coarser one has twice as many.
        split: groups of every MAConv; divides ``width``.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> (B, k*k, H, W), taps in HR pixels, row-major, non-negative,
    summing to one.

    Raises:
        ValueError: even ``kernel_size``, or ``width`` not divisible by ``split``.
    """

    def __init__(self, kernel_size: int = 21, width: int = 128, split: int = 2) -> None:
        super().__init__()
        self.kernel_size = check_odd(kernel_size)
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Sequential(MABlock(width, split), nn.Conv2d(width, 2 * width, 2, stride=2))
        self.body = MABlock(2 * width, split)
        self.up = nn.Sequential(nn.ConvTranspose2d(2 * width, width, 2, stride=2), MABlock(width, split))
        self.tail = nn.Conv2d(width, kernel_size**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        fine = self.head(pad_to_multiple(lr, 8))  # 2 would do; 8 as published
        coarse = self.down(fine)  # half the size, twice the channels
        coarse = coarse + self.body(coarse)
        logits = self.tail(fine + self.up(coarse))[..., :height, :width]  # (B, k*k, H, W)
        return torch.softmax(logits.float(), dim=1)


class MANet(nn.Module):
    """Kernel estimator, linear compression of its kernels to a code, and an RRDB trunk conditioned on the code map.

    It represents one kernel per LR pixel, so also blur that varies over the image. ``basis``, (k*k, code) with
    orthonormal columns, must be fitted to the kernels at hand by ``refit_code``: fifteen dimensions that keep all of
    Gaussians lose a quarter of what tells kernels of ``degradation=shake`` apart. Until then it is random, and
    ``explained_variance`` is zero. Both are buffers: they stay with the weights.

    Args:
        estimator: LR image -> kernels with HR taps.
        restorer: LR image and code map -> SR image.
        kernel_size: ks, odd, of the kernels in the result, in LR pixels.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size, and optionally ``hr_kernel`` (B, k*k, H, W), HR taps on the LR
    grid, in place of the estimate -> sr (B, 3, scale*H, scale*W), not clamped; kernel (B, ks*ks, H, W) with LR taps.

    Raises:
        InputError: ``kernel_size`` cannot hold the estimator's kernels at this scale, or the code is longer than k*k.
    """

    basis: Tensor
    explained_variance: Tensor

    def __init__(self, estimator: MutualAffineEstimator, restorer: RRDBSFT, kernel_size: int = 7) -> None:
        super().__init__()
        # Raises where kernels would not fit.
        splat_matrix(estimator.kernel_size // 2, restorer.scale, kernel_size, torch.empty(()))
        taps = estimator.kernel_size**2
        if restorer.code > taps:
            raise InputError(f"code {restorer.code} is longer than the {taps} taps of a kernel; use at most {taps}")
        self.scale = restorer.scale
        self.kernel_size = kernel_size
        self.estimator = estimator
        self.restorer = restorer
        self.register_buffer("basis", nn.init.orthogonal_(torch.empty(taps, restorer.code)))
        self.register_buffer("explained_variance", torch.zeros(()))

    def forward(self, lr: Tensor, hr_kernel: Tensor | None = None) -> Restoration:
        if hr_kernel is None:
            hr_kernel = self.estimator(lr)
        sr = self.restorer(lr, self.encode(hr_kernel))
        return Restoration(sr, to_lr_taps(hr_kernel, self.scale, self.kernel_size))

    @property
    def is_prepared(self) -> bool:
        """Whether the code was fitted, here or before its weights were saved."""
        return bool(self.explained_variance > 0)

    def encode(self, kernel: Tensor) -> Tensor:
        """Kernels (B, k*k, H, W) -> code map (B, code, H, W), without subtracting a mean."""
        return torch.einsum("bthw,tc->bchw", kernel, self.basis)


@torch.no_grad()
def refit_code(network: MANet, blur: Blur, samples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Fit the network's basis to the kernels that ``blur`` draws; returns and keeps the share of variance explained.

    Args:
        network: its buffers ``basis`` and ``explained_variance`` are filled.
        blur: a sampler of ``degradation``. Where it blends kernels by masks, the kernels before blending are taken;
            blends of them lie in the same space.
        samples: fields to draw.
        seed: of the draws.

    Raises:
        InputError: the sampler's kernels are larger than the estimator's.
    """
    kernels = draw_kernels(blur, samples, seed)
    size, window = kernels.shape[-1], network.estimator.kernel_size
    if size > window:
        raise InputError(
            f"manet.kernel_size={window} cannot hold the {size}x{size} kernels of degradation.blur; use "
            f"manet.kernel_size={size}, or make degradation.blur.kernel_size at most {window}"
        )
    padded = F.pad(kernels, [(window - size) // 2] * 4)
    basis, explained = principal_kernels(padded.flatten(1), network.basis.shape[1])
    network.basis.copy_(basis)
    network.explained_variance.copy_(explained)
    return {"explained_variance": explained.item()}
