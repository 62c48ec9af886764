"""What a study found out: an entry per data set, protocol and method, its seeds merged, beside the paper's figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from arcsr_lightning.errors import InputError
from arcsr_lightning.results.paper import ABLATIONS, Figures, published
from arcsr_lightning.results.runs import (
    FINISHED,
    Run,
    Study,
    check_comparable,
    psnr_of_images,
    scores_by_level,
    throughput,
)
from arcsr_lightning.results.statistics import Interval, Spread, paired_bootstrap, spread
from arcsr_lightning.runs.settings import differences

BICUBIC = {  # every run scores it, whether or not it is a method of the study
    "name": "bicubic",
    "parameters": 0,
    "gmacs_lr64": 0.0,
    "publication": "Keys, IEEE TASSP 1981",
    "represents": "no blur",
}
Images = dict[float, dict[str, float]]  # PSNR by noise level and image


class Score(NamedTuple):
    """At one noise level; ``psnrs`` has a value for each seed, ``difference`` is of PSNR to the reference."""

    psnrs: list[float]
    ssim: Spread
    difference: Interval | None

    @property
    def psnr(self) -> Spread:
        return spread(self.psnrs)


KERNELS = ("kernel_error", "kernel_skill", "kernel_amount", "kernel_direction")


class Entry(NamedTuple):
    """A method with one setting; ``scores`` by noise level, of its finished runs.

    ``state`` is "finished" where at least one run is; ``card`` is what reports say about the method, empty without any.
    """

    label: str
    method: str
    state: str
    finished: int
    planned: int
    card: dict[str, Any]
    scores: dict[float, Score]
    kernels: dict[str, Spread]  # of KERNELS, mean over noise levels; those that are known
    images_per_s: Spread | None
    hardware: list[dict[str, Any]]


class Section(NamedTuple):
    """The entries of one data set and one protocol of training, which no table mixes.

    ``runs`` are the finished ones, ``ablations`` says which of the paper's tables it belongs to.
    """

    data: str
    protocol: str | None
    scale: int | None
    runs: list[Run]
    entries: list[Entry]
    reference: str | None
    ablations: bool

    @property
    def title(self) -> str:
        return self.data + (f", protocol={self.protocol}" if self.protocol else "")

    @property
    def levels(self) -> list[float]:
        return sorted({level for entry in self.entries for level in entry.scores})

    def paper(self, method: str, level: float) -> Figures | None:
        """What the paper reports for a method here."""
        return published(method, self.data, self.scale, level, self.ablations)


class Group(NamedTuple):
    """The runs that differ in their seed alone, whatever became of them."""

    label: str
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == FINISHED]


def study_sections(study: Study, reference: str | None = None) -> list[Section]:
    """A section for each data set and protocol, in the order of the study.

    Args:
        study: what was read.
        reference: the method, or the label of an entry, that others are compared with; None: ArcSR, without it the
            first method that is not bicubic upscaling.

    Raises:
        InputError: runs on one data set were not scored alike, two runs are the same, or there is no such reference.
    """
    by_table: dict[tuple[str, str | None], list[Run]] = {}
    for run in study.runs:
        by_table.setdefault((run.data, run.protocol), []).append(run)
    grouped = {table: label_groups(group_seeds(runs)) for table, runs in by_table.items()}
    labels = {"bicubic": "bicubic"}
    labels |= {group.label: group.runs[0].method for found in grouped.values() for group in found}
    if reference is not None and reference not in (*labels, *labels.values()):
        raise InputError(f"reference={reference}: no method of this study; it has {', '.join(sorted(labels))}")
    return [table_section(study, *table, found, reference) for table, found in grouped.items()]


def table_section(
    study: Study, data: str, protocol: str | None, found: Sequence[Group], reference: str | None
) -> Section:
    """What is known on one data set by one protocol."""
    runs = [run for group in found for run in group.finished]
    check_comparable(runs)
    trained = [group for group in found if group.runs[0].method != "bicubic"]
    images = {group.label: mean_images(group) for group in trained if group.finished}
    if runs:
        images["bicubic"] = psnr_of_images(runs[0], "bicubic")
    chosen = find_reference(trained, reference)
    entries = [bicubic_entry(runs[0], images, chosen)] if runs else []
    entries += [method_entry(study, group, images, chosen) for group in trained]
    scale = runs[0].report["config"]["scale"] if runs else found[0].runs[0].config.get("scale")
    ablations = any(group.runs[0].method in ABLATIONS for group in trained)
    return Section(data, protocol, scale, runs, entries, chosen if chosen in images else None, ablations)


def find_reference(trained: Sequence[Group], wanted: str | None) -> str | None:
    """The label of the reference on a data set, None where it is not among its methods."""
    if wanted == "bicubic":
        return wanted
    names = [(group.label, group.runs[0].method) for group in trained]
    for label, method in names:
        if (wanted or "arcsr") in (label, method):
            return label
    return names[0][0] if names and wanted is None else None


def group_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs with those that differ in nothing but their seed together.

    Raises:
        InputError: two runs do not even differ in that.
    """
    found: list[list[Run]] = []
    for run in runs:
        group = next((group for group in found if same_but_for_seed(run, group[0])), None)
        if group is None:
            found.append([run])
            continue
        for other in group:
            if other.seed == run.seed:
                raise InputError(
                    f"{other.folder.name} and {run.folder.name} are the same training, seed={run.seed}: remove one"
                )
        group.append(run)
    return found


