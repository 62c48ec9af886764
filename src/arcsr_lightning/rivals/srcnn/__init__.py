"""SRCNN (Dong et al., ECCV 2014; 9-5-5: TPAMI 2016): three convolutions on the bicubically enlarged image."""

from arcsr_lightning.rivals.srcnn.network import SRCNN

__all__ = ["SRCNN"]
