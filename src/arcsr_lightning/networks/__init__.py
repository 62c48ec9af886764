"""Networks: LR images in [0, 1] -> ``Restoration``. ArcSR first, then its rivals."""

from arcsr_lightning.networks.arcsr import ArcSR
from arcsr_lightning.networks.bicubic import Bicubic
from arcsr_lightning.networks.cmos import CMOS, MapEstimator, MapRestorer
from arcsr_lightning.networks.dasr import DASR, DASRRestorer, DegradationEncoder
from arcsr_lightning.networks.kernel_estimator import KernelEstimator
from arcsr_lightning.networks.manet import MANet, MutualAffineEstimator
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.networks.restorer import Restorer
from arcsr_lightning.networks.rrdb import RRDBNet
from arcsr_lightning.networks.rrdb_sft import RRDBSFT
from arcsr_lightning.networks.udke import UDKE

__all__ = [
    "CMOS",
    "DASR",
    "RRDBSFT",
    "UDKE",
    "ArcSR",
    "Bicubic",
    "DASRRestorer",
    "DegradationEncoder",
    "KernelEstimator",
    "MANet",
    "MapEstimator",
    "MapRestorer",
    "MutualAffineEstimator",
    "RRDBNet",
    "Restoration",
    "Restorer",
]
