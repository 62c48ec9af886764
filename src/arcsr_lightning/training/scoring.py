"""The test of trained weights, and its report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from arcsr_lightning.data.datamodule import SRDataModule
from arcsr_lightning.scores.card import hardware_of, method_card
from arcsr_lightning.scores.perceptual import Measure
from arcsr_lightning.scores.report import write_report
from arcsr_lightning.training.module import SRModule


def score(
    trainer: pl.Trainer,
    module: SRModule,
    data: SRDataModule,
    folder: str | Path,
    config: dict[str, Any],
    trained: dict[str, Any] | None = None,
    measures: Sequence[Measure] = (),
) -> None:
    """Score the network on the test images, and leave the report in ``folder``; a ``fast_dev_run`` leaves none.

    Args:
        trainer: what runs the test.
        module: whose network is scored; it keeps the scores of every image.
        data: with the test images.
        folder: of the run.
        config: the run's configuration, resolved plain data.
        trained: the configuration of the training, where that is another.
        measures: the perceptual scores that were asked for.
    """
    with data.naming_dead_workers():
        trainer.test(module, data, verbose=False)
    if not module.test_rows or not trainer.is_global_zero or trainer.fast_dev_run:
        return
    card = method_card(module.method, module.network, trained or config, module.latency)
    hardware = hardware_of(trainer.strategy.root_device, trainer.world_size)
    write_report(folder, module.test_rows, module.kernel_rows, card, config, hardware, trained, measures)
