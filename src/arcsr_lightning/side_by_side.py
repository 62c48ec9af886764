"""Figure 2 of a study: what every method makes of the same images, as a picture and as a page with a slider."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from arcsr_lightning import launch
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.comparison import Cell, Scene, comparison_picture, make_scene
from arcsr_lightning.figures.page import comparison_page
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.files import write_text
from arcsr_lightning.inference import placed, use_device
from arcsr_lightning.losses import restore_batch
from arcsr_lightning.networks import Bicubic
from arcsr_lightning.results.runs import Run, read_study
from arcsr_lightning.results.sections import Section, study_sections
from arcsr_lightning.runs.weights import FILE, load_model
from arcsr_lightning.scores.metrics import score

CROPS = 24  # in a picture, whose file is to stay small
SAME = 0.05  # dB; the PSNR of an image is the recorded one on any device


class Column(NamedTuple):
    """A method, the run that stands for it, and its network."""

    title: str
    run: Run
    network: nn.Module


def draw_figure(
    folder: str | Path,
    images: Sequence[str] | None = None,
    noise: float | None = None,
    reference: str | None = None,
    note_damage: Callable[[str], Any] = lambda line: None,
) -> list[Path]:
    """Write figure.png and figure.html into a sweep's folder; of several data sets, their names are part of the files'.

    Args:
        folder: of a sweep.
        images: names of test images, as in per_image.csv; None: those that tell most.
        noise: level, in 8 bits; None: the lowest.
        reference: the method, by whose gain over the others images are chosen (``results.compare``).
        note_damage: told of each file that is damaged; the figure is that of the other runs.

    Returns:
        The paths that were written.

    Raises:
        InputError: a file or setting is at fault, or what is restored scores otherwise than was recorded.
    """
    study = read_study(Path(folder))
    sections = [section for section in study_sections(study, reference) if section.levels]
    for line in study.damages:
        note_damage(line)
    if not sections:
        raise InputError(f"{folder}: no run is finished; a figure shows what finished runs restore")
    check_choice(sections, images, noise)
    paths = []
    for section in sections:
        if not holds_choice(section, images, noise):
            continue
        stem = "figure" if len(sections) == 1 else f"figure_{section.data}_{section.protocol or 'other'}"
        chosen, reason = choose_images(section, images, noise)
        level = section.levels[0] if noise is None else noise
        scenes = make_scenes(section, chosen, level)
        caption = caption_of(section, reason)
        png, html = (Path(folder, f"{stem}.{suffix}") for suffix in ("png", "html"))
        save_figure(comparison_picture(scenes, caption), png)
        right = section.reference if section.reference not in (None, "bicubic") else scenes[0].cells[2].title
        write_text(html, comparison_page(scenes, f"{study.name}: {section.title}, ×{section.scale}", caption, right))
        paths += [png, html]
    return paths


def check_choice(sections: Sequence[Section], images: Sequence[str] | None, noise: float | None) -> None:
    """Raise InputError for an image or a noise level that no data set has, or where none has both."""
    titles = " and ".join(section.title for section in sections)
    levels = sorted({level for section in sections for level in section.levels})
    if noise is not None and noise not in levels:
        known = ", ".join(f"{level:g}" for level in levels)
        raise InputError(f"noise={noise:g}: {titles} was not tested at it; it was at {known}")
    names = {name: None for section in sections for name in sorted(images_of(section))}
    for name in images or ():
        if name not in names:
            some = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
            raise InputError(f"images={name}: no test image of {titles}; it has {some}")
    if not any(holds_choice(section, images, noise) for section in sections):
        raise InputError(f"images={','.join(images or ())}: not tested at noise={noise:g}")


def holds_choice(section: Section, images: Sequence[str] | None, noise: float | None) -> bool:
    """Whether a data set was tested at a noise level, and has one of the images that are asked for."""
    return noise in (None, *section.levels) and (not images or any(name in images_of(section) for name in images))


def images_of(section: Section) -> Collection[str]:
    """The names of a data set's test images."""
    return section.runs[0].images["bicubic"][section.levels[0]]


def choose_images(section: Section, images: Sequence[str] | None, noise: float | None) -> tuple[list[str], str]:
    """The names of the images to show, those of ``images`` that the data set has, and why these."""
    if images:
        return [name for name in images if name in images_of(section)], "Images chosen by name"
    return telling_images(section, section.levels[0] if noise is None else noise)


