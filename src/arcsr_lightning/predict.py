"""``arcsr-predict``: restore a picture, a folder of them, or a video."""

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from arcsr_lightning import launch
from arcsr_lightning.data.images import image_files
from arcsr_lightning.data.pictures import Picture, check_format, load_picture, replace_pixels, save_picture
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.kernels import kernel_field_picture
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.inference import (
    ahead,
    behind,
    free_memory,
    largest_tile,
    naming_lack_of_memory,
    placed,
    require_finite,
    restore,
    run_network,
    use_device,
)
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.runs.weights import find_weights, load_model

log = logging.getLogger(__name__)

SMALL = 32  # LR pixels a side; every network takes them
UNTOLD = 256  # LR pixels a side of tile=auto where the system does not tell how much memory is free
VIDEOS = (
    *(".mp4", ".mov", ".mkv", ".m4v", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".3gp", ".wmv"),
    *(".flv", ".mxf", ".ogv", ".vob"),
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # why a file cannot be written, and no other one either

T = TypeVar("T")
Job = tuple[Path, Path]  # a picture or video and what it becomes
Restore = Callable[..., Restoration]  # (1, 3, H, W) to what it is restored as; ``on_tile`` as in ``restore``


class Outcome(NamedTuple):
    """The files that were written, and what was not restored, if anything."""

    written: list[Path]
    complaint: str = ""


def predict(cfg: DictConfig) -> list[Path]:
    """Restore ``cfg.input`` into ``cfg.output`` as conf/predict.yaml says; returns the files written.

    A picture keeps its mode: grey stays grey, transparency is enlarged along, 16 bits stay 16. A video keeps its
    times, colours, rotation and sound.

    Raises:
        InputError: a file or setting is at fault. The other pictures of a folder are restored all the same, and the
            frames of a video before the damage.
    """
    outcome = restore_all(cfg)
    check_complete(outcome)
    return outcome.written


def restore_all(cfg: DictConfig) -> Outcome:
    """What :func:`predict` does, going on after a picture that cannot be restored.

    Raises:
        InputError: a setting is at fault, or the only input.
    """
    source, target = Path(cfg.input), Path(cfg.output)
    if cfg.output.endswith("/") and source.is_file():
        target /= source.name
    jobs = targets_of(source, target, cfg.kernels, cfg.overwrite)
    device = use_device(cfg.device)
    weights = find_weights(cfg.weights, cfg.paths.log_dir)
    settings = {"ensemble": cfg.ensemble, "precision": cfg.precision}
    with naming_lack_of_memory(weights, "begin; end what else takes it, or set device=cpu"):
        network = placed(load_model(weights), device)
        if cfg.kernels and not estimates_kernels(network):
            raise InputError("kernels=true: this network estimates no kernels; leave it out")
        run = partial(run_network, network, keep_kernel=cfg.kernels, **settings)
        tile = automatic_tile(run, device, cfg.overlap) if cfg.tile == "auto" else cfg.tile
    restore_lr = partial(restore, run, tile=tile, overlap=cfg.overlap)
    if is_video(jobs[0][0]):
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        job = {"weights": digest, "tile": cfg.tile, "overlap": cfg.overlap, **settings}
        return restore_clip(*jobs[0], restore_lr, network.scale, job, cfg.kernels, cfg.overwrite)
    return restore_pictures(jobs, restore_lr, network.scale)


def check_complete(outcome: Outcome) -> None:
    """Raise InputError, which says what, where something was not restored."""
    if outcome.complaint:
        raise InputError(outcome.complaint)


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def targets_of(source: Path, target: Path, kernels: bool, overwrite: bool) -> list[Job]:
    """(input, output) of every picture, or of the video; all of it is checked before the first one is restored.

    Raises:
        InputError: nothing to restore, a file that would be overwritten without leave, or one that two pictures would
            become, or a place where none can be written.
    """
    if source.is_dir():
        if target.is_file():
            raise InputError(f"output={target} is a file, but input={source} is a folder; name a folder")
        jobs = [(path, target / path.name) for path in image_files(source)]
    else:
        jobs = [(source, target / source.name if target.is_dir() else target)]
    inputs = {os.path.realpath(path): path for path, _ in jobs}
    makers: dict[str, Path] = {}  # of every output
    for path, result in jobs:
        for output in (result, kernel_file(result)) if kernels else (result,):
            place = os.path.realpath(output)
            if place in inputs:
                raise InputError(f"{output} would replace the input {inputs[place]}; name another folder or file")
            if place in makers:
                raise InputError(f"{makers[place]} and {path} would both become {output}; rename one of them")
            if os.path.lexists(output) and not overwrite:
                raise InputError(f"{output} exists; choose another output, or allow it with overwrite=true")
            makers[place] = path
    check_writable(jobs[0][1].parent)
    return jobs


def check_writable(folder: Path) -> None:
    """Raise InputError where no file can be written to a folder, which may be yet to be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another output") from error


def kernel_file(result: Path) -> Path:
    """Where the picture, or video, of the kernels of a restored one goes."""
    return result.with_name(f"{result.stem}_kernels{result.suffix if is_video(result) else '.png'}")


def estimates_kernels(network: nn.Module) -> bool:
    """Whether kernels come with what a network restores."""
    return run_network(network, torch.zeros(1, 3, SMALL, SMALL)).kernel is not None


def automatic_tile(run: Callable[[Tensor], Restoration], device: torch.device, overlap: int) -> int:
    """The side of a tile in LR pixels that suits the memory that is free.

    Raises:
        InputError: that is too little for any.
    """
    free = free_memory(device)
    if free is None:
        tile = max(UNTOLD, 2 * overlap)
        log.info("tile=auto: %d, as this system does not tell how much memory is free", tile)
        return tile
    tile = largest_tile(run, device, free, overlap)
    log.info("tile=auto: %d", tile)
    return tile


def restore_pictures(jobs: list[Job], restore_lr: Restore, scale: int) -> Outcome:
    """Restore pictures in their order; the next one is read, and the last one written, while the network works.

    Raises:
        InputError: the only picture cannot be restored.
    """
    written: list[Path] = []
    loaded = ahead(attempt(load, source, target, scale) for source, target in jobs)
    with Progress(console=Console(stderr=True)) as progress:
        whole = progress.add_task("pictures", total=len(jobs))

        def saves() -> Iterator[Callable[[], list[Path] | InputError]]:
            for (source, target), picture in zip(jobs, loaded, strict=True):
                restored = attempt(restore_picture, source, picture, restore_lr, progress)
                yield partial(attempt, save, source, target, restored)

        for (source, _), files in zip(jobs, behind(saves()), strict=True):
            if not isinstance(files, InputError):
                log.debug("%s: restored as %s", source, ", ".join(map(str, files)))
                written += files
            elif len(jobs) == 1:
                raise files
            else:
                log.warning("not restored: %s", files)
                if isinstance(files.__cause__, OSError) and files.__cause__.errno in FULL:
                    break
            progress.advance(whole)
    done = set(written)
    failures = [source for source, target in jobs if target not in done]
    if not failures:
        return Outcome(written)
    names = ", ".join(path.name for path in failures)
    said = (
        "1 picture was not restored, for the reason"
        if len(failures) == 1
        else f"{len(failures)} pictures were not restored, for the reasons"
    )
    return Outcome(written, f"{said} above: {names}")


def attempt(step: Callable[..., T], *inputs: Any) -> T | InputError:
    """What a step makes of its inputs; or the error that one of them is, or that the step raises."""
    for before in inputs:
        if isinstance(before, InputError):
            return before
    try:
        return step(*inputs)
    except InputError as error:
        return error


def load(source: Path, target: Path, scale: int) -> Picture:
    """Read a picture which the target can hold once it is restored."""
    with naming_lack_of_memory(source, "read it"):
        picture = load_picture(source)
    check_format(target, picture, scale)
    return picture


def restore_picture(
    source: Path, picture: Picture, restore_lr: Restore, progress: Progress
) -> tuple[Picture, Tensor | None]:
    """A picture restored, and its kernels (ks*ks, H, W) where they were asked for."""
    tiles = progress.add_task(source.name, total=None)
    try:
        with naming_lack_of_memory(source):
            restored = restore_lr(
                picture.rgb[None], on_tile=lambda done, total: progress.update(tiles, completed=done, total=total)
            )
        sr, kernel = require_finite(restored, source)
    finally:
        progress.remove_task(tiles)
    return replace_pixels(picture, sr[0].clamp(0, 1)), None if kernel is None else kernel[0]


def save(source: Path, target: Path, restored: tuple[Picture, Tensor | None]) -> list[Path]:
    """Write a restored picture and that of its kernels; returns the files."""
    picture, kernel = restored
    with naming_lack_of_memory(target, "write it"):
        save_picture(target, picture)
        if kernel is None:
            return [target]
        save_figure(kernel_field_picture(kernel, picture.rgb, source.name), kernel_file(target))
    return [target, kernel_file(target)]


def restore_clip(
    source: Path, target: Path, restore_lr: Restore, scale: int, job: dict[str, Any], kernels: bool, overwrite: bool
) -> Outcome:
    """Restore a video, its frames up to the damage where it has one.

    Raises:
        InputError: it cannot be opened, or the target not be written.
    """
    from arcsr_lightning.videos import restore_video  # needs the extra [video]

    with Progress(console=Console(stderr=True)) as progress:
        frames = progress.add_task("frames", total=None)
        with naming_lack_of_memory(source):
            damage = restore_video(
                source,
                target,
                kernel_file(target) if kernels else None,
                lambda lr: require_finite(restore_lr(lr), source),
                scale,
                job,
                overwrite,
                lambda done, stated: progress.update(frames, completed=done, total=max(done, stated)),
            )
    written = [target, kernel_file(target)] if kernels else [target]
    return Outcome(written, f"{damage}; {target} ends there" if damage else "")


@launch.command("predict")
def main(cfg: DictConfig) -> None:
    outcome = restore_all(cfg)
    for path in outcome.written:
        print(path)  # noqa: T201
    check_complete(outcome)


if __name__ == "__main__":
    main()
