"""What the suite leaves behind: benchmarks.csv, benchmarks.md and growth.png."""

import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from arcsr_lightning.files import markdown_table, write_aside, write_csv, write_text
from arcsr_lightning.operators import native
from benchmarks.cases import Case, Goal
from benchmarks.timing import Samples

Row = dict[str, Any]

LINEAR = Goal(1.1)  # on an exponent; our reading of "linear"
UNITS = {"time": "ms", "memory": "MiB"}
FACTORS = {"time": 1e3, "memory": 2**-20}

METHOD = """\
Ratio: `ours / theirs` for goals with ≤ and without a goal, `theirs / ours` for goals with ≥ (times faster, or smaller).
Time: ours and theirs called in turns in one process, on the same inputs, float32, contiguous; the median over pairs of
the pair's ratio, and its 10th and 90th percentile. Forward: without gradients. Forward + backward: gradients for x,
weight and bias, ours for the kernel or the offsets too. Memory: the most that torch's allocator holds at a time during
forward + backward beyond the inputs, results included, in a process of its own; it repeats to the byte. GMACs:
multiply-accumulates of convolutions and matrix products. Error: of result and gradients, the largest, against float64.
On a GPU the sizes say precision and layout, and a time is that of 20 calls, or of one training step. Reached: by the
median."""


def row_of(case: Case, samples: Samples) -> Row:
    """What a case gave; ``ours`` and ``theirs`` are medians, in seconds, bytes or GMACs."""
    goal = case.goal
    turned = goal is not None and goal.at_least
    ratios = np.divide(samples.theirs, samples.ours) if turned else np.divide(samples.ours, samples.theirs)
    low, ratio, high = np.quantile(ratios, [0.1, 0.5, 0.9]).tolist()
    return {
        "subject": case.subject,
        "size": case.size,
        "measure": case.measure,
        "against": case.against,
        "threads": case.threads,
        "pairs": len(ratios),
        "ratio": ratio,
        "low": low,
        "high": high,
        "goal": str(goal or ""),
        "reached": "" if goal is None else verdict(ratio, goal),
        "ours": float(np.median(samples.ours)),
        "theirs": float(np.median(samples.theirs)),
        "x": case.x,
        "torch": torch.__version__,
        "processor": processor() if case.device == "cpu" else torch.cuda.get_device_name(),
    }


@cache
def processor() -> str:
    """Its name, family and model, what torch uses of it, and how many cores it has; whether operators are compiled."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    told = dict(line.partition("\t")[::2] for line in reversed(lines))
    names = (platform.processor() or platform.machine(), "", "")
    name, family, model = (
        told[key].strip("\t: ") if key in told else other
        for key, other in zip(("model name", "cpu family", "model"), names, strict=True)
    )
    family = f" (family {family}, model {model})" if family else ""
    compiled = "compiled operators" if native.load("float", "operators") else "operators in PyTorch"
    return f"{name}{family}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, {compiled}"


def verdict(figure: float, goal: Goal) -> str:
    reached = figure >= goal.limit if goal.at_least else figure <= goal.limit
    return "yes" if reached else "no"


def write(folder: Path, rows: Sequence[Row], planned: int) -> None:
    """Write the raw rows and the tables; ``planned`` is how many there will be. Each file is old or new, never half."""
    write_csv(folder / "benchmarks.csv", rows)
    write_text(folder / "benchmarks.md", markdown(rows, planned))


# ---------------------------------------------------------------- tables


def markdown(rows: Sequence[Row], planned: int) -> str:
    """The goals, the growth, every row."""
    parts = ["# Benchmarks"]
    if len(rows) < planned:
        parts.append(f"**Unfinished: {len(rows)} of {planned} cases.**")
    parts += [f"torch {rows[0]['torch']}, {rows[0]['processor']}.\n{METHOD}", "## Goals", summary(rows)]
    if series_of(rows):
        parts.append("![growth](growth.png)")
    parts += ["## Every comparison", markdown_table(comparison_cells(rows))]
    return "\n\n".join(parts) + "\n"


def summary(rows: Sequence[Row]) -> str:
    """The goals and what was reached."""
    lines, grown = [row for row in rows if row["x"] is None], exponents(rows)
    parts = [markdown_table(goal_cells(lines))] if lines else []
    if grown:
        parts += [
            "Exponents of power laws fitted to time and memory of forward + backward, ks 5; "
            f"1 is linear, {LINEAR} is taken for it:",
            markdown_table(growth_cells(grown)),
        ]
    return "\n\n".join(parts)


def goal_cells(rows: Sequence[Row]) -> list[list[str]]:
    """The header, and a line per goal: how many of its rows reached it, and the row that is farthest from it."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in ("subject", "measure", "against", "goal")), []).append(row)
    cells = [["what", "measure", "against", "goal", "reached", "worst", "where"]]
    for (subject, measure, against, goal), group in groups.items():
        worst = (min if goal.startswith("≥") else max)(group, key=lambda row: row["ratio"])
        reached = sum(row["reached"] == "yes" for row in group)
        count = "all" if reached == len(group) else f"{reached} of {len(group)}"
        ends = [goal, count] if goal else ["-", "-"]
        cells.append([subject, measure, against, *ends, f"{worst['ratio']:.2f}", place(worst)])
    return cells


