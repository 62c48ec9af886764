"""Callbacks that Lightning does not ship: progress in steps, the throughput, the panel picture."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from arcsr_lightning.figures import PanelRow, panel, save_figure
from arcsr_lightning.lightning_module import Row, SRModule
from arcsr_lightning.networks import Restoration


class Progress(RichProgressBar):
    """Lightning's progress bar for a training that is one pass of steps, not a number of epochs."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training  "  # as long as "Validation": no flicker

    def get_metrics(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, module).items() if name != "v_num"}


class Throughput(pl.Callback):
    """Logs ``train/images_per_s``: images of all ranks trained on per second, since the step it was last logged at."""

    def on_train_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.restart()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SRModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.images += len(batch["lr"]) * trainer.world_size
        if trainer.log_every_n_steps and trainer.global_step % trainer.log_every_n_steps == 0:
            module.log("train/images_per_s", self.images / (time.perf_counter() - self.since))
            self.restart()

    def on_validation_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.restart()  # validation time is not training time

    def restart(self) -> None:
        self.images, self.since = 0, time.perf_counter()


class Panel(pl.Callback):
    """Draws bicubic | SR | ground truth | kernels of some images of a validation or test.

    Args:
        folder: where ``panel.png`` of a test and ``val_<step>.png`` of a validation go.
        images: rows of the picture.

    W&B and TensorBoard get the picture too.
    """

    def __init__(self, folder: str, images: int = 3) -> None:
        self.folder = Path(folder)
        self.images = images
        self.rows: list[PanelRow] = []

    def on_validation_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.rows = []

    def on_test_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.rows = []

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx in self.chosen(trainer.num_val_batches, dataloader_idx):
            self.collect(module, outputs, batch, module.val_rows)

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx in self.chosen(trainer.num_test_batches, dataloader_idx):
            self.collect(module, outputs, batch, module.test_rows)

    def on_validation_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        if not trainer.sanity_checking:
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
        if not (self.rows and trainer.is_global_zero) or trainer.fast_dev_run:
            return
        known = any(field is not None for row in self.rows for field in (row.kernel, row.true_kernel))
        caption = f"×{module.network.scale}; the most detailed part of each image, PSNR of the whole image on RGB" + (
            "; kernels of single pixels, LR grid, each scaled to its maximum" if known else ""
        )
        path = self.folder / name
        figure = panel(self.rows, caption, module.method)
        save_figure(figure, path)
        log_picture(trainer, key, figure, path)


def log_picture(trainer: pl.Trainer, key: str, figure: Figure, path: Path) -> None:
    """Send a picture to W&B and TensorBoard, where they log."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, trainer.global_step)
