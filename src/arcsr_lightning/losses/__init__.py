"""What networks are trained on: modules called with (network, batch) that return their terms by name.

``loss`` among the terms is what is minimised. A loss owns what only training needs (key encoders, queues,
discriminators), is made anew for every stage, and says in ``supervision`` what it learns from.
"""

from arcsr_lightning.losses.cmos import BlurMapLoss, GivenMapsLoss
from arcsr_lightning.losses.contrast import DASRLoss
from arcsr_lightning.losses.manet import KernelFieldLoss, ReblurConsistencyLoss, TrueKernelLoss
from arcsr_lightning.losses.redegnet import ReDegNetLoss
from arcsr_lightning.losses.restoration import RestorationLoss, kernel_loss, reblur_loss
from arcsr_lightning.losses.udke import UDKELoss

__all__ = [
    "BlurMapLoss",
    "DASRLoss",
    "GivenMapsLoss",
    "KernelFieldLoss",
    "ReDegNetLoss",
    "ReblurConsistencyLoss",
    "RestorationLoss",
    "TrueKernelLoss",
    "UDKELoss",
    "kernel_loss",
    "reblur_loss",
]
