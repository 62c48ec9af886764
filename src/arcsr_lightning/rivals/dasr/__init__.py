"""DASR (Wang et al., CVPR 2021): one degradation vector per image, learned by contrast, adapts the restorer."""

from arcsr_lightning.rivals.dasr.loss import DASRLoss
from arcsr_lightning.rivals.dasr.network import DASR, DASRRestorer, DegradationEncoder

__all__ = ["DASR", "DASRLoss", "DASRRestorer", "DegradationEncoder"]
