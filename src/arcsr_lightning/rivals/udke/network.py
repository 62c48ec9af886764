"""UDKE (Zheng et al., ECCV 2022): image and one kernel, estimated in turns by an unfolded optimisation.

Misspecified for spatially varying blur: it has one kernel for the whole image.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from arcsr_lightning.blocks import nearly_zero_
from arcsr_lightning.degradation.resize import downsample
from arcsr_lightning.errors import InputError, check_odd
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.taps import to_lr_taps
from arcsr_lightning.rivals.udke.unfolding import image_step, kernel_step, smallest_lr_side

DOWNSAMPLERS = ("bicubic", "stride")
BORDERS = ("repeat", "circular")


class UDKE(nn.Module):
    """Half-quadratic splitting of lr = downsample(x * k) + n, unfolded into stages that share their two networks.

    A stage has four steps: fit the image to the LR image, clean it with ``NetX``, fit the kernel to both, clean it with
    ``NetK``. How closely a step keeps to the one before it, ``HyPaNet`` reads off the noise level, anew in each stage.

    Args:
        scale: 2 or more.
        kernel_size: side of the kernel in HR pixels, odd; 11 in the publication.
        stages: T, two or more: the first restores without a kernel.
        blocks: residual blocks at each place of NetX.
        width: channels of NetX at full resolution, and of NetK.
        hyper_width: hidden width of HyPaNet.
        downsampler: "bicubic", the filter of this package's LR images, or "stride", the publication's [::s, ::s].
        border: what the image step takes images to be: "repeat" continues them by repetition, with no residual
            outside; "circular", the publication's, has opposite borders meet.
        skip: of NetX.
        lr_kernel_size: side of the kernels it returns, in LR pixels, odd; None is the smallest that holds them.
        checkpoint_stages: in training, keep of a stage no more than the image and the kernel that it starts from, and
            compute it again on the way back: the memory of one stage in place of all, for a third more time.

    Shapes: RGB in [0, 1], (B, 3, H, W) -> ``Restoration`` of sr (B, 3, scale*H, scale*W) and
    kernel (B, lr_kernel_size**2, H, W), the same at every pixel, summing to one, or zeros where the network found none.

    Raises:
        InputError: impossible sizes, an unknown downsampler or border, or an LR image too small for the kernel.
    """

    why_not_exported = "it solves for the kernel in as many steps as the size of the image asks for"  # by arcsr-export

    def __init__(
        self,
        scale: int = 4,
        kernel_size: int = 11,
        stages: int = 8,
        blocks: int = 4,
        width: int = 64,
        hyper_width: int = 256,
        downsampler: str = "bicubic",
        border: str = "repeat",
        skip: str | None = None,
        lr_kernel_size: int | None = None,
        checkpoint_stages: bool = False,
    ) -> None:
        super().__init__()
        check_one_of("downsampler", downsampler, DOWNSAMPLERS)
        check_one_of("border", border, BORDERS)
        if stages < 2:  # the first stage restores without a kernel, which nothing would read
            raise InputError(f"udke.stages={stages}: UDKE has two stages or more, as its first knows no kernel yet")
        radius = check_odd(kernel_size) // 2
        smallest = 2 * ceil_div(radius, scale) + 1
        lr_kernel_size = smallest if lr_kernel_size is None else check_odd(lr_kernel_size)
        if lr_kernel_size < smallest:
            raise InputError(
                f"UDKE's kernel_size={kernel_size} HR pixels needs lr_kernel_size of at least {smallest} "
                f"at scale {scale}, got {lr_kernel_size}"
            )
        self.scale = scale
        self.kernel_size = kernel_size
        self.checkpoint_stages = checkpoint_stages
        self.lr_kernel_size = lr_kernel_size
        prefilter = downsampling_filter(scale) if downsampler == "bicubic" else None
        self.register_buffer("prefilter", prefilter, persistent=False)
        prefilter_size = 1 if prefilter is None else len(prefilter)
        self.smallest_side = smallest_lr_side(kernel_size, scale, prefilter_size)
        reach = ceil_div(radius + prefilter_size // 2, scale)  # LR pixels
        self.margin = reach if border == "repeat" else 0

        self.hyper_nets = nn.ModuleList(HyPaNet(hyper_width) for _ in range(stages))
        self.image_net = NetX(width, blocks, skip)
        self.kernel_net = NetK(width)

    def forward(self, lr: Tensor, noise_level: Tensor | None = None) -> Restoration:
        """Restore ``lr``; ``noise_level`` as in ``unfold``."""
        images, kernels = self.unfold(lr, noise_level)
        return Restoration(images[-1], self.kernel_field(kernels[-1], *lr.shape[-2:]))

    def unfold(
        self, lr: Tensor, noise_level: Tensor | None = None, last_kernel: bool = True
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The image (B, 3, sH, sW) and the kernel (B, k, k), HR pixels, after every stage.

        ``noise_level`` (B,) in 8-bit levels; None estimates it from ``lr``. Without ``last_kernel`` the last stage ends
        with its image, and kernels are one fewer: no image comes of that kernel.
        """
        if min(lr.shape[-2:]) < self.smallest_side:
            raise InputError(
                f"UDKE with kernel_size={self.kernel_size} needs LR images of at least "
                f"{self.smallest_side}x{self.smallest_side}, got {lr.shape[-2]}x{lr.shape[-1]}"
            )
        noise_level = estimate_noise_level(lr) if noise_level is None else noise_level.to(lr)
        x, kernel = start_image(lr, self.scale), None
        images, kernels = [], []
        for number, hyper_net in enumerate(self.hyper_nets, 1):
            ends = number == len(self.hyper_nets) and not last_kernel
            stage = (hyper_net, x, kernel, lr, noise_level, ends)
            if self.checkpoint_stages and self.training:
                x, kernel = checkpoint(self.stage, *stage, use_reentrant=False, preserve_rng_state=False)
            else:
                x, kernel = self.stage(*stage)
            images.append(x)
            kernels.append(kernel)
        return images, kernels if last_kernel else kernels[:-1]

    def stage(
        self, hyper_net: nn.Module, x: Tensor, kernel: Tensor | None, lr: Tensor, noise_level: Tensor, ends: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The four steps of one stage: the next image and kernel; no kernel where it ``ends`` with the image."""
        keep_x, prior_x, keep_k, prior_k = hyper_net(noise_level)
        if kernel is None:  # one of zeros, with which the image step leaves the image as it is
            kernel = lr.new_zeros(len(lr), self.kernel_size, self.kernel_size)
        else:
            x = image_step(x, lr, kernel, keep_x, self.scale, self.prefilter, self.margin)
        x = self.image_net(x, prior_x).to(lr.dtype)
        if ends:
            return x, None
        kernel = kernel_step(x, lr, kernel, keep_k, self.scale, self.prefilter)
        return x, self.kernel_net(kernel, prior_k).to(lr.dtype)

    def kernel_field(self, kernel: Tensor, height: int, width: int) -> Tensor:
        """One kernel (B, k, k) in HR pixels as a field of LR taps that sum to one: (B, lr_kernel_size**2, H, W)."""
        # In float64, which autocast leaves as it is.
        taps = to_lr_taps(kernel.double().flatten(1)[..., None, None], self.scale, self.lr_kernel_size)
        taps = taps / taps.sum(1, keepdim=True).clamp_min(1e-10)  # a kernel of zeros stays one
        return taps.to(kernel).expand(-1, -1, height, width)


class HyPaNet(nn.Module):
    """Noise level -> how closely the steps of one stage keep to each other.

    (B,) in 8-bit levels -> four times (B,), positive: weights of the two data steps (alpha of image and kernel) and
    what the two networks are told (beta). The publication's net has six outputs, of which it uses these four.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(1, width)
        self.out = nn.Linear(width, 6)

    def forward(self, noise_level: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        standardised = (noise_level / 255 - 0.098) / 0.0566  # noise between 0 and 50 levels
        outputs = F.softplus(self.out(torch.sigmoid(self.hidden(standardised[:, None])))) + 1e-6  # (B, 6)
        alpha_x, beta_x, _, _, alpha_k, beta_k = outputs.to(noise_level.dtype).unbind(1)
        return alpha_x, beta_x, alpha_k, beta_k


class NetX(nn.Module):
    """The prior of the image: a U-Net of residual blocks without biases, told the noise to remove, 1 / sqrt(beta).

    ``skip`` is that of an ``ImageSkip``, which adds the image that came in, at first the enlarged LR image.

    Shapes: (B, 3, H, W), sides 7 or more, and beta (B,) -> (B, 3, H, W).
    """

    def __init__(self, width: int = 64, blocks: int = 4, skip: str | None = None) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.head = nn.Conv2d(4, width, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(residual_blocks(channels, blocks) for channels in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(fine, 2 * fine, 2, stride=2, bias=False) for fine in widths[:-1])
        self.body = residual_blocks(widths[-1], blocks)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * fine, fine, 2, stride=2, bias=False) for fine in widths[-2::-1])
        self.decoder = nn.ModuleList(residual_blocks(channels, blocks) for channels in widths[-2::-1])
        self.tail = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        self.skip = ImageSkip(skip, self.tail, scale=1)

    def forward(self, x: Tensor, beta: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        below, right = ((8 - side % 8) % 8 for side in (height, width))
        padded = F.pad(x, (0, right, 0, below), mode="circular")
        features = self.head(with_level_map(padded, beta))
        skips = [features]
        for level, down in zip(self.encoder, self.downs, strict=True):
            features = down(level(features))  # half the size, twice the channels
            skips.append(features)
        features = self.body(features)
        for up, level in zip(self.ups, self.decoder, strict=True):
            features = level(up(features + skips.pop()))
        return self.skip(self.tail(features + skips.pop())[..., :height, :width], x)


class NetK(nn.Module):
    """The prior of the kernel: six convolutions with a skip connection; the result is non-negative.

    A kernel of odd side is continued circularly by a row and a column, which the result has lost again. The last
    convolution starts nearly at zero: torch's default would add more than the taps of a kernel are, and leave some
    networks with a kernel of zeros, without a gradient.

    Shapes: (B, k, k) and beta (B,) -> (B, k, k).
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, width, 3, padding=1),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(width, 1, 3, padding=1),
        )
        nearly_zero_(self.layers[-1])

    def forward(self, kernel: Tensor, beta: Tensor) -> Tensor:
        size = kernel.shape[-1]
        even = F.pad(kernel[:, None], (0, size % 2, 0, size % 2), mode="circular")
        change = self.layers(with_level_map(even, beta))
        return torch.relu(even + change)[:, 0, :size, :size]


class ResidualBlock(nn.Module):
    """x + convolution(ReLU(convolution(x))), without biases: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


def residual_blocks(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


def with_level_map(x: Tensor, beta: Tensor) -> Tensor:
    """Append a constant channel of 1 / sqrt(beta), the standard deviation of the error to remove."""
    level = beta.rsqrt()[:, None, None, None].expand(-1, 1, *x.shape[-2:])
    return torch.cat([x, level], dim=1)


def start_image(lr: Tensor, scale: int) -> Tensor:
    """Enlarge by torch's bicubic interpolation, which is sharper (a = -0.75) than this package's (a = -0.5)."""
    return F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False)


def check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InputError for a setting that is none of the known ones."""
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")


@torch.no_grad()
def estimate_noise_level(lr: Tensor) -> Tensor:
    """Standard deviation of white Gaussian noise in images (B, C, H, W) in [0, 1], in 8-bit levels: (B,).

    The median magnitude of the diagonal details of all 2x2 neighbourhoods, over 0.6745, its expectation for unit noise.
    Edges hardly move a median; fine texture counts as noise.
    """
    details = (lr[..., 1:, 1:] - lr[..., 1:, :-1] - lr[..., :-1, 1:] + lr[..., :-1, :-1]) / 2
    medians = torch.stack([detail.median() for detail in details.abs()])  # with dim=, it is not deterministic on GPUs
    return medians * (255 / 0.6745)


def downsampling_filter(scale: int) -> Tensor:
    """The bicubic downsampler as a filter before [::s, ::s]: (m, m), odd m, centred at HR pixel s*i of LR pixel i.

    Its shift against that pixel, (s - 1) / 2 HR pixels, is part of it.
    """
    reach = (5 * scale - 2) // 2  # taps lie up to (s - 1) / 2 + 2 s from there, exclusively
    middle = 4 * scale
    impulses = torch.eye(2 * middle + scale, dtype=torch.float64)[:, None, :, None]  # one image for each HR row
    response = downsample(impulses.expand(-1, -1, -1, scale), scale)[:, 0, 4, 0]  # of LR row 4
    taps = response[middle - reach : middle + reach + 1]
    return torch.outer(taps, taps).float()
