"""The training loop's view of a network: loss, scores, optimiser."""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.errors import InputError
from arcsr_lightning.losses import restore_batch
from arcsr_lightning.networks import Bicubic, Restoration
from arcsr_lightning.scores.kernels import KernelRow, kernel_rows, kernel_scores
from arcsr_lightning.scores.perceptual import Measure
from arcsr_lightning.scores.rows import Row, gather, gather_rows, mean_scores, rows_of
from arcsr_lightning.training.repairs import fit_to_weights


class SRModule(pl.LightningModule):
    """Trains, validates and tests a network.

    Validation and test score the network, and bicubic upscaling of the same LR images beside it. ``val/psnr``,
    ``val/ssim``, ``val/psnr_y``, ``val/ssim_y`` are means over all images and noise levels; the same stand for each
    level under ``val/noise<level>/``, and ``kernel_error`` where the true kernels are known. A test leaves a row per
    method and image in ``test_rows``, on every rank, and in ``latency`` the network's seconds for an image, the median
    of all but the first. Terms of the loss are logged under ``train/``, as means over the samples of all processes,
    and where gradients are accumulated over those of the last batch.

    Args:
        network: any module with an integer ``scale`` that turns LR images, (B, 3, H, W), RGB in [0, 1], into a
            ``networks.Restoration``.
        loss: called with (network, batch), returns the terms by name, ``loss`` among them; None to test only.
        optimizer: called with all parameters that train, returns the optimiser; None to test only.
        scheduler: called with the optimiser, returns a scheduler that is stepped after every optimiser step; or None.
        trains: the children of the network that train, by name; the others are frozen. None: all of it.
        config: plain data that describes the run; kept in every checkpoint, where ``load_model`` finds the network.
        method: the name of the network in tables.
        known_kernels: score the network with the batch's true or measured kernels in place of its estimates.
        measures: perceptual scores for validation and test.
        compiled: train the network through ``torch.compile``; validation and test run it as it is.
        channels_last: lay out weights and images channels-last.

    Raises:
        InputError: the network has no ``scale``, or no part of a name in ``trains``; or, with the first batch, it
            returns anything but a ``Restoration``; or it takes no kernels that it could be given.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        trains: Sequence[str] | None = None,
        config: dict[str, Any] | None = None,
        method: str = "arcsr",
        known_kernels: bool = False,
        measures: Sequence[Measure] = (),
        compiled: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(getattr(network, "scale", None), int):
            raise InputError(f"model: {type(network).__name__} has no scale; give it the attribute, an integer")
        if known_kernels and "kernel" not in inspect.signature(network.forward).parameters:
            raise InputError(f"known_kernels=true: {type(network).__name__} is given no kernels; leave it out")
        # Only plain data goes into the checkpoint: anything else could not be loaded with weights_only=True.
        self.save_hyperparameters({"config": config or {}, "method": method})
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.method = method
        self.known_kernels = known_kernels
        self.measures = measures
        self.bicubic = Bicubic(network.scale)
        self.watched: Tensor | None = None  # step and loss
        self.val_rows: list[Row] = []
        self.test_rows: list[Row] = []
        self.kernel_rows: list[KernelRow] = []
        self.seconds: list[float] = []
        self.latency: float | None = None
        freeze_all_but(network, trains)
        if compiled:
            network.compile()

    def forward(self, lr: Tensor, **known: Tensor) -> Restoration:
        # Not through __call__, which may be compiled: every size of a whole image would be compiled anew.
        restored = self.network.forward(lr.contiguous(memory_format=self.memory_format), **known)
        require_restoration(self.network, None, restored)
        return restored

    def on_fit_start(self) -> None:
        self.output_check = self.network.register_forward_hook(require_restoration)  # losses call the network

    def on_fit_end(self) -> None:
        self.output_check.remove()

    def on_train_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            fit_to_weights(optimizer)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Let what is drawn within a step, for dropout say, follow from the seed: a run that goes on draws the same."""
        parts, processes = self.trainer.accumulate_grad_batches, self.trainer.world_size
        number = (self.global_step * parts + batch_idx % parts) * processes + self.global_rank
        rng = sample_generator(self.hparams["config"].get("seed", 0), "step", number)
        torch.manual_seed(int(rng.integers(2**63)))
        if isinstance(self.trainer.strategy.model, DistributedDataParallel):
            # Validations and accumulated gradients switch off that the first process's buffers come before a step.
            self.trainer.strategy.model.require_forward_param_sync = True

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        lr = batch["lr"].contiguous(memory_format=self.memory_format)
        terms = self.loss(self.network, batch | {"lr": lr})
        # One reduction for all terms; a loss that is not finite on one process stops them all, none waits for another.
        means = mean_of_processes(torch.stack([term.detach().float() for term in terms.values()]))
        logged = dict(zip(terms, means.unbind(), strict=True))
        self.watch_loss(logged["loss"])
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.require_finite_loss()
        for name, term in logged.items():
            self.log(f"train/{name}", term, batch_size=len(batch["lr"]))
        return terms["loss"]

    def watch_loss(self, loss: Tensor) -> None:
        """Keep step and loss, as the device has them: those of the latest step, or of the first that is not finite."""
        latest = torch.stack([torch.full_like(loss, self.global_step), loss])
        self.watched = latest if self.watched is None else torch.where(self.watched[1].isfinite(), latest, self.watched)

    @property
    def latest_loss(self) -> Tensor | None:
        """The loss of the latest step, or of the first that was not finite, on the device; None before a step."""
        return None if self.watched is None else self.watched[1]

    def require_finite_loss(self) -> None:
        """Look at the losses so far, which waits for the device: where Lightning logs, and before all is saved.

        Raises:
            FloatingPointError: one was not finite.
        """
        step, loss = (0, 0.0) if self.watched is None else self.watched.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at step {step:.0f}; checkpoints already written are kept: lower optimizer.lr, set "
                "trainer.gradient_clip_val, or use precision=32-true"
            )

    def on_train_end(self) -> None:
        self.require_finite_loss()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.require_finite_loss()
        # The step that spoils the weights has a finite loss still: do not let its checkpoint replace a good one.
        if not all(torch.isfinite(parameter).all() for parameter in self.parameters()):
            raise FloatingPointError(
                f"the weights are not finite after step {self.global_step}; checkpoints already written are kept: "
                "lower optimizer.lr or set trainer.gradient_clip_val"
            )

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Restoration]:
        return self.scored(batch, self.val_rows)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Restoration]:
        return self.scored(batch, self.test_rows)

    def scored(self, batch: dict[str, Any], rows: list[Row]) -> dict[str, Restoration]:
        """Restore a batch with every method and append their rows."""
        start = clock(self.device)
        restored = restore_batch(self, batch, self.known_kernels)
        self.seconds += [(clock(self.device) - start) / len(batch["lr"])]
        restorations = {"bicubic": self.bicubic(batch["lr"]), self.method: restored}
        for method, restored in restorations.items():
            rows += rows_of(method, restored, batch, self.network.scale, self.measures)
        self.kernel_rows += kernel_rows(restorations[self.method], batch)
        return restorations

    def on_validation_epoch_start(self) -> None:
        self.val_rows, self.kernel_rows, self.seconds = [], [], []

    def on_test_epoch_start(self) -> None:
        self.test_rows, self.kernel_rows, self.seconds = [], [], []

    def on_validation_epoch_end(self) -> None:
        self.log_means("val", gather_rows(self.val_rows), gather(self.kernel_rows))

    def on_test_epoch_end(self) -> None:
        self.test_rows, self.kernel_rows = gather_rows(self.test_rows), gather(self.kernel_rows)
        seconds = gather(self.seconds[1:])  # the first image warms up
        self.latency = median(seconds) if seconds else None
        self.log_means("test", self.test_rows, self.kernel_rows)

    def log_means(self, stage: str, rows: list[Row], kernels: list[KernelRow]) -> None:
        """Log the network's scores, over all rows and for each noise level."""
        own = [row for row in rows if row["method"] == self.method]
        for level in (None, *sorted({row["noise_level"] for row in own})):
            prefix = "" if level is None else f"noise{level:g}/"
            scores = mean_scores([row for row in own if level in (None, row["noise_level"])])
            scores |= kernel_scores([row for row in kernels if level in (None, row.noise_level)])
            for name, mean in scores.items():
                key = f"{stage}/{prefix}{name.removesuffix('_rgb')}"
                # Equal on all ranks already; without sync_dist Lightning warns that it may not be.
                self.log(key, mean, prog_bar=key == "val/psnr", sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.make_optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])
        if self.make_scheduler is None:
            return {"optimizer": optimizer}
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "step"},
        }


