"""What a study found out: an entry per data set, protocol and method, its seeds merged, beside the paper's figures."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from arcsr_lightning.errors import InputError
from arcsr_lightning.results.groups import Group, group_seeds, images_of_seeds, label_groups, without_seed
from arcsr_lightning.results.image_scores import (
    ScoresBySeed,
    Tercile,
    blur_terciles,
    check_same_images,
    difference,
    gains_over,
)
from arcsr_lightning.results.paper import ABLATIONS, Figures, published
from arcsr_lightning.results.runs import (
    FINISHED,
    Run,
    Study,
    check_comparable,
    scores_by_level,
    throughput,
    training_seconds,
)
from arcsr_lightning.results.statistics import Interval, Spread, spread
from arcsr_lightning.scores.protocol import KERNEL_SCORES, PERCEPTUAL, TRUTH

BICUBIC = {  # every run scores it, whether or not it is a method of the study
    "name": "bicubic",
    "parameters": 0,
    "gmacs_lr64": 0.0,
    "publication": "Keys, IEEE TASSP 1981",
    "represents": "no blur",
}


class Part(NamedTuple):
    """PSNR on some of the test images, and its difference to that of the reference."""

    psnr: Spread
    difference: Interval | None


class Score(NamedTuple):
    """At one noise level.

    ``psnrs`` has a value for each seed, ``difference`` is of PSNR to the reference, ``gains`` are what it is the mean
    of, by image and averaged over seeds, ``parts`` has the terciles of blur, and ``perceptual`` the scores by networks
    of others that all seeds have, by name, the ground truth's own among them.
    """

    psnrs: list[float]
    ssim: Spread
    difference: Interval | None
    gains: dict[str, float]
    parts: list[Part]
    perceptual: dict[str, Spread]

    @property
    def psnr(self) -> Spread:
        return spread(self.psnrs)


KERNELS = ("kernel_error", *KERNEL_SCORES)


class Entry(NamedTuple):
    """A method with one setting; ``scores`` by noise level, of its finished runs.

    ``state`` is "finished" where at least one run is; ``card`` is what reports say about the method, empty without any.
    """

    label: str
    method: str
    state: str
    runs: list[Run]  # that are finished
    planned: int
    card: dict[str, Any]
    scores: dict[float, Score]
    kernels: dict[str, Spread]  # of KERNELS, mean over noise levels; those that are known
    images_per_s: Spread | None
    seconds: Spread | None  # of training
    latency: Spread | None  # seconds for a test image
    hardware: list[dict[str, Any]]

    @property
    def finished(self) -> int:
        return len(self.runs)


class Section(NamedTuple):
    """The entries of one data set and one protocol of training, which no table mixes.

    ``runs`` are the finished ones, ``ablations`` says which of the paper's tables it belongs to; ``terciles`` are the
    test images by their blur, where that is known.
    """

    data: str
    protocol: str | None
    scale: int | None
    runs: list[Run]
    entries: list[Entry]
    reference: str | None
    ablations: bool
    terciles: list[Tercile]

    @property
    def title(self) -> str:
        return self.data + (f", protocol={self.protocol}" if self.protocol else "")

    @property
    def levels(self) -> list[float]:
        return sorted({level for entry in self.entries for level in entry.scores})

    @property
    def perceptual(self) -> list[str]:
        """The perceptual scores that some run was asked for."""
        asked = {entry["name"] for run in self.runs for entry in run.report.get("perceptual") or []}
        return [name for name in PERCEPTUAL if name in asked]

    @property
    def compared(self) -> list[Entry]:
        """Whom the reference is compared with by strength of blur: bicubic upscaling only where there is no other."""
        entries = [entry for entry in self.entries if any(score.parts for score in entry.scores.values())]
        paired = [entry for entry in entries if all(p.difference for s in entry.scores.values() for p in s.parts)]
        return [entry for entry in paired if entry.method != "bicubic"] or paired

    @property
    def trained(self) -> str:
        """How long the networks were trained, and how large they are: what a table of theirs is worth."""
        cards = [entry.card for entry in self.entries if entry.card.get("schedule")]
        if not cards:
            return ""
        steps = [sum(stage["steps"] for stage in card["schedule"]) for card in cards]
        sizes = [f"{card['parameters'] / 1e6:.2f}" for card in sorted(cards, key=lambda card: card["parameters"])]
        shares = [
            taken / card["published_steps"]
            for taken, card in zip(steps, cards, strict=True)
            if card.get("published_steps")
        ]
        of_published = f" ({percent(max(shares))} of the published or less)" if shares and max(shares) < 1 else ""
        return (
            f"Trained for {from_to(min(steps), max(steps))} steps{of_published} at a size of "
            f"{from_to(sizes[0], sizes[-1])} M parameters."
        )

    def paper(self, method: str, level: float) -> Figures | None:
        """What the paper reports for a method here."""
        return published(method, self.data, self.scale, level, self.ablations)

    def has_paper(self, level: float) -> bool:
        """Whether the paper reports anything here."""
        return any(self.paper(entry.method, level) for entry in self.entries)


def percent(share: float) -> str:
    """A share in two digits or more, without an exponent."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def from_to(low: object, high: object) -> str:
    return str(low) if low == high else f"{low} to {high}"


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
    labels |= {group.label: group.method for found in grouped.values() for group in found}
    if reference is not None and reference not in (*labels, *labels.values()):
        raise InputError(f"reference={reference}: no method of this study; it has {', '.join(sorted(labels))}")
    return [table_section(study, *table, found, reference) for table, found in grouped.items()]