def telling_images(section: Section, level: float) -> tuple[list[str], str]:
    """The images in which the reference gains most, least and in the middle over the mean of the others.

    Each of another sequence or photograph where there are so many.
    """
    images = section.runs[0].images["bicubic"][level]
    fair = [entry for entry in section.entries if entry.scores and entry.card.get("comparable", True)]
    gained = [entry.scores[level].gains for entry in fair if entry.method != "bicubic"]
    rivals = [gains for gains in gained if gains] or [section.entries[0].scores[level].gains]
    count = max(1, min(3, CROPS // (len(section.entries) + 2)))
    if not rivals[0]:
        return sorted(images)[:count], "The first images by name"
    ranked = sorted(images, key=lambda name: (fmean(gains[name] for gains in rivals), name))  # best for the reference
    chosen: list[str] = []
    for place in (0, len(ranked) - 1, len(ranked) // 2)[:count]:
        taken = {images[name].group for name in chosen}
        free = [name for name in ranked if name not in chosen]
        others = [name for name in free if images[name].group not in taken]
        if free:
            chosen.append(min(others or free, key=lambda name: abs(ranked.index(name) - place)))
    places = ", ".join(("most", "least", "in the middle")[: len(chosen)])
    return chosen, f"Images by the gain of {section.reference} over the mean of the others: {places}"


def caption_of(section: Section, reason: str) -> str:
    """What the figure shows, and what its networks are."""
    seeds = sorted({str(entry.runs[0].seed) for entry in section.entries[1:] if entry.runs})
    return (
        f"{section.title}, ×{section.scale}. {reason}; the part in which the methods differ most; PSNR of the whole "
        f"image on RGB. Below: kernels at the marked pixels, each scaled to its maximum. Seed {', '.join(seeds)}. "
        f"{section.trained}"
    )


@torch.inference_mode()
def make_scenes(section: Section, names: Sequence[str], level: float) -> list[Scene]:
    """Restore the images with the first finished run of every method, all from the same LR.

    Raises:
        InputError: a file or setting is at fault, there is nothing to restore with, or an image scores otherwise.
    """
    device = use_device("auto")
    columns = [
        Column(entry.label, run, placed(load_model(weights_of(run)), device))
        for entry in section.entries
        if entry.method != "bicubic"
        for run in entry.runs[:1]
    ]
    if not columns:
        raise InputError(f"{section.title}: no trained method is finished; there is nothing to compare")
    columns.insert(0, Column("bicubic", section.runs[0], Bicubic(columns[0].network.scale)))
    samples = test_samples(columns[0].run, names, level)
    return [scene_of(sample, columns, level, device) for sample in samples]


def weights_of(run: Run) -> Path:
    """The weights that a finished run was scored with: its own, or those that it evaluated."""
    own, evaluated = run.folder / FILE, run.report["config"].get("weights")
    return Path(evaluated) if not own.is_file() and evaluated else own


def test_samples(run: Run, names: Sequence[str], level: float) -> list[dict[str, Any]]:
    """The test images of a run by their names.

    Raises:
        InputError: they are not where they were.
    """
    dataset = launch.build_test_set(run.report["config"], level)
    numbers = {dataset.name(number): number for number in range(len(dataset))}
    for name in names:
        if name not in numbers:
            raise InputError(f"{run.folder}: its test data has no {name} any more; put it back, or choose images=")
    return [dataset[numbers[name]] for name in names]


def scene_of(sample: dict[str, Any], columns: Sequence[Column], level: float, device: torch.device) -> Scene:
    """What every method makes of one image."""
    scale = columns[0].network.scale
    lr, hr, truth = sample["lr"], sample["hr"], sample.get("kernel")
    larger = lr.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    cells = [Cell(f"LR, {lr.shape[-1]}×{lr.shape[-2]}", larger)]
    cells += [restored_cell(column, sample, level, device) for column in columns]
    cells.append(Cell("ground truth", hr, kernel=truth))
    return make_scene(sample["name"], level, scale, cells)


def restored_cell(column: Column, sample: dict[str, Any], level: float, device: torch.device) -> Cell:
    """What one method makes of an image.

    Raises:
        InputError: it scores otherwise than the run recorded.
    """
    batch = {key: value[None].to(device) for key, value in sample.items() if isinstance(value, Tensor)}
    learnt = column.title != "bicubic"
    known_kernels = learnt and bool(column.run.report["config"].get("known_kernels"))
    restored = restore_batch(column.network, batch, known_kernels)
    psnr = float(score(restored.sr, batch["hr"], column.network.scale)["psnr_rgb"][0])
    method = column.run.method if learnt else "bicubic"
    recorded = column.run.images[method][level][sample["name"]].psnr
    if abs(psnr - recorded) > SAME:
        raise InputError(
            f"{column.run.folder}: {method} scores {psnr:.2f} dB on {sample['name']}, where per_image.csv has "
            f"{recorded:.2f}; its test data or its weights have changed: score them again with arcsr-eval"
        )
    kernel = None if restored.kernel is None else restored.kernel[0].float().cpu()
    return Cell(column.title, restored.sr[0].float().cpu(), psnr, kernel)
