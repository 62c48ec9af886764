"""What a test leaves behind: metrics.json, a row per image as CSV, and a table in the terminal."""

import io
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from arcsr_lightning.files import write_csv, write_text
from arcsr_lightning.scores.kernels import KernelRow, kernel_scores
from arcsr_lightning.scores.perceptual import Measure
from arcsr_lightning.scores.protocol import KERNEL_SCORES, PERCEPTUAL, TRUTH, protocol, with_arrow
from arcsr_lightning.scores.rows import Row, mean_scores

log = logging.getLogger(__name__)

SCORES = {"psnr_rgb": ".2f", "ssim_rgb": ".4f", "psnr_y": ".2f", "ssim_y": ".4f", "kernel_error": ".3f"}


def summary(rows: list[Row], data: str, kernels: list[KernelRow]) -> list[dict[str, Any]]:
    """One row per method and noise level: means over its images, bicubic first.

    Args:
        rows: the scores of every method and image.
        data: the name of the data set.
        kernels: of the method beside bicubic, which estimates kernels; none where none are known.
    """
    groups: dict[tuple[float, bool, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["noise_level"], row["method"] != "bicubic", row["method"]), []).append(row)
    return [
        {"method": method, "data": data, "noise_level": level, "images": len(group)}
        | mean_scores(group)
        | (kernel_scores([row for row in kernels if row.noise_level == level]) if method != "bicubic" else {})
        for (level, _, method), group in sorted(groups.items())
    ]


def write_report(
    folder: str | Path,
    rows: list[Row],
    kernels: list[KernelRow],
    method: dict[str, Any],
    config: dict[str, Any],
    hardware: dict[str, Any],
    trained: dict[str, Any] | None = None,
    measures: Sequence[Measure] = (),
) -> None:
    """Write metrics.json and per_image.csv into ``folder`` and print the tables.

    Args:
        folder: of the run.
        rows: the scores of every method and image.
        kernels: what is kept of the estimated kernels of every image.
        method: what ``card.method_card`` says of the method that was tested.
        config: the run's configuration, resolved plain data; stored beside the numbers.
        hardware: what ``card.hardware_of`` says of this process.
        trained: the configuration of the training, where that is another.
        measures: the perceptual scores that were asked for, those that are missing too.
    """
    means = summary(rows, config["data"]["name"], kernels)
    report = {
        "rows": [{key: json_number(value) for key, value in row.items()} for row in means],
        "method": method,
        "config": config,
        "protocol": protocol(config["scale"]),
        "hardware": hardware,
        **({} if trained is None else {"trained": trained}),
        **({"perceptual": [perceptual_entry(measure) for measure in measures]} if measures else {}),
    }
    write_csv(Path(folder, "per_image.csv"), rows)
    write_text(Path(folder, "metrics.json"), json.dumps(report, indent=2) + "\n")  # last: where it is, all is
    console = Console()
    tables = [score_table(means, config["scale"], method)]
    tables += [perceptual_table(means, measures)] if measures else []
    for table in tables:
        console.print(table)
        log.debug("\n%s", as_text(table))
    for line in missing_lines(measures):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"results: {folder}", soft_wrap=True, highlight=False, markup=False)


def as_text(rendered: Table) -> str:
    """A table as it looks in a terminal, without colours."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(rendered)
    return console.file.getvalue()


def perceptual_entry(measure: Measure) -> dict[str, Any]:
    """What metrics.json says of a perceptual score beside its figures."""
    return {"name": measure.name, "better": PERCEPTUAL[measure.name], "missing": measure.missing}


def json_number(value: Any) -> Any:
    """None in place of the infinite PSNR of a perfect image, for which JSON has no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def score_table(means: list[dict[str, Any]], border: int, method: dict[str, Any]) -> Table:
    """The means as a table for a terminal; ``method`` is the card of the method that was tested."""
    table = Table(
        title=f"{means[0]['data']}, {means[0]['images']} test images",
        caption="\n".join(
            [
                f"PSNR in dB; 8-bit, {border} px border cut, mean over images",
                *kernel_lines(means),
                *latency_lines(method),
            ]
        ),
    )
    table.add_column("noise", justify="right")
    table.add_column("method", no_wrap=True)
    scores = {name: form for name, form in SCORES.items() if any(name in row for row in means)}
    for name in scores:
        table.add_column(name.replace("_", " "), justify="right")  # may wrap
    for row in means:
        cells = [format(row[name], form) if name in row else "-" for name, form in scores.items()]
        table.add_row(f"{row['noise_level']:g}", row["method"], *cells)
    return table


def kernel_lines(means: list[dict[str, Any]]) -> list[str]:
    """What the kernels of each noise level are worth, where they are known: the table would be too wide with them."""
    return [
        f"kernels at noise {row['noise_level']:g}: "
        + ", ".join(f"{name.removeprefix('kernel_')} {row[name]:.2f}" for name in KERNEL_SCORES)
        for row in means
        if all(name in row for name in KERNEL_SCORES)
    ]


def latency_lines(method: dict[str, Any]) -> list[str]:
    """How long the network took for an image, where that is known."""
    seconds = method["latency_s"]
    return [] if seconds is None else [f"{method['name']}: {seconds:.3g} s an image, the network alone, median"]


def perceptual_table(means: list[dict[str, Any]], measures: Sequence[Measure]) -> Table:
    """The perceptual scores that were asked for, a line per method, and one for the ground truth where that has any."""
    table = Table(title="perceptual scores", caption="↓ lower is better, ↑ higher is better")
    table.add_column("noise", justify="right")
    table.add_column("method", no_wrap=True)
    for measure in measures:
        table.add_column(with_arrow(measure.name), justify="right")
    for row in means:
        level = f"{row['noise_level']:g}"
        if row["method"] == "bicubic" and any(name in row for name in TRUTH.values()):
            table.add_row(level, "ground truth", *(perceptual_cell(row, one, TRUTH.get(one.name)) for one in measures))
        table.add_row(level, row["method"], *(perceptual_cell(row, one, one.name) for one in measures))
    return table


def perceptual_cell(row: dict[str, Any], measure: Measure, key: str | None) -> str:
    """A score, or that it is missing, or that there is none."""
    return f"{row[key]:.4f}" if key in row else "missing" if measure.missing else "-"


def missing_lines(measures: Sequence[Measure]) -> list[str]:
    """Why scores that were asked for are missing."""
    return [f"{measure.name} is missing: {measure.missing}" for measure in measures if measure.missing]
