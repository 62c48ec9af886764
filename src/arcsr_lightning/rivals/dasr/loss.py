"""DASR's two losses: L1 on the image, and momentum contrast on its degradation (He et al., CVPR 2020)."""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from arcsr_lightning.errors import InputError


def contrast_loss(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE: every query should find its own key among itself and the keys in the queue.

    Shapes: unit vectors query (B, D), key (B, D), queue (K, D) -> scalar.
    """
    own = (query * key).sum(1, keepdim=True)  # (B, 1)
    others = query @ queue.T  # (B, K)
    logits = torch.cat([own, others], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> None:
    """Write keys (N, D) over the oldest of queue (K, D) and move the pointer (1) behind them; in place, N <= K."""
    rows = (pointer + torch.arange(len(keys), device=queue.device)) % len(queue)
    queue[rows] = keys.to(queue)
    pointer.copy_((pointer + len(keys)) % len(queue))


@torch.no_grad()
def follow(followers: Iterable[Tensor], leaders: Iterable[Tensor], momentum: float | Tensor) -> None:
    """In place: follower = momentum * follower + (1 - momentum) * leader."""
    for follower, leader in zip(followers, leaders, strict=True):
        follower.lerp_(leader.detach(), 1 - momentum)


def gather(keys: Tensor) -> Tensor:
    """The keys of all ranks in their order, (N, D) -> (ranks*N, D), without gradient; a lone process keeps its own."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return keys
    parts = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, keys.contiguous())
    return torch.cat(parts)


class DASRLoss(nn.Module):
    """L1 on the image and momentum contrast on the degradation of two crops of one image.

    A crop (``lr``) and a second crop of the same image (``lr_key``) should have similar vectors, and vectors unlike
    those of other images, of which the latest ``queue_size`` are kept. That crops of an image share their degradation
    is an assumption. It holds for one blur per image; with spatially varying blur it fails, and the encoder is taught
    to ignore what varies within an image. Other crops of the same photograph or video clip in the queue count as
    negatives although their degradation may be the same.

    Batch normalisation of both encoders uses the statistics of the process's own batch, unless it is synchronised as
    by trainer=ddp, and keys are not shuffled between processes as in momentum contrast's publication. Running
    statistics are not copied from one to the other.

    Args:
        encoder: built as the network's encoder. It makes the keys: a copy of the network's at the first call, it then
            follows it with ``momentum`` and is never trained by gradient.
        queue_size: a multiple of the batch over all processes.
        momentum: of the key encoder.
        temperature: of the contrast.
        image_weight: of L1; at 0 the restorer is not run.
        contrast_weight: of the contrast; at 0 no second crop is needed.

    Returns:
        ``l1`` and ``contrast``, as far as their weights are not 0, and their weighted sum ``loss``, for a network and a
        batch. The contrast of a fresh encoder with a fresh queue, of random vectors, is near 0; it rises to
        log(queue_size) while the queue fills with keys, and falls as the encoder learns.

    Raises:
        InputError: the batch has no ``lr_key``, the batch does not divide the queue, or both weights are 0.
    """

    supervision = ("pairs",)

    def __init__(
        self,
        encoder: nn.Module,
        queue_size: int = 8192,
        momentum: float = 0.999,
        temperature: float = 0.07,
        image_weight: float = 1.0,
        contrast_weight: float = 1 / 255,  # the publication adds the two with L1 of images in [0, 255]
    ) -> None:
        super().__init__()
        if not (image_weight or contrast_weight):
            raise InputError("image_weight and contrast_weight of DASRLoss are both 0: one of them must be positive")
        self.key_encoder = encoder.requires_grad_(False)
        self.momentum = momentum
        self.temperature = temperature
        self.image_weight = image_weight
        self.contrast_weight = contrast_weight
        # A generator of its own: the queues of all processes are equal from the start.
        keys = torch.randn(queue_size, encoder.dimension, generator=torch.Generator().manual_seed(0))
        self.register_buffer("queue", F.normalize(keys))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        degradation = network.encoder(batch["lr"])  # (B, D)
        query = network.encoder.head(degradation)
        terms = {}
        if self.image_weight:
            sr = network.restorer(batch["lr"], degradation)
            terms["l1"] = self.image_weight, F.l1_loss(sr, batch["hr"])
        if self.contrast_weight:
            if "lr_key" not in batch:
                raise InputError("model=dasr needs a second crop of every image: set data.train.second_crop=true")
            contrast = self.contrast(network.encoder, F.normalize(query), batch["lr_key"])
            terms["contrast"] = self.contrast_weight, contrast
        # Begun at a zero of the head's: without contrast, DDP would wait for its gradient in vain.
        loss = sum((weight * term for weight, term in terms.values()), start=0 * query.sum())
        return {name: term for name, (_, term) in terms.items()} | {"loss": loss}

    def contrast(self, encoder: nn.Module, query: Tensor, lr_key: Tensor) -> Tensor:
        """The contrast of queries (B, D) with the keys of ``lr_key`` (B, 3, h, w), which then join the queue."""
        with torch.no_grad():
            self.move_key_encoder(encoder)
            key = F.normalize(self.key_encoder.head(self.key_encoder(lr_key)).float())  # (B, D)
            keys = gather(key)
        if len(self.queue) % len(keys):
            raise InputError(
                f"dasr.queue_size must be a multiple of data.batch_size: {len(self.queue)} is none of {len(keys)}; "
                f"set dasr.queue_size={max(1, len(self.queue) // len(keys)) * len(keys)} or change data.batch_size"
            )
        # A copy: the gradient needs the queue as it is now.
        loss = contrast_loss(query, key, self.queue.clone(), self.temperature)
        enqueue(self.queue, self.pointer, keys)
        return loss

    @torch.no_grad()
    def move_key_encoder(self, encoder: nn.Module) -> None:
        """One step of the parameters after ``encoder``; the first step goes all the way."""
        momentum = self.momentum * self.started  # a tensor: a number of Python's would wait for the device
        follow(self.key_encoder.parameters(), encoder.parameters(), momentum)
        self.started.fill_(True)
