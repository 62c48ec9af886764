"""Networks of Fig. 1(a): LR images in [0, 1] -> ``Restoration``."""

from arcsr_lightning.networks.arcsr import ArcSR
from arcsr_lightning.networks.bicubic import Bicubic
from arcsr_lightning.networks.constant_kernel import ConstantKernel
from arcsr_lightning.networks.cue_estimator import CueEstimator
from arcsr_lightning.networks.kernel_estimator import KernelEstimator
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.networks.restorer import Restorer

__all__ = ["ArcSR", "Bicubic", "ConstantKernel", "CueEstimator", "KernelEstimator", "Restoration", "Restorer"]