def table_section(
    study: Study, data: str, protocol: str | None, found: Sequence[Group], reference: str | None
) -> Section:
    """What is known on one data set by one protocol."""
    runs = [run for group in found for run in group.finished]
    check_comparable(runs)
    trained = [group for group in found if group.method != "bicubic"]
    seeds = {group.label: images_of_seeds(group) for group in trained if group.finished}
    if runs:
        seeds["bicubic"] = {None: runs[0].images["bicubic"]}
    chosen = find_reference(trained, reference)
    terciles = blur_terciles(next(iter(runs[0].images["bicubic"].values()))) if runs else []
    comparison = Comparison(seeds, chosen if chosen in seeds else None, terciles)
    entries = [bicubic_entry(runs[0], comparison)] if runs else []
    entries += [method_entry(study, group, comparison) for group in trained]
    scale = runs[0].report["config"]["scale"] if runs else found[0].runs[0].config.get("scale")
    ablations = any(group.method in ABLATIONS for group in trained)
    return Section(data, protocol, scale, runs, entries, comparison.reference, ablations, terciles)


def find_reference(trained: Sequence[Group], wanted: str | None) -> str | None:
    """The label of the reference on a data set, None where it is not among its methods."""
    if wanted == "bicubic":
        return wanted
    labels = {group.label: group.label for group in trained}
    labels = {group.method: group.label for group in reversed(trained)} | labels  # a label before a method
    first = trained[0].label if trained and wanted is None else None
    return labels.get(wanted or "arcsr", first)


class Comparison(NamedTuple):
    """What the methods of a section are compared by: the scores of all, the reference, the test images by blur."""

    seeds: dict[str, ScoresBySeed]  # by label
    reference: str | None
    terciles: list[Tercile]

    def scores(self, label: str, rows: Sequence[dict[float, dict[str, Any]]]) -> dict[float, Score]:
        """Of the method ``label``, of whose finished runs ``rows`` are the means by noise level."""
        return {level: self.score(label, level, [row[level] for row in rows]) for level in (rows[0] if rows else ())}

    def score(self, label: str, level: float, rows: Sequence[dict[str, Any]]) -> Score:
        images = next(iter(self.seeds[label].values()))[level]
        gains = self.gains(label, level, list(images))
        return Score(
            [row["psnr_rgb"] for row in rows],
            spread([row["ssim_rgb"] for row in rows]),
            None if gains is None else difference(gains, images.values()),
            {} if gains is None else dict(zip(images, gains.mean(axis=0).tolist(), strict=True)),
            [self.part(label, level, tercile) for tercile in self.terciles],
            {
                name: spread([row[name] for row in rows])
                for name in (*PERCEPTUAL, *TRUTH.values())
                if all(row.get(name) is not None for row in rows)
            },
        )

    def part(self, label: str, level: float, tercile: Tercile) -> Part:
        """Of the images of a tercile alone."""
        seeds = [images[level] for images in self.seeds[label].values()]
        gains = self.gains(label, level, tercile.names)
        return Part(
            spread([fmean(images[name].psnr for name in tercile.names) for images in seeds]),
            None if gains is None else difference(gains, [seeds[0][name] for name in tercile.names]),
        )

    def gains(self, label: str, level: float, names: Sequence[str]) -> np.ndarray | None:
        """Over the reference, (seeds, images); None for the reference itself, and where nothing can be paired."""
        if self.reference not in self.seeds or label == self.reference:
            return None
        ours, theirs = self.seeds[label], self.seeds[self.reference]
        check_same_images(label, next(iter(ours.values())), self.reference, next(iter(theirs.values())))
        return gains_over(ours, theirs, level, names)


def method_entry(study: Study, group: Group, comparison: Comparison) -> Entry:
    """What the runs of a group came to."""
    runs = group.finished
    waiting = sum(without_seed(job) == without_seed(group.runs[0].overrides) for job in study.waiting)
    rows = [scores_by_level(run, group.method) for run in runs]
    speeds = [speed for run in runs if (speed := throughput(run)) is not None]
    seconds = [time for run in runs if (time := training_seconds(run)) is not None]
    latencies = [time for run in runs if (time := run.report["method"].get("latency_s")) is not None]
    hardware = [run.report["hardware"] for run in runs]
    return Entry(
        label=group.label,
        method=group.method,
        state=FINISHED if runs else group.runs[0].state,
        runs=runs,
        planned=len(group.runs) + waiting,
        card=runs[0].report["method"] if runs else {},
        scores=comparison.scores(group.label, rows),
        kernels={name: found for name in KERNELS if (found := mean_over_levels(rows, name))},
        images_per_s=spread(speeds) if speeds else None,
        seconds=spread(seconds) if seconds else None,
        latency=spread(latencies) if latencies else None,
        hardware=[one for number, one in enumerate(hardware) if one not in hardware[:number]],
    )


def mean_over_levels(rows: Sequence[dict[float, dict[str, Any]]], name: str) -> Spread | None:
    """The spread over runs of a figure's mean over noise levels; None where a run lacks it."""
    figures = [[level[name] for level in row.values() if level.get(name) is not None] for row in rows]
    return spread([float(np.mean(each)) for each in figures]) if figures and all(figures) else None


def bicubic_entry(run: Run, comparison: Comparison) -> Entry:
    """Bicubic upscaling, as any run scored it."""
    scores = comparison.scores("bicubic", [scores_by_level(run, "bicubic")])
    return Entry("bicubic", "bicubic", FINISHED, [run], 1, BICUBIC, scores, {}, None, None, None, [])
