"""CMOS (Chen et al., CVPR 2023): an estimator of blur and class maps, a restorer, the attention that both use."""

from arcsr_lightning.networks.cmos.cmos import CMOS, MapRestorer
from arcsr_lightning.networks.cmos.estimator import BlurMaps, MapEstimate, MapEstimator

__all__ = ["CMOS", "BlurMaps", "MapEstimate", "MapEstimator", "MapRestorer"]
