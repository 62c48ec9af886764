"""ESPCN (Shi et al., CVPR 2016): three convolutions at LR size and the pixel shuffle."""

from arcsr_lightning.rivals.espcn.network import ESPCN

__all__ = ["ESPCN"]
