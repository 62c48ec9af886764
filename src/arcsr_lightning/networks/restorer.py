"""The super-resolving half of ArcSR (Fig. 1(a) right, Sec. 3.2.1)."""

from collections.abc import Callable

from torch import Tensor, nn

from arcsr_lightning.blocks import ChannelAttention, KGBlock, KGConv, nearly_zero_
from arcsr_lightning.degradation import upsample as enlarge_bicubically
from arcsr_lightning.operators import NORMALISATIONS, local_mean, normalise_kernel


class Restorer(nn.Module):
    """LR image and kernel field -> SR image: eight KG-blocks, each followed by channel attention, then pixel shuffle.

    The last convolution's result is added to the bicubically enlarged LR image, to which a fresh network is close. The
    network sees the image less its local mean, and no convolution on the way to the result has a bias: what is
    constant comes back as it was, exactly, but with ``ConcatConv``, to which the kernel's taps are as biases. The paper
    says nothing of the three (docs/paper_notes.md).

    Args:
        scale: 2, 3 or 4.
        kernel_size: ks, odd, as the estimator's.
        width: channels.
        blocks: KG-blocks (8 in Sec. 4.2).
        normalisation: how a blur kernel becomes the matrix that multiplies the weights; see ``normalise_kernel``.
        convolution: ``KGConv``; ``ConcatConv`` for the ablation, ``PlainConv`` for the control without a kernel.

    Shapes: RGB in [0, 1], (B, 3, H, W), and kernels (B, ks*ks, H, W), or None with ``PlainConv``
    -> (B, 3, scale*H, scale*W), not clamped.

    Raises:
        ValueError: a scale other than 2, 3, 4, an unknown normalisation or an even ``kernel_size``.
    """

    def __init__(
        self,
        scale: int = 4,
        kernel_size: int = 7,
        width: int = 64,
        blocks: int = 8,
        normalisation: str = "unit_energy",
        convolution: Callable[[int, int], nn.Module] = KGConv,
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}")
        self.scale = scale
        self.normalisation = normalisation
        self.head = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.kg_blocks = nn.ModuleList(KGBlock(width, kernel_size, convolution) for _ in range(blocks))
        self.attentions = nn.ModuleList(ChannelAttention(width) for _ in range(blocks))
        self.upsample = nn.Sequential(
            nn.Conv2d(width, width * scale**2, 3, padding=1, bias=False), nn.PixelShuffle(scale), nn.ReLU(inplace=True)
        )
        self.tail = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        nearly_zero_(self.tail)

    def forward(self, lr: Tensor, kernel: Tensor | None) -> Tensor:
        features = self.head(lr - local_mean(lr))
        # In the layout, and under autocast the dtype, that the convolutions need: once, and not in each of them.
        guide = None if kernel is None else normalise_kernel(kernel, self.normalisation).to(features.dtype).contiguous()
        for kg_block, attention in zip(self.kg_blocks, self.attentions, strict=True):
            features = attention(kg_block(features, guide))
        detail = self.tail(self.upsample(features))  # (B, 3, sH, sW)
        return enlarge_bicubically(lr.float(), self.scale) + detail
