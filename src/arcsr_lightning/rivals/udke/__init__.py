"""UDKE (Zheng et al., ECCV 2022): an unfolded optimisation that estimates the image and one kernel in turns."""

from arcsr_lightning.rivals.udke.loss import UDKELoss
from arcsr_lightning.rivals.udke.network import UDKE

__all__ = ["UDKE", "UDKELoss"]
