"""IKC (Gu et al., CVPR 2019): guess the kernel, restore, correct the kernel by what the restoration shows, and again.

Misspecified for spatially varying blur: it has one kernel for the whole image.
"""

import torch
from torch import Tensor, nn

from arcsr_lightning.degradation.fields import Blur
from arcsr_lightning.errors import InputError, check_odd
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.kernel_code import draw_kernels, principal_kernels
from arcsr_lightning.rivals.rrdb.sft import SFT
from arcsr_lightning.rivals.taps import to_lr_taps
from arcsr_lightning.rivals.upsampling import ShuffledUp

SLOPE = 0.2  # of every leaky ReLU
STRIDES = {2: (1, 2, 1, 1, 1), 3: (1, 3, 1, 1, 1), 4: (1, 2, 1, 2, 1)}  # of the corrector, from HR to LR size


class SFTBlock(nn.Module):
    """A residual block whose two convolutions read features that the code map has transformed.

    Shapes: features (B, width, H, W), code map (B, code, H, W) -> (B, width, H, W).
    """

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(SFT(width, code) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, code_map: Tensor) -> Tensor:
        features = x
        for transform, convolution in zip(self.transforms, self.convolutions, strict=True):
            features = convolution(torch.relu(transform(features, code_map)))
        return x + features


class SFTMD(nn.Module):
    """LR image and kernel code -> SR image: residual blocks that the code transforms, pixel shuffle.

    Args:
        scale: 2, 3 or 4; 4 in two steps of 2.
        width: channels, even (64 as published).
        blocks: residual blocks (16 as published).
        code: length of the kernel code (10 as published).
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size, and codes (B, code) -> (B, 3, scale*H, scale*W), not clamped.

    Raises:
        ValueError: a scale other than 2, 3 or 4.
    """

    def __init__(
        self, scale: int = 4, width: int = 64, blocks: int = 16, code: int = 10, skip: str | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.blocks = nn.ModuleList(SFTBlock(width, code) for _ in range(blocks))
        self.transform = SFT(width, code)
        self.body_tail = nn.Conv2d(width, width, 3, padding=1)
        self.upsample = ShuffledUp(width, scale, SLOPE)
        self.tail = nn.Conv2d(width, 3, 9, padding=4)
        self.skip = ImageSkip(skip, self.tail, scale)

    def forward(self, lr: Tensor, code: Tensor) -> Tensor:
        code_map = stretch(code, *lr.shape[-2:])
        shallow = self.head(lr)
        features = shallow
        for block in self.blocks:
            features = block(features, code_map)
        features = self.body_tail(self.transform(shallow + features, code_map))
        sr = self.tail(self.upsample(features))  # (B, 3, sH, sW)
        return self.skip(sr, lr)


class Predictor(nn.Module):
    """LR image -> a first guess of its kernel's code: four convolutions, the mean over the image.

    Args:
        width: channels (64 as published).
        code: length of the kernel code.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> (B, code).
    """

    def __init__(self, width: int = 64, code: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *wide_layer(3, width),
            *wide_layer(width, width),
            *wide_layer(width, width),
            nn.Conv2d(width, code, 5, padding=2),
        )

    def forward(self, lr: Tensor) -> Tensor:
        return self.layers(lr).float().mean((2, 3))


class Corrector(nn.Module):
    """SR image and the code that it was restored with -> what to add to the code.

    A wrong kernel leaves ringing or blur in the restoration, which five convolutions look for; what they find and the
    code, through two layers of its own, meet in three 1x1 convolutions.

    Args:
        scale: 2, 3 or 4: the convolutions shrink the image by it.
        width: channels (64 as published).
        code: length of the kernel code.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size, and codes (B, code) -> (B, code).

    Raises:
        InputError: another scale.
    """

    def __init__(self, scale: int = 4, width: int = 64, code: int = 10) -> None:
        super().__init__()
        if scale not in STRIDES:
            raise InputError(f"scale must be one of {', '.join(map(str, STRIDES))}, got {scale}")
        inputs = (3, *[width] * 4)
        self.image = nn.Sequential(
            *(
                layer
                for channels, stride in zip(inputs, STRIDES[scale], strict=True)
                for layer in wide_layer(channels, width, stride)
            )
        )
        self.code = nn.Sequential(
            nn.Linear(code, width), nn.LeakyReLU(SLOPE), nn.Linear(width, width), nn.LeakyReLU(SLOPE)
        )
        self.meet = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, width, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, code, 1),
        )

    def forward(self, sr: Tensor, code: Tensor) -> Tensor:
        seen = self.image(sr)  # (B, width, H / scale, W / scale)
        known = stretch(self.code(code), *seen.shape[-2:])
        return self.meet(torch.cat([seen, known], dim=1)).float().mean((2, 3))


