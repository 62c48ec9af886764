"""NAFNet (Chen et al., ECCV 2022): a U-Net without nonlinear activations, here on the bicubically enlarged image."""

from arcsr_lightning.rivals.nafnet.network import NAFNet

__all__ = ["NAFNet"]
