"""``arcsr-predict``: restore a picture, or a folder of them."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from rich.progress import Progress
from torch import nn

from arcsr_lightning import launch
from arcsr_lightning.data.images import check_format, image_files, load_picture, replace_pixels, save_picture
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.kernels import kernel_field_picture
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.inference import restore
from arcsr_lightning.runs.weights import find_weights, load_model

log = logging.getLogger(__name__)

SMALL = 32  # LR pixels a side; every network takes them


Job = tuple[Path, Path]  # a picture and what it becomes


class Restored(NamedTuple):
    """The files that were written, and why for each picture that was not restored."""

    written: list[Path]
    failures: dict[Path, str]


def predict(cfg: DictConfig) -> list[Path]:
    """Restore ``cfg.input`` into ``cfg.output`` as conf/predict.yaml says; returns the files written.

    A picture keeps its mode: grey stays grey, transparency is enlarged along, 16 bits stay 16.

    Raises:
        InputError: a file or setting is at fault. The other pictures of a folder are restored all the same.
    """
    restored = restore_all(cfg)
    check_complete(restored)
    return restored.written


def restore_all(cfg: DictConfig) -> Restored:
    """What :func:`predict` does, going on after a picture that cannot be restored.

    Raises:
        InputError: a setting is at fault, or the only picture.
    """
    jobs = targets_of(Path(cfg.input), Path(cfg.output), cfg.kernels, cfg.overwrite)
    network = load_model(find_weights(cfg.weights, cfg.paths.log_dir)).to(pick_device(cfg.device))
    if cfg.kernels and not estimates_kernels(network):
        raise InputError("kernels=true: this network estimates no kernels; leave it out")
    written: list[Path] = []
    failures: dict[Path, str] = {}
    with Progress() as progress:
        whole = progress.add_task("pictures", total=len(jobs))
        for source, target in jobs:
            try:
                files = restore_file(network, source, target, cfg, progress)
            except InputError as error:
                if len(jobs) == 1:
                    raise
                failures[source] = str(error)
                log.warning("not restored: %s", error)
            else:
                log.debug("%s: restored as %s", source, ", ".join(map(str, files)))
                written += files
            progress.advance(whole)
    return Restored(written, failures)


def check_complete(restored: Restored) -> None:
    """Raise InputError, which lists them, where pictures were not restored."""
    if restored.failures:
        names = ", ".join(path.name for path in restored.failures)
        raise InputError(f"{len(restored.failures)} pictures were not restored, for the reasons above: {names}")


def targets_of(source: Path, target: Path, kernels: bool, overwrite: bool) -> list[Job]:
    """(input, output) of every picture; all of it is checked before the first one is restored.

    Raises:
        InputError: nothing to restore, a file that would be overwritten without leave, or one that two pictures would
            become.
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
    return jobs


def kernel_file(result: Path) -> Path:
    """Where the picture of a restored picture's kernels goes."""
    return result.with_name(f"{result.stem}_kernels.png")


@torch.inference_mode()
def estimates_kernels(network: nn.Module) -> bool:
    """Whether kernels come with what a network restores."""
    device = next((parameter.device for parameter in network.parameters()), None)
    return network(torch.zeros(1, 3, SMALL, SMALL, device=device)).kernel is not None


def restore_file(network: nn.Module, source: Path, target: Path, cfg: DictConfig, progress: Progress) -> list[Path]:
    """Restore one picture; returns the files written.

    Raises:
        InputError: it cannot be read or written, or what the network makes of it is not finite.
    """
    picture = load_picture(source)
    check_format(target, picture, network.scale)
    tiles = progress.add_task(source.name, total=None)
    try:
        sr, kernel = restore(
            network,
            picture.rgb[None],
            cfg.tile,
            cfg.overlap,
            keep_kernel=cfg.kernels,
            on_tile=lambda done, total: progress.update(tiles, completed=done, total=total),
        )
    finally:
        progress.remove_task(tiles)
    if not (torch.isfinite(sr).all() and (kernel is None or torch.isfinite(kernel).all())):
        raise InputError(f"{source}: what the network makes of it is not finite; use other weights")
    restored = replace_pixels(picture, sr[0].clamp(0, 1))
    save_picture(target, restored)
    if kernel is None:
        return [target]
    save_figure(kernel_field_picture(kernel[0], restored.rgb, source.name), kernel_file(target))
    return [target, kernel_file(target)]


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        InputError: the named device is not to be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: there is no GPU that this PyTorch can use; set device=cpu")
    return torch.device(name)


@launch.command("predict")
def main(cfg: DictConfig) -> None:
    restored = restore_all(cfg)
    for path in restored.written:
        print(path)  # noqa: T201
    check_complete(restored)


if __name__ == "__main__":
    main()