class IKC(nn.Module):
    """Iterative kernel correction: a predictor's guess of one kernel, corrected in turns with the restoration.

    Where blur varies over an image, its one kernel is the mean of its pixels' kernels. Kernels have their taps in LR
    pixels. ``basis``, (ks*ks, code) with orthonormal columns, makes codes of them; it must be fitted to the kernels at
    hand by ``fit_code`` and is random until then, where ``explained_variance`` is zero. Both are buffers: they stay
    with the weights.

    Args:
        predictor: LR image -> code.
        corrector: SR image and its code -> change of the code.
        restorer: LR image and code -> SR image; gives the network its ``scale``.
        code: length of the codes, at most ks*ks.
        kernel_size: ks, odd, in LR pixels.
        iterations: corrections (7 as published); 0 leaves the guess as it is.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped, and kernel
    (B, ks*ks, H, W), the same at every pixel, non-negative, summing to one. An image restored in tiles gets a kernel
    for each tile.

    Raises:
        ValueError: even ``kernel_size``, a code longer than ks*ks, negative ``iterations``.
    """

    basis: Tensor
    explained_variance: Tensor

    def __init__(
        self,
        predictor: Predictor,
        corrector: Corrector,
        restorer: SFTMD,
        code: int = 10,
        kernel_size: int = 7,
        iterations: int = 7,
    ) -> None:
        super().__init__()
        taps = check_odd(kernel_size) ** 2
        if code > taps:
            raise InputError(f"ikc.code={code} is longer than the {taps} taps of a kernel; use at most {taps}")
        if iterations < 0:
            raise InputError(f"ikc.iterations must be 0 or more, got {iterations}")
        self.iterations = iterations
        self.kernel_size = kernel_size
        self.predictor = predictor
        self.corrector = corrector
        self.restorer = restorer
        self.register_buffer("basis", nn.init.orthogonal_(torch.empty(taps, code)))
        self.register_buffer("offset", torch.zeros(taps))  # what all kernels have outside of the basis
        self.register_buffer("explained_variance", torch.zeros(()))

    @property
    def scale(self) -> int:
        return self.restorer.scale

    @property
    def is_prepared(self) -> bool:
        """Whether the code was fitted, here or before its weights were saved."""
        return bool(self.explained_variance > 0)

    def forward(self, lr: Tensor) -> Restoration:
        code = self.predictor(lr)  # (B, code)
        sr = self.restorer(lr, code)
        for _ in range(self.iterations):
            code = code + self.corrector(sr, code)
            sr = self.restorer(lr, code)
        return Restoration(sr, stretch(self.decode(code), *lr.shape[-2:]))

    def encode(self, kernel: Tensor) -> Tensor:
        """Kernels (B, ks*ks) -> codes (B, code), without subtracting a mean."""
        return kernel @ self.basis

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, code) -> the kernels that they stand for, (B, ks*ks), non-negative, summing to one."""
        # In float64, which autocast and TF32 leave as it is.
        kernel = code.double() @ self.basis.double().T + self.offset
        kernel = kernel.clamp_min(0) + 1e-6  # all alike, where a code stands for none
        return (kernel / kernel.sum(1, keepdim=True)).to(self.basis)


@torch.no_grad()
def fit_code(network: IKC, blur: Blur, samples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Fit the network's basis to the kernels that ``blur`` draws; returns and keeps the share of variance explained.

    Args:
        network: its buffers ``basis``, ``offset`` and ``explained_variance`` are filled.
        blur: a sampler of ``degradation``; means of its kernels lie in the same space.
        samples: fields to draw.
        seed: of the draws.

    Raises:
        InputError: the network's kernels cannot hold the sampler's.
    """
    kernels = draw_kernels(blur, samples, seed)  # (N, k, k), HR pixels
    taps = to_lr_taps(kernels.flatten(1)[..., None, None], network.scale, network.kernel_size)
    basis, explained = principal_kernels(taps.flatten(1), network.basis.shape[1])
    mean = taps.flatten(1).mean(0)
    network.basis.copy_(basis)
    network.offset.copy_(mean - basis @ (mean @ basis))
    network.explained_variance.copy_(explained)
    return {"explained_variance": explained.item()}


def stretch(vector: Tensor, height: int, width: int) -> Tensor:
    """The same vector at every pixel: (B, C) -> (B, C, H, W)."""
    return vector[..., None, None].expand(-1, -1, height, width)


def wide_layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """A 5x5 convolution and its activation."""
    return [nn.Conv2d(inputs, outputs, 5, stride, padding=2), nn.LeakyReLU(SLOPE)]
