"""The picture of a study."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.results.sections import Section

OURS, SEED, INTERVAL = "tab:blue", "0.45", "tab:orange"
LEGEND = [
    Line2D([], [], color=SEED, marker="o", markersize=4, linestyle="", label="a seed"),
    Line2D([], [], color=OURS, marker="D", markersize=6, linestyle="", label="mean over seeds"),
    Line2D([], [], color=INTERVAL, linewidth=4, alpha=0.6, label="95 % interval of the difference to the reference"),
    Line2D([], [], color="0.3", linestyle=":", label="the reference"),
]


def draw_study(path: Path, sections: Sequence[Section], max_bytes: int = 200_000) -> None:
    """PSNR of every method, a row of panels for each data set with figures, a column for each noise level.

    Args:
        path: of the PNG.
        sections: of the study; at least one has figures.
        max_bytes: of the PNG.
    """
    shown = [section for section in sections if section.levels]
    columns = max(len(section.levels) for section in shown)
    lines = [len(section.entries) for section in shown]
    figure = Figure(figsize=(2 + 3.6 * columns, 0.9 + sum(0.9 + 0.3 * count for count in lines)), layout="constrained")
    panels = figure.subplots(len(shown), columns, squeeze=False, sharey="row", height_ratios=[3 + c for c in lines])
    for section, axes in zip(shown, panels, strict=True):
        for axis, level in zip(axes, section.levels, strict=False):
            draw_level(axis, section, level)
        for axis in axes[len(section.levels) :]:
            axis.remove()
    figure.legend(handles=LEGEND, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path, dpi=130, max_bytes=max_bytes)


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
    axis.set_yticks(range(len(entries)), [entry.label for entry in entries], fontsize=9)
    axis.set_ylim(len(entries) - 0.5, -0.5)
    axis.set_title(f"{section.title}, noise {level:g}", fontsize=10)
    axis.set_xlabel("PSNR, dB", fontsize=9)
    axis.tick_params(labelsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.grid(axis="x", color="0.92")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
