"""The tables of a sweep, brought up to date as it goes; apart from the rest of launch, which knows no results."""

import logging
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from arcsr_lightning.errors import InputError
from arcsr_lightning.processes import rank_zero_only
from arcsr_lightning.results import compare

log = logging.getLogger(__name__)


class ResultTables(Callback):
    """Writes the tables of a sweep's folder after each of its jobs, failed ones included."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN or rank_zero_only.rank:
            return
        try:
            log.info("table of all jobs so far: %s", compare(config.hydra.sweep.dir))
        except InputError as error:  # a sweep over data sets, say
            log.info("no table of all jobs: %s", error)
