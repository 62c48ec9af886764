"""``arcsr-predict``: restore a picture, or a folder of them."""

import logging
from pathlib import Path

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


def predict(cfg: DictConfig) -> list[Path]:
    """Restore ``cfg.input`` into ``cfg.output`` as conf/predict.yaml says; returns the files written.

    A picture keeps its mode: grey stays grey, transparency is enlarged along, 16 bits stay 16.

    Raises:
        InputError: a file or setting is at fault. Pictures finished before it are kept.
    """
    jobs = targets_of(Path(cfg.input), Path(cfg.output), cfg.kernels, cfg.overwrite)
    network = load_model(find_weights(cfg.weights, cfg.paths.log_dir)).to(pick_device(cfg.device))
    written: list[Path] = []
    with Progress() as progress:
        whole = progress.add_task("pictures", total=len(jobs))
        for source, target in jobs:
            files = restore_file(network, source, target, cfg, progress)
            log.debug("%s: restored as %s", source, ", ".join(map(str, files)))
            written += files
            progress.advance(whole)
    return written


def targets_of(source: Path, target: Path, kernels: bool, overwrite: bool) -> list[tuple[Path, Path]]:
    """(input, output) of every picture; all of it is checked before the first one is restored.

    Raises:
        InputError: nothing to restore, or a file that would be overwritten without leave.
    """
    if source.is_dir():
        if target.is_file():
            raise InputError(f"output={target} is a file, but input={source} is a folder; name a folder")
        jobs = [(path, target / path.name) for path in image_files(source)]
    else:
        jobs = [(source, target / source.name if target.is_dir() else target)]
    for path, result in jobs:
        if result.resolve() == path.resolve():
            raise InputError(f"output={target} would replace the input {path}; name another folder or file")
        for existing in (result, kernel_file(result)) if kernels else (result,):
            if existing.exists() and not overwrite:
                raise InputError(f"{existing} exists; choose another output, or allow it with overwrite=true")
    return jobs


def kernel_file(result: Path) -> Path:
    """Where the picture of a restored picture's kernels goes."""
    return result.with_name(f"{result.stem}_kernels.png")


def restore_file(network: nn.Module, source: Path, target: Path, cfg: DictConfig, progress: Progress) -> list[Path]:
    """Restore one picture; returns the files written."""
    picture = load_picture(source)
    check_format(target, picture)
    tiles = progress.add_task(source.name, total=None)
    sr, kernel = restore(
        network,
        picture.rgb[None],
        cfg.tile,
        cfg.overlap,
        keep_kernel=cfg.kernels,
        on_tile=lambda done, total: progress.update(tiles, completed=done, total=total),
    )
    progress.remove_task(tiles)
    restored = replace_pixels(picture, sr[0].clamp(0, 1))
    save_picture(target, restored)
    if not cfg.kernels:
        return [target]
    if kernel is None:
        raise InputError("kernels=true: this network estimates no kernels; the restored picture was written")
    save_figure(kernel_field_picture(kernel[0], restored.rgb, source.name), kernel_file(target))
    return [target, kernel_file(target)]


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        InputError: the named device is not to be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"device={name}: must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: there is no GPU that this PyTorch can use; set device=cpu")
    return torch.device(name)


@launch.command("predict")
def main(cfg: DictConfig) -> None:
    for path in predict(cfg):
        print(path)  # noqa: T201


if __name__ == "__main__":
    main()
