"""ReDegNet (Li et al., ECCV 2022): learns degradations from pairs and gives them to other images.

Its synthesiser and discriminators are needed in training only, and work on images in [-1, 1].
"""

from arcsr_lightning.rivals.redegnet.content_encoder import ContentEncoder
from arcsr_lightning.rivals.redegnet.degradation_net import DegNet
from arcsr_lightning.rivals.redegnet.discriminators import ConditionalDiscriminator, UNetDiscriminator
from arcsr_lightning.rivals.redegnet.generator import Generator
from arcsr_lightning.rivals.redegnet.loss import ReDegNetLoss
from arcsr_lightning.rivals.redegnet.synthesiser import Synthesiser, from_signed, to_signed

__all__ = [
    "ConditionalDiscriminator",
    "ContentEncoder",
    "DegNet",
    "Generator",
    "ReDegNetLoss",
    "Synthesiser",
    "UNetDiscriminator",
    "from_signed",
    "to_signed",
]