def same_but_for_seed(run: Run, other: Run) -> bool:
    """Whether two runs, by what was typed and by what was composed of it, are one training with two seeds."""
    same = without_seed(run.overrides) == without_seed(other.overrides) and run.method == other.method
    return same and set(differences(other.config, run.config)) <= {"seed"}


def without_seed(overrides: Sequence[str]) -> frozenset[str]:
    """The overrides but for the seed."""
    return frozenset(override for override in overrides if not override.startswith("seed="))


def label_groups(found: Sequence[list[Run]]) -> list[Group]:
    """The groups under the names of their methods; several of one method with what distinguishes them too."""
    names = [(runs[0].method, distinguishing_overrides(runs, found)) for runs in found]
    result = []
    for (method, own), runs in zip(names, found, strict=True):
        unique = own if names.count((method, own)) == 1 else runs[0].folder.name
        result.append(Group(f"{method}, {unique}" if unique else method, runs))
    return result


def distinguishing_overrides(runs: Sequence[Run], found: Sequence[list[Run]]) -> str:
    """What was typed for a group, but not for all others of its method."""
    common = frozenset.intersection(
        *(without_seed(other[0].overrides) for other in found if other[0].method == runs[0].method)
    )
    own = without_seed(runs[0].overrides) - common
    return " ".join(override for override in runs[0].overrides if override in own)


def mean_images(group: Group) -> Images:
    """The PSNR of every image, its mean over the seeds.

    Raises:
        InputError: they were not scored on the same images.
    """
    first, *others = [(run, psnr_of_images(run, run.method)) for run in group.finished]
    for run, images in others:
        check_same_images(first[0].folder.name, first[1], run.folder.name, images)
    every = [first[1], *(images for _, images in others)]
    return {
        level: {name: float(np.mean([images[level][name] for images in every])) for name in names}
        for level, names in first[1].items()
    }


def check_same_images(one: str, images: Images, other: str, others: Images) -> None:
    """Raise InputError where two sets of scores are not of the same images."""
    if {level: names.keys() for level, names in images.items()} != {
        level: names.keys() for level, names in others.items()
    }:
        raise InputError(f"{one} and {other} differ in the test images: their scores cannot be paired")


def difference_to_reference(
    images: dict[str, Images], label: str, reference: str | None, level: float
) -> Interval | None:
    """Of an entry to the reference; None for the reference itself, and where a perfect image has no finite score."""
    if reference not in images or label == reference:
        return None
    check_same_images(label, images[label], reference, images[reference])
    ours, theirs = images[label][level], images[reference][level]
    pairs = np.array([(ours[name], theirs[name]) for name in ours])
    if not np.isfinite(pairs).all():
        return None
    return paired_bootstrap(pairs[:, 0], pairs[:, 1], np.random.default_rng(0))  # the same interval at every call


def method_entry(study: Study, group: Group, images: dict[str, Images], reference: str | None) -> Entry:
    """What the runs of a group came to."""
    runs, method = group.finished, group.runs[0].method
    waiting = sum(without_seed(job) == without_seed(group.runs[0].overrides) for job in study.waiting)
    rows = [scores_by_level(run, method) for run in runs]
    scores = {}
    for level in rows[0] if rows else ():
        scores[level] = Score(
            [row[level]["psnr_rgb"] for row in rows],
            spread([row[level]["ssim_rgb"] for row in rows]),
            difference_to_reference(images, group.label, reference, level),
        )
    speeds = [speed for run in runs if (speed := throughput(run)) is not None]
    hardware = [run.report["hardware"] for run in runs]
    return Entry(
        label=group.label,
        method=method,
        state=FINISHED if runs else group.runs[0].state,
        finished=len(runs),
        planned=len(group.runs) + waiting,
        card=runs[0].report["method"] if runs else {},
        scores=scores,
        kernels={name: found for name in KERNELS if (found := mean_over_levels(rows, name))},
        images_per_s=spread(speeds) if speeds else None,
        hardware=[one for number, one in enumerate(hardware) if one not in hardware[:number]] if speeds else [],
    )


def mean_over_levels(rows: Sequence[dict[float, dict[str, Any]]], name: str) -> Spread | None:
    """The spread over runs of a figure's mean over noise levels; None where a run lacks it."""
    figures = [[level[name] for level in row.values() if level.get(name) is not None] for row in rows]
    return spread([float(np.mean(each)) for each in figures]) if figures and all(figures) else None


def bicubic_entry(run: Run, images: dict[str, Images], reference: str | None) -> Entry:
    """Bicubic upscaling, as any run scored it."""
    scores = {
        level: Score(
            [row["psnr_rgb"]], spread([row["ssim_rgb"]]), difference_to_reference(images, "bicubic", reference, level)
        )
        for level, row in scores_by_level(run, "bicubic").items()
    }
    return Entry("bicubic", "bicubic", FINISHED, 1, 1, BICUBIC, scores, {}, None, [])
