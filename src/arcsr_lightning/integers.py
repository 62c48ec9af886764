"""Arithmetic of whole numbers that several rooms need."""


def ceil_div(number: int, divisor: int) -> int:
    """Return ``number / divisor`` rounded up: how many pieces of that size hold all."""
    return -(-number // divisor)
