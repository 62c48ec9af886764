"""Blocks of Fig. 1(b) and 1(c)."""

from arcsr_lightning.blocks.dm_block import DMBlock, DMConv, OrdinaryConv
from arcsr_lightning.blocks.initialisation import he_normal_, nearly_zero_
from arcsr_lightning.blocks.kg_block import ChannelAttention, ConcatConv, KGBlock, KGConv, PlainConv

__all__ = [
    "ChannelAttention",
    "ConcatConv",
    "DMBlock",
    "DMConv",
    "KGBlock",
    "KGConv",
    "OrdinaryConv",
    "PlainConv",
    "he_normal_",
    "nearly_zero_",
]
