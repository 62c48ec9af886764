"""Which settings decide what a training learns, and how two configurations differ in them."""

from collections.abc import Iterator, Mapping
from typing import Any

# What a run learns from these parts of its configuration does not survive a change of them.
DECISIVE = (
    "method",
    "scale",
    "kernel_size",
    "seed",
    "stages",
    "trains",
    "prepare",
    "model",
    "degradation",
    "data",
    "loss",
    "optimizer",
    "scheduler",
    "callbacks.ema",
    "trainer.max_steps",
    "trainer.val_check_interval",
    "trainer.precision",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.overfit_batches",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
)


# Where the data lie and how they are read changes no sample; what they are tested on changes no training.
HARMLESS = (
    *("root", "val_root", "test_root", "folder", "path"),
    *("train_hr", "train_lr", "val_hr", "val_lr", "test_hr", "test_lr", "hr_folder", "lr_folder"),
    *("store", "num_workers", "cache", "degrade_on", "test"),
)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Old and new values of all settings that decide what a training learns and are not the same, by dotted name."""
    before, after = (
        {key: value for part in DECISIVE for key, value in _leaves(_at(config, part), part)} for config in (old, new)
    )
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _at(config: Mapping[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        config = (config or {}).get(key)
    return config


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all settings below a node of a configuration, but for the harmless ones."""
    if not isinstance(node, Mapping):
        yield name, node
        return
    for key, child in node.items():
        if key not in HARMLESS:
            yield from _leaves(child, f"{name}.{key}")
