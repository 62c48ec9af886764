"""Scores of single images, a row each, and their means."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from arcsr_lightning.degradation import confident_mean
from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.metrics import blur_amount, kernel_error, score
from arcsr_lightning.scores.perceptual import Measure, perceptual_scores

T = TypeVar("T")
IMAGE = ("name", "group", "noise_level", "blur_amount")  # what a row says of the image itself
Row = dict[str, Any]  # method, IMAGE and the scores of one image


def rows_of(
    method: str, restored: Restoration, batch: dict[str, Any], border: int, measures: Sequence[Measure] = ()
) -> list[Row]:
    """The scores of a batch, a row per image; the kernel's error too where it is known, or measured, in its size.

    ``group`` is the sequence or the photograph that an image is from; ``blur_amount``, where kernels are known or
    measured, the mean of theirs over its pixels, in LR pixels.
    """
    scores = score(restored.sr, batch["hr"], border)
    scores |= perceptual_scores(measures, restored.sr, batch["hr"], border)
    truth, confidence = batch.get("kernel"), batch.get("confidence")
    blur = {} if truth is None else {"blur_amount": confident_mean(blur_amount(truth)[:, 0], confidence)}
    if truth is not None and restored.kernel is not None and restored.kernel.shape == truth.shape:
        scores["kernel_error"] = kernel_error(restored.kernel.float(), truth, confidence)
    groups = batch.get("group", batch["name"])
    return [
        {"method": method, "name": name, "group": group, "noise_level": float(level)}
        | {key: values[i].item() for key, values in (blur | scores).items()}
        for i, (name, group, level) in enumerate(zip(batch["name"], groups, batch["noise_level"], strict=True))
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
    names = [key for key in rows[0] if key not in ("method", *IMAGE)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
