"""Pictures of a validation or test: the panel, the kernel field and the offsets of one image."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from arcsr_lightning.figures.kernels import kernel_field_picture
from arcsr_lightning.figures.offsets import offsets_picture
from arcsr_lightning.figures.panel import PanelRow, panel_picture
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.inference.observed import last_dmconv, offsets_of
from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.rows import Row
from arcsr_lightning.training.module import SRModule


class PanelPictures(pl.Callback):
    """Draws bicubic | SR | ground truth | kernels of some images of a validation or test, a row each.

    W&B and TensorBoard get the picture too.

    Args:
        folder: where ``panel.png`` of a test and ``val_<step>.png`` of a validation go.
        images: rows of the picture.
    """

    def __init__(self, folder: str, images: int = 3) -> None:
        self.folder = Path(folder)
        self.images = images
        self.rows: list[PanelRow] = []

    def on_validation_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.rows = []

    on_test_start = on_validation_start

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx in self.chosen(trainer.num_val_batches, dataloader_idx):
            self.collect(module, outputs, batch, module.val_rows)

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx in self.chosen(trainer.num_test_batches, dataloader_idx):
            self.collect(module, outputs, batch, module.test_rows)

    def on_validation_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.draw(trainer, module, f"val_{trainer.global_step:07d}.png", "val/panel")

    def on_test_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.draw(trainer, module, "panel.png", "test/panel")

    def chosen(self, batches: list[int], dataloader_idx: int) -> set[int]:
        """The batches of a loader to draw: spread evenly over all loaders, hence over images and noise levels."""
        total, before = sum(batches), sum(batches[:dataloader_idx])
        rows = min(self.images, total)
        numbers = {i * total // rows - before for i in range(rows)}
        return {number for number in numbers if 0 <= number < batches[dataloader_idx]}

    def collect(
        self, module: SRModule, restorations: dict[str, Restoration], batch: dict[str, Any], scores: list[Row]
    ) -> None:
        """Keep the first image of a batch."""
        restored = restorations[module.method]
        psnr = {row["method"]: row["psnr_rgb"] for row in scores[-len(restorations) * len(batch["lr"]) :]}
        kernels = {"kernel": restored.kernel, "true_kernel": batch.get("kernel")}
        self.rows.append(
            PanelRow(
                batch["name"][0],
                float(batch["noise_level"][0]),
                restorations["bicubic"].sr[0].cpu(),
                restored.sr[0].float().cpu(),
                batch["hr"][0].cpu(),
                psnr["bicubic"],
                psnr[module.method],
                **{name: None if field is None else field[0].float().cpu() for name, field in kernels.items()},
            )
        )

    def draw(self, trainer: pl.Trainer, module: SRModule, name: str, key: str) -> None:
        """Write the picture and hand it to the loggers that take pictures."""
        if not (self.rows and is_drawn(trainer)):
            return
        known = any(field is not None for row in self.rows for field in (row.kernel, row.true_kernel))
        caption = f"×{module.network.scale}; the most detailed part of each image, PSNR of the whole image on RGB" + (
            "; kernels of single pixels, LR grid, each scaled to its maximum" if known else ""
        )
        publish(trainer, key, panel_picture(self.rows, caption, module.method), self.folder / name)


class KernelFieldPictures(pl.Callback):
    """Draws the kernel field that the network estimates for the first validation image, beside the true one if known.

    W&B and TensorBoard get the picture too. There is none of a network that estimates no kernels.

    Args:
        folder: where ``kernel_field_<step>.png`` goes.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        restored = outputs[module.method]
        if restored.kernel is None or not (is_first(batch_idx, dataloader_idx) and is_drawn(trainer)):
            return
        kernel, image = restored.kernel[0].float().cpu(), restored.sr[0].float().cpu()
        truth = batch["kernel"][0].float().cpu() if "kernel" in batch else None
        figure = kernel_field_picture(kernel, image, subject(batch, trainer), truth)
        publish(trainer, "val/kernel_field", figure, self.folder / f"kernel_field_{trainer.global_step:07d}.png")


class OffsetPictures(pl.Callback):
    """Draws where the last DMconv of the network reads in the first validation image.

    W&B and TensorBoard get the picture too. There is none of a network without DMconvs, or whose kernels are given.

    Args:
        folder: where ``offsets_<step>.png`` goes.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.watch = ExitStack()
        self.seen: list[Tensor] = []

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0) -> None:
        layer = last_dmconv(module.network)
        if layer and is_first(batch_idx, dataloader_idx) and is_drawn(trainer):
            self.seen = self.watch.enter_context(offsets_of(layer))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.watch.close()
        seen, self.seen = self.seen, []
        if not seen:
            return
        lr = batch["lr"][0].float().cpu()
        offset = seen[-1][0].float().cpu()[:, : lr.shape[-2], : lr.shape[-1]]  # without what the estimator pads
        figure = offsets_picture(offset, lr, f"the last DMconv; {subject(batch, trainer)}")
        publish(trainer, "val/offsets", figure, self.folder / f"offsets_{trainer.global_step:07d}.png")


def is_first(batch_idx: int, dataloader_idx: int) -> bool:
    return batch_idx == dataloader_idx == 0


def is_drawn(trainer: pl.Trainer) -> bool:
    """Whether this process draws pictures now."""
    return trainer.is_global_zero and not (trainer.fast_dev_run or trainer.sanity_checking)


def subject(batch: dict[str, Any], trainer: pl.Trainer) -> str:
    """What the picture of a batch's first image shows."""
    return f"{batch['name'][0]}, noise {float(batch['noise_level'][0]):g}, step {trainer.global_step}"


def publish(trainer: pl.Trainer, key: str, figure: Figure, path: Path) -> None:
    """Write a picture as ``path``, and send it to W&B and TensorBoard where they log."""
    save_figure(figure, path)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, trainer.global_step)
