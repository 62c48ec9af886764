"""The losses of MANet's stages (Liang et al., ICCV 2021), and of its variant that learns kernels from pairs."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation.blur import hr_taps_field
from arcsr_lightning.degradation.resize import downsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.manet.network import MANet


class KernelFieldLoss(nn.Module):
    """Stage 1: L1 between estimated and true kernels, taps in HR pixels, on the LR grid. Trains the estimator alone.

    The publication enlarges the estimate to HR by repetition; where a kernel is constant over an LR pixel, the mean
    over the LR grid is the same at 1/scale² of the memory.

    Args:
        weight: the publication multiplies by 10**4 and divides the mean once more by the 192² HR pixels of its
            patches: 0.271. Adam all but cancels a constant factor.

    Returns:
        ``kernel_l1``, unweighted, and ``loss``, for a network and a batch.

    Raises:
        InputError: the batch has no true kernels, or they are larger than the estimator's.
    """

    supervision = ("kernels",)

    def __init__(self, weight: float = 0.271) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = true_field(network, batch)
        kernel_l1 = F.l1_loss(network.estimator(batch["lr"]), truth)
        return {"kernel_l1": kernel_l1, "loss": self.weight * kernel_l1}


class TrueKernelLoss(nn.Module):
    """Stage 2: L1 on the image restored with the true kernels. The estimator is not run.

    Returns:
        ``l1`` and ``loss``, for a network and a batch.

    Raises:
        InputError: as ``KernelFieldLoss``.
    """

    supervision = ("pairs", "kernels")

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        restored = network(batch["lr"], kernel=true_field(network, batch))
        l1 = F.l1_loss(restored.sr, batch["hr"])
        return {"l1": l1, "loss": l1}


class ReblurConsistencyLoss(nn.Module):
    """L1 on the image, and on the LR image that the estimated kernels make of the HR image.

    The second term is what ties the estimate to the blur where no true kernels exist. It degrades as Eq. (1) does,
    at HR: exact for kernels that are constant over an LR pixel, but for the noise.

    Args:
        weight: of the second term.

    Returns:
        ``l1``, ``reblur`` and ``loss``, for a network and a batch.
    """

    supervision = ("pairs",)

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        lr, hr = batch["lr"], batch["hr"]
        kernel = network.estimator(lr)
        l1 = F.l1_loss(network(lr, kernel=kernel).sr, hr)
        reblur = F.l1_loss(downsample(blur_at_hr(hr, kernel), network.scale), lr)
        return {"l1": l1, "reblur": reblur, "loss": l1 + self.weight * reblur}


def true_field(network: MANet, batch: dict[str, Tensor]) -> Tensor:
    """The true kernels as the estimator would give them: (B, k*k, H, W) on the LR grid, HR taps."""
    if "basis" not in batch:
        raise InputError(
            "model=manet learns from true kernels, which this data does not have; "
            "use model=manet_pairs or model=manet_reblur"
        )
    window, size = network.estimator.kernel_size, batch["basis"].shape[-1]
    if size > window:
        raise InputError(f"manet.kernel_size={window} cannot hold the data's {size}x{size} kernels; set it to {size}")
    return hr_taps_field(batch["basis"], batch["masks"], network.scale, window)


def blur_at_hr(hr: Tensor, kernel: Tensor) -> Tensor:
    """Blur an HR image with kernels given per LR pixel: ``apply_kernel_field`` with each repeated scale x scale times.

    Shapes: hr (B, C, scale*H, scale*W), kernel (B, k*k, H, W) with HR taps -> (B, C, scale*H, scale*W). The field
    at HR, k*k * scale*H * scale*W numbers, is never made.
    """
    size, (rows, columns) = math.isqrt(kernel.shape[1]), kernel.shape[-2:]
    batch, channels, height, width = hr.shape
    padded = F.pad(hr, [size // 2] * 4, mode="replicate")
    blurred = hr.new_zeros(batch, channels, rows, height // rows, columns, width // columns)
    for tap, weight in enumerate(kernel.unbind(1)):
        dy, dx = divmod(tap, size)
        window = padded[..., dy : dy + height, dx : dx + width]
        cells = window.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # (B, C, H, scale, W, scale), a view
        blurred.addcmul_(cells, weight[:, None, :, None, :, None])
    return blurred.flatten(4, 5).flatten(2, 3)
