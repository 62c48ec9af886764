"""Scores of single images, a row each, and their means."""

from typing import Any, TypeVar

import torch

from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.metrics import kernel_error, score

T = TypeVar("T")
Row = dict[str, Any]  # method, name, noise_level and the scores of one image


def rows_of(method: str, restored: Restoration, batch: dict[str, Any], border: int) -> list[Row]:
    """The scores of a batch, a row per image; the kernel's error too where it is known, or measured, in its size."""
    with torch.autocast(restored.sr.device.type, enabled=False):  # bfloat16 would spoil the third digit of SSIM
        scores = score(restored.sr, batch["hr"], border)
        truth = batch.get("kernel")
        if truth is not None and restored.kernel is not None and restored.kernel.shape == truth.shape:
            scores["kernel_error"] = kernel_error(restored.kernel.float(), truth, batch.get("confidence"))
    return [
        {"method": method, "name": name, "noise_level": float(level)}
        | {key: values[i].item() for key, values in scores.items()}
        for i, (name, level) in enumerate(zip(batch["name"], batch["noise_level"], strict=True))
    ]


def gather_rows(rows: list[Row]) -> list[Row]:
    """The rows of all ranks, in one order whatever the number of ranks."""
    return sorted(gather(rows), key=lambda row: (row["noise_level"], row["name"], row["method"]))


def gather(rows: list[T]) -> list[T]:
    """The rows of all ranks, rank after rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows
    parts: list[list[T]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def mean_scores(rows: list[Row]) -> dict[str, float]:
    """Mean over images of every score in the rows."""
    names = [key for key in rows[0] if key not in ("method", "name", "noise_level")]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
