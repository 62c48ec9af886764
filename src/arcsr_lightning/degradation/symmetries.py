"""The eight symmetries of the square, for images and for the kernels that blur them."""

import math
from typing import NamedTuple

from torch import Tensor


class Symmetry(NamedTuple):
    """Left and right exchanged, or not, and then so many quarter turns counter-clockwise."""

    mirrored: bool
    quarter_turns: int


SYMMETRIES = tuple(Symmetry(mirrored, turns) for mirrored in (False, True) for turns in range(4))


def inverse(symmetry: Symmetry) -> Symmetry:
    """The symmetry that undoes another: a mirrored turn is its own."""
    return symmetry if symmetry.mirrored else Symmetry(False, -symmetry.quarter_turns % 4)


def turn(x: Tensor, symmetry: Symmetry) -> Tensor:
    """Turn images (..., H, W); after an odd number of quarter turns they are (..., W, H)."""
    return (x.flip(-1) if symmetry.mirrored else x).rot90(symmetry.quarter_turns, (-2, -1))


def turn_field(field: Tensor, symmetry: Symmetry) -> Tensor:
    """Turn a kernel field, so that blurring a turned image with it gives the turned blurred image.

    Args:
        field: (..., k*k, H, W), the taps row by row. They are turned as the pixels are.
        symmetry: which of the eight.

    Returns:
        (..., k*k, H, W), or (..., k*k, W, H) after an odd number of quarter turns.
    """
    if symmetry == SYMMETRIES[0]:
        return field
    size = math.isqrt(field.shape[-3])
    taps_last = turn(field, symmetry).unflatten(-3, (size, size)).movedim((-2, -1), (-4, -3))  # (..., H, W, k, k)
    return turn(taps_last, symmetry).movedim((-4, -3), (-2, -1)).flatten(-4, -3)
