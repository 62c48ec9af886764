"""RDN (Zhang et al., CVPR 2018): residual dense blocks, whose results are all fused at the end."""

from arcsr_lightning.rivals.rdn.network import RDN

__all__ = ["RDN"]