def growth_cells(grown: dict[str, tuple[float, float]]) -> list[list[str]]:
    header = ["what", "kernel_guided_conv2d", "conv2d", "goal", "reached"]
    return [
        header,
        *(
            [subject, f"{ours:.2f}", f"{theirs:.2f}", str(LINEAR), verdict(ours, LINEAR)]
            for subject, (ours, theirs) in grown.items()
        ),
    ]


def comparison_cells(rows: Sequence[Row]) -> list[list[str]]:
    header = ["what", "size", "threads", "measure", "against", "ratio", "10-90 %", "pairs", "goal", "reached"]
    return [header, *(row_cells(row) for row in rows)]


def row_cells(row: Row) -> list[str]:
    spread = f"{row['low']:.2f}-{row['high']:.2f}" if row["pairs"] > 1 else "-"
    measure = row["measure"]
    if measure in ("GMACs", "error"):
        measure += f": {row['ours']:.3g} / {row['theirs']:.3g}"
    where = (row["subject"], row["size"], row["threads"], measure, row["against"])
    what = (f"{row['ratio']:.2f}", spread, row["pairs"], row["goal"] or "-", row["reached"] or "-")
    return [str(cell) for cell in (*where, *what)]


def place(row: Row) -> str:
    return f"{row['size']}, threads {row['threads']}"


# ---------------------------------------------------------------- growth


def series_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that show growth, by subject; of those with fewer than three nothing can be told."""
    series: dict[str, list[Row]] = {}
    for row in rows:
        if row["x"] is not None:
            series.setdefault(row["subject"], []).append(row)
    return {subject: points for subject, points in series.items() if len(points) > 2}


def exponents(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Of the power laws that ours and theirs follow, by subject."""
    return {
        subject: (exponent(points, "ours"), exponent(points, "theirs")) for subject, points in series_of(rows).items()
    }


def exponent(points: Sequence[Row], side: str) -> float:
    """Least squares on logarithms."""
    x, y = ([point[key] for point in points] for key in ("x", side))
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_growth(path: Path, rows: Sequence[Row]) -> None:
    """A panel per series, logarithmic in both directions, ours and theirs with their exponents."""
    series = series_of(rows)
    figure = Figure(figsize=(4 * len(series), 3.4), layout="constrained")
    for axes, (subject, points) in zip(figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True):
        measure = points[0]["measure"]
        x = [point["x"] for point in points]
        for side, label, colour in (("theirs", "conv2d", "0.55"), ("ours", "kernel_guided_conv2d", "tab:blue")):
            y = [point[side] * FACTORS[measure] for point in points]
            axes.loglog(x, y, "o-", color=colour, label=f"{label}, exponent {exponent(points, side):.2f}")
        axes.set(xlabel=subject.split(" with ")[1], ylabel=f"{measure}, {UNITS[measure]}", title=subject)
        axes.set_xticks(x, [f"{round(value**0.5)}²" for value in x])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    with write_aside(path) as aside:
        figure.savefig(aside, dpi=120)
