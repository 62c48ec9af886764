"""The synthesiser: take the degradation from one pair of images and give it to another image."""

from torch import Tensor, nn


class Synthesiser(nn.Module):
    """DegNet, content encoder and generator together.

    Args:
        degradation: ``DegNet``.
        content: ``ContentEncoder`` of the same sizes.
        generator: ``Generator`` of the same sizes.

    Shapes: images (B, 3, S, S) in [-1, 1], codes (B, code).
    """

    def __init__(self, degradation: nn.Module, content: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.degradation = degradation
        self.content = content
        self.generator = generator


def to_signed(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return 2 * image - 1


def from_signed(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (image + 1) / 2
