"""What a command says while it runs: short lines in the terminal, the same and more with times in its folder.

conf/hydra/default.yaml names the handlers. A module of this package says with ``log.info`` what both get, with
``log.debug`` what only the file gets: details, and what the terminal shows in another way.
"""

import logging
import platform
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

import arcsr_lightning
from arcsr_lightning.launch.typed import typed_of_hydra, typed_settings
from arcsr_lightning.processes import rank_zero_only

log = logging.getLogger(__name__)

LIGHTNING = ("pytorch_lightning", "lightning_fabric")
CONFIGURED = ("", "arcsr_lightning", *LIGHTNING, "py.warnings")  # by conf/hydra
FOREIGN = re.compile(  # what others say that helps nobody who types our commands
    r"💡 Tip:|^(GPU|TPU|HPU|IPU) available|already configured with model summary callbacks"
    r"|was configured so \d+ batch|Using \S+ Automatic Mixed Precision"
)


class FirstProcess(logging.Filter):
    """Lets through what the first process of a run says."""

    def filter(self, record: logging.LogRecord) -> bool:
        return rank_zero_only.rank == 0


class NotForeign(logging.Filter):
    """Lets through what is not the advertisement or the small talk of another package."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not FOREIGN.search(record.getMessage())


@contextmanager
def as_a_command() -> Iterator[None]:
    """Log to the terminal, until Hydra has read where else; afterwards logging is as it was."""
    loggers = [logging.getLogger(name) for name in CONFIGURED]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            for handler in logger.handlers:
                if handler not in handlers:
                    handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@contextmanager
def warnings_in_the_log() -> Iterator[None]:
    """Log warnings as one line each; deprecations in other packages are left to those who can act on them."""
    with warnings.catch_warnings():
        warnings.showwarning = log_warning  # not the form and the filters: Lightning sets these when it is imported
        yield


def log_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """Log a warning that is none of a deprecation as one line, with the place it comes from in short."""
    if not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        line = " ".join(str(message).split())
        logging.getLogger("py.warnings").warning("warning: %s (%s:%d)", line, Path(filename).name, lineno)


def import_lightning() -> None:
    """Import Lightning, and leave its loggers at the levels that they were told: it sets them when it is imported."""
    loggers = [logging.getLogger(name) for name in LIGHTNING]
    levels = [logger.level for logger in loggers]
    import pytorch_lightning  # noqa: F401

    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level or logger.level)


def note_launch(command: str) -> None:
    """Note in the run's file what was typed, by whom it is run, and where it lies."""
    job = HydraConfig.get()
    typed = [part for part in (*typed_of_hydra(job), *typed_settings(job)) if not part.startswith("hydra.mode=")]
    log.debug("typed: %s", shlex.join([command, *typed]))
    log.debug("folder: %s", job.runtime.output_dir)
    log.debug(
        "versions: arcsr-lightning %s, PyTorch %s, Lightning %s, Python %s, on %s",
        arcsr_lightning.__version__, torch.__version__, version("pytorch-lightning"),
        platform.python_version(), platform.node(),
    )  # fmt: skip