def clock(device: torch.device) -> float:
    """Seconds, once a device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return perf_counter()


def mean_of_processes(x: Tensor) -> Tensor:
    """The mean over all processes, in place. Lightning's waits for the device, in a barrier of its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(x)
        x /= torch.distributed.get_world_size()
    return x


def require_restoration(network: nn.Module, inputs: Any, output: Any) -> None:
    """Check what a network has returned; a forward hook.

    Raises:
        InputError: it is no ``Restoration``.
    """
    if not isinstance(output, Restoration):
        raise InputError(
            f"model: {type(network).__name__} returns a {type(output).__name__}; a network returns "
            "arcsr_lightning.networks.Restoration(sr), with the kernels that it estimates, if any, as kernel="
        )


def freeze_all_but(network: nn.Module, trains: Sequence[str] | None) -> None:
    """Let the named children of a network train, and nothing else of it change.

    Dropout stays on in the others. A part's estimates are better on pictures that it was trained on than on others:
    without it, what is trained on them trusts them a little too much.

    Args:
        network: parameters of its own, outside all children, are frozen too.
        trains: names of children; None: all of the network trains.

    Raises:
        InputError: the network has no such child.
    """
    children = dict(network.named_children())
    for name in trains or ():
        if name not in children:
            raise InputError(f"trains: {type(network).__name__} has no part {name!r}; it has {', '.join(children)}")
    network.train().requires_grad_(trains is None)
    for name, child in children.items():
        train = trains is None or name in trains
        child.requires_grad_(train)
        for part in child.modules():  # eval: statistics of frozen normalisations stay as they are
            part.train(train or isinstance(part, nn.Dropout))
