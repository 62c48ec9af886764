"""How a command ends that cannot go on."""

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from arcsr_lightning.launch import environment
from arcsr_lightning.launch.messages import explain
from arcsr_lightning.processes import rank_zero_only

log = logging.getLogger(__name__)


def end(error: Exception) -> NoReturn:
    """Leave with one line about an error of the user's; with a traceback for a fault of ours, or where it is wanted."""
    line = explain(error)
    if line is None or environment.wants_traceback():
        log.error("error: %s", line or "this is a fault of arcsr-lightning", exc_info=error)
    else:
        log.error("error: %s", line)
    raise SystemExit(1) from error


def end_before_the_run(error: Exception) -> NoReturn:
    """As :func:`end`, but only the first process prints the user's error: all fail for the same reason."""
    if rank_zero_only.rank and explain(error):
        raise SystemExit(1) from error
    end(error)


def ends_the_command(method: Callable[..., None]) -> Callable[..., None]:
    """Let an error in a Hydra callback end the command; Hydra itself would warn and go on."""

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:
            end_before_the_run(error)

    return checked


def close_loggers() -> None:
    """End the W&B run of this job, so that the next one starts its own; as failed while an error is being handled."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=int(sys.exc_info()[1] is not None))
