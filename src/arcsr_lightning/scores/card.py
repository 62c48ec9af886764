"""What stands beside the figures of a test: of the method that was tested, and of what it ran on."""

from typing import Any

import torch
from torch import nn

from arcsr_lightning.rivals.image_skip import skip_added
from arcsr_lightning.scores.cost import macs, parameters


def method_card(name: str, network: nn.Module, trained: dict[str, Any], latency: float | None = None) -> dict[str, Any]:
    """What a reader must know of a method beside its figures: costs, supervision, schedule, deviations.

    Args:
        name: of the method, in tables.
        network: what was tested.
        trained: the configuration that it was trained with, resolved plain data.
        latency: seconds that it took for a test image, where that was measured.
    """
    counted = macs(network)
    return {
        "name": name,
        "parameters": parameters(network),
        "gmacs_lr64": None if counted is None else counted / 1e9,
        "latency_s": latency,
        "skip": skip_added(network),
        **training_of(trained),
        **(trained.get("card") or {}),
    }


def training_of(trained: dict[str, Any]) -> dict[str, Any]:
    """By what a method was trained, beside its schedule: batch size, protocol, EMA's decay, augmentations by their
    names, and how many steps its publication took.

    Args:
        trained: the configuration that it was trained with, resolved plain data.
    """
    data = trained.get("data") or {}
    ema = (trained.get("callbacks") or {}).get("ema") or {}
    transforms = (data.get("augment") or {}).get("transforms") or {}
    return {
        "batch_size": data.get("batch_size"),
        "protocol": trained.get("protocol"),
        "ema": ema.get("decay"),
        "augmentation": [one["_target_"].rpartition(".")[2] for one in transforms.values() if one],
        "published_steps": (trained.get("published") or {}).get("steps"),
    }


def hardware_of(device: torch.device, devices: int) -> dict[str, Any]:
    """What a process runs on: the GPU's name or "cpu", how many take part in its run, and torch's threads in each."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "devices": devices, "threads": torch.get_num_threads()}
