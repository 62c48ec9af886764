"""hparams_search=optuna: a study that goes on must not begin with the trials that it began with."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.ending import ends_the_command


class SearchSeed(Callback):
    """Seeds the sampler of a search with the number of trials so far, where no seed is typed."""

    @ends_the_command
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sampler = config.hydra.sweeper.sampler
        if "seed" in sampler and sampler.seed is None:
            with read_write(config.hydra):
                sampler.seed = trials_in(config.hydra.sweeper.storage)


def trials_in(storage: str | None) -> int:
    """How many trials the studies in the database ``sqlite:///PATH`` have made so far; 0 for any other storage.

    Raises:
        InputError: the file is no such database.
    """
    path = Path((storage or "").removeprefix("sqlite:///"))
    if not path.is_file():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT count(*) FROM trials").fetchone()[0]
    except sqlite3.DatabaseError as error:
        line = f"{path}: not a study ({error}); remove it, or give hydra.sweeper.storage=sqlite:///PATH"
        raise InputError(line) from error
