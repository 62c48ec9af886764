"""A callback for trainings in jobs of a cluster; Python finds it where PYTHONPATH names this folder."""

import os
import time
from pathlib import Path

import pytorch_lightning as pl


class Diary(pl.Callback):
    """Writes down every step, with how often its job was queued again; steps take long where there is no diary yet.

    Args:
        folder: where ``diary.csv`` goes: lines of restarts, step.
        pause: seconds that such a step takes longer; a negative number is an error.
    """

    def __init__(self, folder: str, pause: float) -> None:
        self.file = Path(folder, "diary.csv")
        self.pause = 0 if self.file.exists() else pause

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{restarts},{trainer.global_step}\n")
        time.sleep(self.pause)
