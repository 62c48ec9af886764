"""The pictures of a study."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from arcsr_lightning.figures.style import CAPTION, save_figure, shorten_name
from arcsr_lightning.results.sections import Section

OURS, SEED, INTERVAL = "tab:blue", "0.45", "tab:orange"
LONGEST = 36  # letters of a name beside a panel
MOST_BYTES = 200_000  # of a PNG
LEGEND = [
    Line2D([], [], color=SEED, marker="o", markersize=4, linestyle="", label="a seed"),
    Line2D([], [], color=OURS, marker="D", markersize=6, linestyle="", label="mean over seeds"),
    Line2D([], [], color=INTERVAL, linewidth=4, alpha=0.6, label="95 % interval of the difference to the reference"),
    Line2D([], [], color="0.3", linestyle=":", label="the reference"),
]


def draw_study(path: Path, sections: Sequence[Section]) -> None:
    """PSNR of every method, a row of panels for each data set with figures, a column for each noise level.

    Args:
        path: of the PNG.
        sections: of the study; at least one has figures.
    """
    shown = [section for section in sections if section.levels]
    figure, panels = panels_of(shown, [0.3 * len(section.entries) for section in shown])
    for section, axes in zip(shown, panels, strict=True):
        for axis, level in zip(axes, section.levels, strict=False):
            draw_level(axis, section, level)
    figure.legend(handles=LEGEND, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path, dpi=130, max_bytes=MOST_BYTES)


def draw_gains(path: Path, sections: Sequence[Section]) -> None:
    """How much better the reference is than every other method over the strength of blur, in panels as above.

    Args:
        path: of the PNG.
        sections: of the study; at least one has a reference and the blur of its images.
    """
    shown = [section for section in sections if section.compared]
    figure, panels = panels_of(shown, [2.4 for _ in shown])
    for section, axes in zip(shown, panels, strict=True):
        for axis, level in zip(axes, section.levels, strict=False):
            draw_gains_of_level(axis, section, level)
        axes[0].set_ylabel(f"{section.reference} less the method, dB", fontsize=9)
        axes[len(section.levels) - 1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    save_figure(figure, path, dpi=130, max_bytes=MOST_BYTES)


def panels_of(shown: Sequence[Section], heights: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """A row of panels of so many inches for each section, a column for each noise level, and how it was trained."""
    columns = max(len(section.levels) for section in shown)
    figure = Figure(figsize=(2 + 3.6 * columns, 0.9 + sum(1.1 + height for height in heights)), layout="constrained")
    rows = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=[1.1 + height for height in heights])[:, 0]
    panels = []
    for section, row in zip(shown, rows, strict=True):
        axes = row.subplots(1, columns, squeeze=False, sharey=True)[0]
        for axis, level in zip(axes, section.levels, strict=False):
            axis.set_title(f"{section.title}, noise {level:g}", fontsize=10)
            axis.tick_params(labelsize=9)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(section.levels) :]:
            axis.remove()
        row.supxlabel(section.trained, **CAPTION)
        panels.append(list(axes))
    return figure, panels


def draw_level(axis: Axes, section: Section, level: float) -> None:
    """The scores of a section at one noise level.

    The interval of a difference stands where it ends up when it is added to the reference's mean.
    """
    entries = section.entries
    means = {entry.label: entry.scores[level].psnr.mean for entry in entries if entry.scores}
    if section.reference in means:
        axis.axvline(means[section.reference], color="0.3", linestyle=":", linewidth=1)
    for place, entry in enumerate(entries):
        if not entry.scores:
            beside = {"transform": axis.get_yaxis_transform(), "va": "center"}
            axis.text(0.02, place, entry.state, fontsize=9, color=SEED, **beside)
            continue
        score = entry.scores[level]
        if score.difference:
            base = means[section.reference]
            ends = (base + score.difference.low, base + score.difference.high)
            axis.plot(ends, (place, place), color=INTERVAL, linewidth=5, alpha=0.6, solid_capstyle="butt")
        if len(score.psnrs) > 1:
            axis.plot(score.psnrs, [place] * len(score.psnrs), "o", color=SEED, markersize=4)
        axis.plot(score.psnr.mean, place, "D", color=OURS, markersize=5)
    axis.set_yticks(range(len(entries)), [shorten_name(entry.label, LONGEST) for entry in entries], fontsize=9)
    axis.set_ylim(len(entries) - 0.5, -0.5)
    axis.set_xlabel("PSNR, dB", fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.grid(axis="x", color="0.92")


def draw_gains_of_level(axis: Axes, section: Section, level: float) -> None:
    """A dot for every image; over them the means of the terciles with their 95 % intervals, at the mean blur."""
    blur = {name: image.blur for name, image in section.runs[0].images["bicubic"][level].items()}
    reach = section.terciles[-1].mean - section.terciles[0].mean
    for number, entry in enumerate(section.compared):
        colour, score = matplotlib.colormaps["tab10"](number % 10), entry.scores[level]
        losses = [-gain for gain in score.gains.values()]
        axis.plot([blur[name] for name in score.gains], losses, ".", color=colour, alpha=0.35, markersize=4)
        beside = 0.02 * reach * (number - (len(section.compared) - 1) / 2)  # intervals do not cover each other
        differences = [part.difference for part in score.parts]
        axis.errorbar(
            [tercile.mean + beside for tercile in section.terciles],
            [-one.mean for one in differences],
            ([one.high - one.mean for one in differences], [one.mean - one.low for one in differences]),
            color=colour,
            marker="D",
            markersize=4,
            capsize=2,
            label=shorten_name(entry.label, LONGEST),
        )
    axis.axhline(0, color="0.3", linestyle=":", linewidth=1)
    axis.set_xlabel("blur of the image, LR px", fontsize=9)
    axis.grid(axis="y", color="0.92")
