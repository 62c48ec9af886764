"""Blocks of Fig. 1(b) and 1(c), and what a network may have beyond its publication."""

from arcsr_lightning.blocks.cue_head import CueHead
from arcsr_lightning.blocks.dm_block import DMBlock, DMConv, OrdinaryConv
from arcsr_lightning.blocks.image_skip import ImageSkip, skip_added
from arcsr_lightning.blocks.initialisation import he_normal_, nearly_zero_
from arcsr_lightning.blocks.kg_block import ChannelAttention, ConcatConv, KGBlock, KGConv, PlainConv
from arcsr_lightning.blocks.standardisation import Standardisation
from arcsr_lightning.blocks.upsampling import BilinearUp, ShuffledUp, TransposedUp

__all__ = [
    "BilinearUp",
    "ChannelAttention",
    "ConcatConv",
    "CueHead",
    "DMBlock",
    "DMConv",
    "ImageSkip",
    "KGBlock",
    "KGConv",
    "OrdinaryConv",
    "PlainConv",
    "ShuffledUp",
    "Standardisation",
    "TransposedUp",
    "he_normal_",
    "nearly_zero_",
    "skip_added",
]
