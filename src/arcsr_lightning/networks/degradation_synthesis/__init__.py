"""ReDegNet's degradation synthesiser and its discriminators: needed in training only, all on images in [-1, 1]."""

from arcsr_lightning.networks.degradation_synthesis.content_encoder import ContentEncoder
from arcsr_lightning.networks.degradation_synthesis.degradation_net import DegNet
from arcsr_lightning.networks.degradation_synthesis.discriminators import ConditionalDiscriminator, UNetDiscriminator
from arcsr_lightning.networks.degradation_synthesis.generator import Generator
from arcsr_lightning.networks.degradation_synthesis.synthesiser import Synthesiser, from_signed, to_signed

__all__ = [
    "ConditionalDiscriminator",
    "ContentEncoder",
    "DegNet",
    "Generator",
    "Synthesiser",
    "UNetDiscriminator",
    "from_signed",
    "to_signed",
]
