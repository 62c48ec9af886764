"""CMOS (Chen et al., CVPR 2023): an estimator of blur and class maps, a restorer, the attention that both use."""

from arcsr_lightning.rivals.cmos.estimator import BlurMaps, MapEstimate, MapEstimator
from arcsr_lightning.rivals.cmos.losses import BlurMapLoss, GivenMapsLoss, MapAndImageLoss, MapTargets
from arcsr_lightning.rivals.cmos.network import CMOS, MapRestorer

__all__ = [
    "CMOS",
    "BlurMapLoss",
    "BlurMaps",
    "GivenMapsLoss",
    "MapAndImageLoss",
    "MapEstimate",
    "MapEstimator",
    "MapRestorer",
    "MapTargets",
]
