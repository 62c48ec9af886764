"""The losses of MANet's stages (Liang et al., ICCV 2021), and of its variant that learns kernels from pairs."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation.confidence import pooled_mean
from arcsr_lightning.degradation.resize import downsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.losses import SHRINKING_REACH, inner_l1
from arcsr_lightning.rivals.manet.network import MANet
from arcsr_lightning.rivals.taps import hr_taps_field, to_hr_taps, to_lr_taps


class KernelFieldLoss(nn.Module):
    """Stage 1: L1 between estimated and true kernels, on the LR grid. Trains the estimator alone.

    The publication enlarges the estimate to HR by repetition; where a kernel is constant over an LR pixel, the mean
    over the LR grid is the same at 1/scale² of the memory. True kernels have their taps in HR pixels. Measured ones
    have them in LR pixels: the estimate is brought to those, and a pixel counts as much as its measurement is sure.

    Args:
        weight: the publication multiplies by 10**4 and divides the mean once more by the 192² HR pixels of its
            patches: 0.271. Adam cancels a constant factor where gradients are well above its eps, which most of a
            fresh estimator's are not.

    Returns:
        ``kernel_l1``, unweighted, and ``loss``, for a network and a batch.

    Raises:
        InputError: the batch has no true or measured kernels, or they are larger than the estimator's.
    """

    supervision = ("kernels",)

    def __init__(self, weight: float = 0.271) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        kernel_l1 = field_l1(network, network.estimator(batch["lr"]), batch)
        return {"kernel_l1": kernel_l1, "loss": self.weight * kernel_l1}


class KernelAndImageLoss(nn.Module):
    """All stages at once: ``KernelFieldLoss``, and L1 on the image restored with the kernels as they are estimated.

    The image's loss does not reach the estimator, as in no stage of the publication, so that each part learns what its
    own stage would teach it, the estimator with another weight.

    Args:
        weight: of the kernels. Each part has a loss of its own, so that it is free: large enough for Adam's eps to
            be small beside the gradients of a mean over hundreds of taps.

    Returns:
        ``l1``, ``kernel_l1``, unweighted, and ``loss``, for a network and a batch.

    Raises:
        InputError: as ``KernelFieldLoss``.
    """

    supervision = ("kernels", "pairs")

    def __init__(self, weight: float = 100.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        kernel = network.estimator(batch["lr"])
        kernel_l1 = field_l1(network, kernel, batch)
        l1 = F.l1_loss(network(batch["lr"], hr_kernel=kernel.detach()).sr, batch["hr"])
        return {"l1": l1, "kernel_l1": kernel_l1, "loss": l1 + self.weight * kernel_l1}


class TrueKernelLoss(nn.Module):
    """Stage 2: L1 on the image restored with the true kernels. The estimator is not run.

    Measured kernels are brought to taps in HR pixels bilinearly, which widens them a little.

    Returns:
        ``l1`` and ``loss``, for a network and a batch.

    Raises:
        InputError: as ``KernelFieldLoss``.
    """

    supervision = ("pairs", "kernels")

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        restored = network(batch["lr"], hr_kernel=true_field(network, batch))
        l1 = F.l1_loss(restored.sr, batch["hr"])
        return {"l1": l1, "loss": l1}


class ReblurConsistencyLoss(nn.Module):
    """L1 on the image, and on the LR image that the estimated kernels make of the HR image.

    The second term is what ties the estimate to the blur where no true kernels exist. It degrades as Eq. (1) does,
    at HR: exact for kernels that are constant over an LR pixel, but for the noise, and away from the borders of the
    crop, which are left out: their blur comes from beyond it.

    Args:
        weight: of the second term.

    Returns:
        ``l1``, ``reblur`` and ``loss``, for a network and a batch.

    Raises:
        InputError: no pixel is far enough from the borders.
    """

    supervision = ("pairs",)

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, network: MANet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        lr, hr = batch["lr"], batch["hr"]
        kernel = network.estimator(lr)
        l1 = F.l1_loss(network(lr, hr_kernel=kernel).sr, hr)
        reach = ceil_div(network.estimator.kernel_size // 2, network.scale) + SHRINKING_REACH
        reblur = inner_l1(downsample(blur_at_hr(hr, kernel), network.scale), lr, reach)
        return {"l1": l1, "reblur": reblur, "loss": l1 + self.weight * reblur}


def field_l1(network: MANet, estimate: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """L1 between an estimate, (B, k*k, H, W) with HR taps, and the kernels of a batch: a scalar, mean over the taps.

    Raises:
        InputError: the batch has no kernels, or the estimator's cannot hold them.
    """
    if "confidence" not in batch:
        return F.l1_loss(estimate, true_field(network, batch))
    check_window(network, batch["kernel"].shape[1])
    truth, confidence = batch["kernel"], batch["confidence"]  # (B, ks*ks, H, W), LR taps; (B, 1, H, W)
    apart = (to_lr_taps(estimate, network.scale, math.isqrt(truth.shape[1])) - truth).abs().mean(1, keepdim=True)
    return pooled_mean(apart, confidence)


def true_field(network: MANet, batch: dict[str, Tensor]) -> Tensor:
    """The kernels of a batch as the estimator would give them: (B, k*k, H, W) on the LR grid, HR taps.

    Raises:
        InputError: the batch has no kernels, or the estimator's cannot hold them.
    """
    window = network.estimator.kernel_size
    if "confidence" in batch:
        check_window(network, batch["kernel"].shape[1])
        return to_hr_taps(batch["kernel"], network.scale, window)
    if "basis" not in batch:
        raise InputError(
            "model=manet learns from true kernels, which this data does not have; use model=manet_pairs or "
            "model=manet_reblur, or kernels that arcsr-prepare measured (data.kernels=measured)"
        )
    size = batch["basis"].shape[-1]
    if size > window:
        raise InputError(f"manet.kernel_size={window} cannot hold the data's {size}x{size} kernels; set it to {size}")
    return hr_taps_field(batch["basis"], batch["masks"], network.scale, window)


def check_window(network: MANet, lr_taps: int) -> None:
    """Raise InputError where the estimator's kernels do not reach all of so many LR taps."""
    size, window = math.isqrt(lr_taps), network.estimator.kernel_size
    needed = network.scale * (size - 1) + 1
    if needed > window:
        raise InputError(
            f"manet.kernel_size={window} HR pixels cannot hold measured kernels of {size}x{size} LR pixels; "
            f"set it to {needed}, or kernel_size to less"
        )


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
