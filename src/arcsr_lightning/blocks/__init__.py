"""Blocks of Fig. 1(b) and 1(c)."""

from arcsr_lightning.blocks.cue_head import CueHead
from arcsr_lightning.blocks.dm_block import DMBlock, DMConv, OrdinaryConv
from arcsr_lightning.blocks.initialisation import he_normal_, nearly_zero_
from arcsr_lightning.blocks.kg_block import ChannelAttention, ConcatConv, KGBlock, KGConv, PlainConv
from arcsr_lightning.blocks.padding import pad_to_multiple
from arcsr_lightning.blocks.standardisation import Standardisation
from arcsr_lightning.blocks.upsampling import BilinearUp, TransposedUp

__all__ = [
    "BilinearUp",
    "ChannelAttention",
    "ConcatConv",
    "CueHead",
    "DMBlock",
    "DMConv",
    "KGBlock",
    "KGConv",
    "OrdinaryConv",
    "PlainConv",
    "Standardisation",
    "TransposedUp",
    "he_normal_",
    "nearly_zero_",
    "pad_to_multiple",
]
