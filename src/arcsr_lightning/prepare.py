"""``arcsr-prepare``: decode a data set once, so that a training reads only its crops, and measure its kernels."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from arcsr_lightning import CONF_DIR, launch
from arcsr_lightning.data import Pair
from arcsr_lightning.data.measured import write_kernels
from arcsr_lightning.data.store import write_store
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import alone_in

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """How many frames were written, and of how many pairs the kernels were measured; None where they are not wanted."""

    frames: int
    kernels: int | None


def prepare(cfg: DictConfig) -> Written:
    """Bring ``cfg.data.store`` up to date with the images of ``cfg.data``; says what it had to write.

    With ``data.kernels=measured`` the kernels of its pairs are measured and kept there, too.

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
    measured = data["kernels"] == "measured"
    pairs = list({pair.degraded: pair for split in splits_of(data) for pair in pairs_of(split)}.values())
    if measured and not pairs:
        raise InputError(f"data.kernels=measured: {data['name']} holds no pairs to measure; use gopro, reds or pairs")
    busy = (
        "another arcsr-prepare is at work in this store; wait until it ends, or name another folder (data.store=PATH)"
    )
    with alone_in(data["store"], busy), Progress(console=Console(stderr=True)) as bars:
        tasks = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(f"{'pairs' if task == 'measured' else 'frames'} {task}")
            bars.update(tasks[task], completed=done, total=total)

        frames = write_store(data["store"], images, cfg.num_workers, cfg.verify, show)
        if not measured:
            return Written(frames, None)
        return Written(frames, write_kernels(data["store"], pairs, cfg.scale, cfg.kernel_size, show))


def splits_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The configurations of the data sets for training, validation and test, where there are some.

    Of a mixture for training, those of its parts.
    """
    splits = list(filter(None, (data["train"], data["val"], data["test"])))
    return [part for split in splits for part in split.get("parts", {"whole": split}).values() if part]


def pairs_of(split: dict[str, Any]) -> list[Pair]:
    """The pairs of a data set; none where it degrades its images itself."""
    return launch.instantiate(split["pairs"]) if "pairs" in split else []


def image_files_of(data: dict[str, Any]) -> set[Path]:
    """Every image file that a training, validation or test on ``data`` reads."""
    files: set[Path] = set()
    for split in splits_of(data):
        if "pairs" in split:
            files |= {path for pair in pairs_of(split) for path in (pair.hr, pair.degraded)}
        else:
            files |= set(launch.instantiate(split["paths"]))
    return files


@launch.command("prepare")
def main(cfg: DictConfig) -> None:
    written = prepare(cfg)
    kernels = "" if written.kernels is None else f" and the kernels of {written.kernels} pairs measured"
    store = cfg.data.store
    line = f"{store}: complete, {written.frames} frames written{kernels} now; train with data.store={store}"
    log.debug(line)
    print(line)  # noqa: T201


if __name__ == "__main__":
    main()
