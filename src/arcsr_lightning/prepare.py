"""``arcsr-prepare``: decode a data set once, so that a training reads only the pixels of its crops."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.progress import Progress

from arcsr_lightning import CONF_DIR, launch
from arcsr_lightning.data.store import write_store
from arcsr_lightning.errors import InputError

log = logging.getLogger(__name__)


def prepare(cfg: DictConfig) -> int:
    """Bring ``cfg.data.store`` up to date with the images of ``cfg.data``; returns how many it had to write.

    Raises:
        InputError: a file or setting is at fault. Frames written before are kept, and not written again.
    """
    if "train" not in cfg.data:
        known = ", ".join(sorted(path.stem for path in (CONF_DIR / "data").glob("*.yaml")))
        raise InputError(
            f"data is not set; name the data set to decode: data={known.split(', ')[0]}, or another of {known}"
        )
    data = launch.as_plain_data(cfg)["data"]
    if not data["store"]:
        raise InputError("data.store=null: name the folder to write to, data.store=PATH")
    images = image_files_of(data)
    with Progress() as bars:
        tasks = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(f"frames {task}")
            bars.update(tasks[task], completed=done, total=total)

        return write_store(data["store"], images, cfg.num_workers, cfg.verify, show)


def image_files_of(data: dict[str, Any]) -> set[Path]:
    """Every image file that a training, validation or test on ``data`` reads."""
    files: set[Path] = set()
    for split in filter(None, (data["train"], data["val"], data["test"])):
        if "pairs" in split:
            files |= {path for pair in launch.instantiate(split["pairs"]) for path in (pair.hr, pair.degraded)}
        else:
            files |= set(launch.instantiate(split["paths"]))
    return files


@launch.command("prepare")
def main(cfg: DictConfig) -> None:
    written = prepare(cfg)
    line = f"{cfg.data.store}: complete, {written} frames written now; train with data.store={cfg.data.store}"
    log.debug(line)
    print(line)  # noqa: T201


if __name__ == "__main__":
    main()
