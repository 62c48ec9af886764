"""ReDegNet's training (ECCV 2022): learn degradations from pairs, give them to other images, restore those."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from arcsr_lightning.degradation.blur import apply_blended_kernels
from arcsr_lightning.degradation.kernels import gaussian_kernel
from arcsr_lightning.degradation.resize import downsample, upsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.redegnet.synthesiser import Synthesiser, from_signed, to_signed

SCALES = (2, 4)  # that divide a power of two


class ReDegNetLoss(nn.Module):
    """Synthesiser, discriminators and SR network, trained together: ReDegNet-pairs.

    The pairs of the data take the role of the publication's faces, and the image of the pair before in the batch that
    of its natural images ("other" below). A step:

    1. codes: of every pair as it is, and of its HR image and the other one, both degraded alike with a simple
       synthetic degradation (``degrade``);
    2. ``reconstruction``: each of the three degraded images from its HR image and its code, where mostly the two
       synthetic codes are swapped; ``same_degradation``: these two codes should be equal; ``repulsion``: the code of
       the pair as it is should be unlike that of the synthetic degradation;
    3. ``gan``: the discriminator should take the reconstruction of the pair as it is for the pair's own degraded
       image, given the pair's code;
    4. transfer: the other image, degraded as the pair is. ``sr``: the network restores it from the transfer, shrunk to
       LR size; ``image_gan``: and the second discriminator should take the result for real.

    The SR network never sees the LR images of the data, only imitations of them. The synthesiser learns nothing from
    the transfers. The content of every sharp image is encoded once a step, so that the encoder's spectral norms take
    one power iteration in it.

    Args:
        synthesiser: trained by all terms but those of the SR network.
        discriminator: ``ConditionalDiscriminator``; learns from ``discriminator``.
        image_discriminator: ``UNetDiscriminator``, learns from ``image_discriminator``; None: the SR network is
            trained with L1 alone.
        scale: of the SR network, 2 or 4.
        reconstruction_weight, same_degradation_weight, repulsion_weight, gan_weight, image_gan_weight: of the terms.
        swap: probability that the synthetic codes of a pair are swapped.
        sigma: (lowest, highest) of the synthetic Gaussian blur, HR pixels, uniform in between.
        noise_level: (lowest, highest) of the synthetic noise, 8-bit levels, uniform in between.

    Returns:
        All terms, unweighted, and ``loss``, for a network and a batch. L1 is that of images in [-1, 1].

    What it draws (synthetic degradations, swaps, how transfers are shrunk) comes from PyTorch's own generator, which a
    training seeds for every step and process.

    Raises:
        InputError: another scale; a batch of one, which has no other image; HR crops of another size than the
            synthesiser's.
    """

    supervision = ("pairs",)

    def __init__(
        self,
        synthesiser: Synthesiser,
        discriminator: nn.Module,
        image_discriminator: nn.Module | None = None,
        scale: int = 4,
        reconstruction_weight: float = 10.0,
        same_degradation_weight: float = 100.0,
        repulsion_weight: float = 4.0,
        gan_weight: float = 0.01,
        image_gan_weight: float = 0.1,
        swap: float = 0.8,
        sigma: Sequence[float] = (0.2, 4.0),
        noise_level: Sequence[float] = (0.2, 20.0),
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise InputError(
                f"model=redegnet: scale 2 or 4, got {scale}: the sides of its crops, data.train.patch_size, are powers "
                "of two and multiples of the scale"
            )
        self.scale = scale
        self.synthesiser = synthesiser
        self.discriminator = discriminator
        self.image_discriminator = image_discriminator
        self.weights = {
            "sr": 1.0,
            "reconstruction": reconstruction_weight,
            "same_degradation": same_degradation_weight,
            "repulsion": repulsion_weight,
            "gan": gan_weight,
            "discriminator": 1.0,
            "image_gan": image_gan_weight,
            "image_discriminator": 1.0,
        }
        self.swap = swap
        self.sigma = sigma
        self.noise_level = noise_level

    def forward(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        hr, scale = batch["hr"], self.scale
        self.check(hr)
        pair = to_signed(hr), to_signed(upsample(batch["lr"], scale).clamp(0, 1))
        other = pair[0].roll(1, 0)
        content = self.synthesiser.content(pair[0])  # once a step: of one image it knows nothing of another
        code, terms = self.learn_degradations(pair, content, self.alike(hr, scale))
        imitation = self.imitate([features.roll(1, 0) for features in content], code, scale)
        sr = to_signed(network(imitation).sr)
        terms["sr"] = F.l1_loss(sr, other)
        if self.image_discriminator is not None:
            terms |= self.judge_images(sr, other)
        return terms | {"loss": sum(self.weights[name] * term for name, term in terms.items())}

    def check(self, hr: Tensor) -> None:
        """Raise InputError where the method cannot learn from such HR crops."""
        size = self.synthesiser.degradation.image_size
        if hr.shape[-2:] != (size, size):
            raise InputError(
                f"model=redegnet: data.train.patch_size is {hr.shape[-1]} but redegnet.image_size is {size}; "
                "they must be equal"
            )
        if len(hr) < 2:
            raise InputError(
                "model=redegnet needs data.batch_size of at least 2 per process: it gives the degradation of one "
                f"image to another; got {len(hr)}"
            )

    @torch.no_grad()
    def alike(self, hr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Every image and the one before it, degraded with the same blur and noise level: twice (B, 3, H, W), signed.

        Each pair of images has a blur and a noise level of its own; the noise itself differs between the two.
        """
        batch, _, height, width = hr.shape
        sigma = torch.empty(batch).uniform_(*self.sigma)
        noise_level = torch.empty(batch).uniform_(*self.noise_level).to(hr) / 255
        noise = torch.randn(2, batch, 3, height // scale, width // scale, device=hr.device)
        noise = noise * noise_level[:, None, None, None]
        return tuple(
            to_signed(degrade(image, sigma, image_noise, scale))
            for image, image_noise in zip((hr, hr.roll(1, 0)), noise, strict=True)
        )

    def learn_degradations(
        self, pair: tuple[Tensor, Tensor], content: list[Tensor], alike: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Steps 1 to 3: the codes of the pairs, (B, code), and the terms of the synthesiser and its discriminator.

        ``content`` is that of the pairs' sharp images.
        """
        hq, lq = pair
        degraded = torch.cat([lq, *alike])  # (3B, 3, H, W)
        real, own, others = self.synthesiser.degradation(twice_and_other(hq), degraded).chunk(3)
        terms = {
            "same_degradation": F.l1_loss(own, others),
            "repulsion": 1 / (10 * F.l1_loss(real, own) + 1e-7),
        }
        swap = torch.rand(len(hq), 1, device=hq.device) < self.swap
        codes = torch.cat([real, torch.where(swap, others, own), torch.where(swap, own, others)])
        made = self.synthesiser.generator([twice_and_other(features) for features in content], codes)  # (3B, 3, H, W)
        terms["reconstruction"] = F.l1_loss(made, degraded)  # the mean over the three
        code, again = real.detach(), made[: len(hq)]
        terms["gan"] = -frozen(self.discriminator, again, hq, code).mean()
        on_real, on_made = self.discriminator(lq, hq, code), self.discriminator(again.detach(), hq, code)
        terms["discriminator"] = F.relu(1 - on_real).mean() + F.relu(1 + on_made).mean()
        return code, terms

    @torch.no_grad()
    def imitate(self, content: list[Tensor], code: Tensor, scale: int) -> Tensor:
        """The transfer at LR size: an image's content and codes (B, code) -> (B, 3, H/scale, W/scale), in [0, 1]."""
        transferred = from_signed(self.synthesiser.generator(content, code).float())
        return shrink(transferred, scale, "bilinear" if torch.rand(()) < 0.5 else "bicubic")

    def judge_images(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The terms of the image discriminator and of the network that it judges."""
        on_real, on_restored = self.image_discriminator(hr), self.image_discriminator(sr.detach())
        return {
            "image_gan": F.softplus(-frozen(self.image_discriminator, sr)).mean(),
            "image_discriminator": F.softplus(-on_real).mean() + F.softplus(on_restored).mean(),
        }


def twice_and_other(x: Tensor) -> Tensor:
    """What belongs to every image, twice, then that of the image before it: (B, ...) -> (3B, ...)."""
    return torch.cat([x, x, x.roll(1, 0)])


def degrade(hr: Tensor, sigma: Tensor, noise: Tensor, scale: int) -> Tensor:
    """Gaussian blur, bicubic downsampling, noise, and back to HR size.

    Shapes: hr (B, 3, H, W) in [0, 1], sigma (B,) in HR pixels, noise (B, 3, H/scale, W/scale) -> (B, 3, H, W) in
    [0, 1].
    """
    kernels = torch.stack([gaussian_kernel(25, value, value) for value in sigma.tolist()]).to(hr)
    blurred = apply_blended_kernels(hr, kernels[:, None], torch.ones_like(hr[:, :1]))
    return upsample((downsample(blurred, scale) + noise).clamp(0, 1), scale).clamp(0, 1)


def shrink(image: Tensor, scale: int, mode: str) -> Tensor:
    """Interpolate ("bilinear" or "bicubic") without antialiasing: (B, 3, H, W) -> (B, 3, H/scale, W/scale)."""
    size = [side // scale for side in image.shape[-2:]]
    return F.interpolate(image, size=size, mode=mode, align_corners=False)


def frozen(module: nn.Module, *inputs: Tensor) -> Tensor:
    """``module(*inputs)``, of which only the inputs get a gradient."""
    return functional_call(module, {name: parameter.detach() for name, parameter in module.named_parameters()}, inputs)
