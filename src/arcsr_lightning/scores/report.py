"""What a test leaves behind: metrics.json, a row per image as CSV, and a table in the terminal."""

import io
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from arcsr_lightning.blocks import skip_added
from arcsr_lightning.files import write_csv, write_text
from arcsr_lightning.scores.cost import macs, parameters
from arcsr_lightning.scores.kernels import KernelRow, kernel_scores
from arcsr_lightning.scores.protocol import protocol
from arcsr_lightning.scores.rows import Row, mean_scores

log = logging.getLogger(__name__)

SCORES = {"psnr_rgb": ".2f", "ssim_rgb": ".4f", "psnr_y": ".2f", "ssim_y": ".4f", "kernel_error": ".3f"}
KERNELS = ("kernel_skill", "kernel_amount", "kernel_direction")  # below the table, which would be too wide with them


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
) -> None:
    """Write metrics.json and per_image.csv into ``folder`` and print the table.

    Args:
        folder: of the run.
        rows: the scores of every method and image.
        kernels: what is kept of the estimated kernels of every image.
        method: what :func:`method_card` says of the method that was tested.
        config: the run's configuration, resolved plain data; stored beside the numbers.
        hardware: what :func:`hardware_of` says of this process.
        trained: the configuration of the training, where that is another.
    """
    means = summary(rows, config["data"]["name"], kernels)
    report = {
        "rows": [{key: json_number(value) for key, value in row.items()} for row in means],
        "method": method,
        "config": config,
        "protocol": protocol(config["scale"]),
        "hardware": hardware,
        **({} if trained is None else {"trained": trained}),
    }
    write_csv(Path(folder, "per_image.csv"), rows)
    write_text(Path(folder, "metrics.json"), json.dumps(report, indent=2) + "\n")  # last: where it is, all is
    console = Console()
    table = score_table(means, config["scale"])
    console.print(table)
    log.debug("\n%s", as_text(table))
    console.print(f"results: {folder}", soft_wrap=True)


def as_text(rendered: Table) -> str:
    """A table as it looks in a terminal, without colours."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(rendered)
    return console.file.getvalue()


def method_card(name: str, network: nn.Module, trained: dict[str, Any]) -> dict[str, Any]:
    """What a reader must know of a method beside its figures: costs, supervision, schedule, deviations.

    Args:
        name: of the method, in tables.
        network: what was tested.
        trained: the configuration that it was trained with, resolved plain data.
    """
    counted = macs(network)
    return {
        "name": name,
        "parameters": parameters(network),
        "gmacs_lr64": None if counted is None else counted / 1e9,
        "batch_size": trained["data"]["batch_size"],
        "skip": skip_added(network),
        **training_of(trained),
        **(trained.get("card") or {}),
    }


def training_of(trained: dict[str, Any]) -> dict[str, Any]:
    """By what a method was trained, beside its schedule: the protocol, EMA's decay, augmentations by their names, and
    how many steps its publication took.

    Args:
        trained: the configuration that it was trained with, resolved plain data.
    """
    ema = (trained.get("callbacks") or {}).get("ema") or {}
    transforms = (trained["data"].get("augment") or {}).get("transforms") or {}
    return {
        "protocol": trained.get("protocol"),
        "ema": ema.get("decay"),
        "augmentation": [one["_target_"].rpartition(".")[2] for one in transforms.values() if one],
        "published_steps": (trained.get("published") or {}).get("steps"),
    }


def hardware_of(device: torch.device, devices: int) -> dict[str, Any]:
    """What a process runs on: the GPU's name or "cpu", how many take part in its run, and torch's threads in each."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "devices": devices, "threads": torch.get_num_threads()}


def json_number(value: Any) -> Any:
    """None in place of the infinite PSNR of a perfect image, for which JSON has no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def score_table(means: list[dict[str, Any]], border: int) -> Table:
    """The means as a table for a terminal."""
    table = Table(
        title=f"{means[0]['data']}, {means[0]['images']} test images",
        caption="\n".join([f"PSNR in dB; 8-bit, {border} px border cut, mean over images", *kernel_lines(means)]),
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
    """What the kernels of each noise level are worth, where they are known."""
    return [
        f"kernels at noise {row['noise_level']:g}: "
        + ", ".join(f"{name.removeprefix('kernel_')} {row[name]:.2f}" for name in KERNELS)
        for row in means
        if all(name in row for name in KERNELS)
    ]
