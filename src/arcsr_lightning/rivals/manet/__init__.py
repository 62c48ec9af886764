"""MANet (Liang et al., ICCV 2021): one blur kernel per LR pixel, compressed to a code that conditions an RRDB trunk."""

from arcsr_lightning.rivals.manet.losses import (
    KernelAndImageLoss,
    KernelFieldLoss,
    ReblurConsistencyLoss,
    TrueKernelLoss,
)
from arcsr_lightning.rivals.manet.network import MANet, MutualAffineEstimator, refit_code

__all__ = [
    "KernelAndImageLoss",
    "KernelFieldLoss",
    "MANet",
    "MutualAffineEstimator",
    "ReblurConsistencyLoss",
    "TrueKernelLoss",
    "refit_code",
]
