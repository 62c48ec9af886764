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

import torch
from hydra.core.hydra_config import HydraConfig

import arcsr_lightning
from arcsr_lightning.launch.typed import typed_of_hydra, typed_settings
from arcsr_lightning.processes import rank_zero_only

log = logging.getLogger(__name__)

CONFIGURED = ("", "arcsr_lightning", "pytorch_lightning", "lightning_fabric", "py.warnings")  # by conf/hydra
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
    form = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.formatwarning = short_warning
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            warnings.formatwarning = form


def short_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None):
    """A warning as one line, with the place it comes from in short."""
    return f"warning: {' '.join(str(message).split())} ({Path(filename).name}:{lineno})"


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


def close_loggers() -> None:
    """End the W&B run of this job, so that the next one starts its own; as failed while an error is being handled."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=int(sys.exc_info()[1] is not None))
