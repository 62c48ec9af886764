"""Settings: which of them decide what is learnt, how two runs differ in them, and that none of the typed is ignored."""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.runs.stages import OWN

# Sections that the program itself reads; any other counts only where another part of the configuration refers to it.
READ = (*OWN, "model", "data", "stages", "card", "published", "trainer", "callbacks", "logger", "paths")

# Another value of these would teach something else: a run is not gone on with under one.
DECISIVE = (
    "method",
    "protocol",
    "scale",
    "kernel_size",
    "seed",
    "stages",
    "trains",
    "prepare",
    "known_kernels",
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
    "trainer.gradient_clip_algorithm",
    "trainer.max_epochs",
    "trainer.overfit_batches",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
)

# How much a run was to do, and what it was to be tested on: one that is finished is not for another value.
EXTENT = ("train", "test", "data.test", "stage", "trainer.max_time", "trainer.limit_test_batches")

# Settings that change no figure: how data are read, where they are degraded, how many launches a step takes, and what
# of it is computed twice.
INNER = ("store", "num_workers", "cache", "degrade_on", "fused", "checkpoint_stages")

# Settings that change no training: where data lie, too, and what is tested.
HARMLESS = (
    *("root", "val_root", "test_root", "folder", "path"),
    *("train_hr", "train_lr", "val_hr", "val_lr", "test_hr", "test_lr", "hr_folder", "lr_folder"),
    *(*INNER, "test"),
)


def as_plain_data(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts, lists and scalars."""
    return OmegaConf.to_container(cfg, resolve=True)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Old and new values of all settings that decide what a training learns and are not the same, by dotted name."""
    before, after = (
        dict(leaf for part in DECISIVE for leaf in decisive_leaves(_at(config, part), part)) for config in (old, new)
    )
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def changes_for(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """``differences`` for a run that goes on: ``weights`` too, where both name some, as nobody types them twice."""
    begun, given = old.get("weights"), new.get("weights")
    other = {"weights": (begun, given)} if begun and given and begun != given else {}
    return differences(old, new) | other


def as_far(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a run of one configuration does all that it would by the other."""
    before, after = (
        [dict(decisive_leaves(_at(config, part), part, INNER)) for part in EXTENT] for config in (old, new)
    )
    return before == after


def _at(config: Mapping[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        config = (config or {}).get(key)
    return config


def decisive_leaves(node: Any, name: str, harmless: Container[str] = HARMLESS) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all settings below a node of a configuration, but for the harmless ones."""
    if not isinstance(node, Mapping):
        yield name, node
        return
    for key, child in node.items():
        if key not in harmless:
            yield from decisive_leaves(child, f"{name}.{key}", harmless)


def check_read(cfg: DictConfig, typed: Mapping[str, str], in_sweep: bool = False) -> None:
    """Refuse what was typed for a training and would change nothing.

    Args:
        cfg: the configuration of a training, as composed.
        typed: by its dotted name, what was typed for a setting or a group: ``{"optimizer.lr": "optimizer.lr=1e-3"}``.
        in_sweep: it was typed for all jobs of a sweep, of which others may read the sizes of their methods.

    Raises:
        InputError: no stage reads it, as each has its own or nothing is trained; or no part of the configuration
            refers to its section.
    """
    composed = OmegaConf.to_container(cfg, resolve=False)
    for key, text in typed.items():
        root, _, rest = key.partition(".")
        if refers({name: node for name, node in composed.items() if name != root}, root):
            continue
        if root in OWN and not composed["train"] and "train" not in typed:
            raise InputError(f"{text}: method={cfg.method} trains nothing, so that nothing reads it; leave it out")
        if root in OWN and (places := own_places(composed, root, rest)):
            raise InputError(f"{text}: every stage of method={cfg.method} has its own; set {', '.join(places)}")
        if root not in READ and isinstance(composed.get(root), Mapping) and not (in_sweep and root != "degradation"):
            raise InputError(
                f"{text}: no part of this configuration reads {root} "
                f"(method={cfg.method}, data={composed.get('data', {}).get('name')}); leave it out"
            )


def own_places(composed: Mapping[str, Any], root: str, rest: str) -> list[str]:
    """Where the stages of a run have what is the run's under ``root.rest``; nothing where one of them has not."""
    stages = composed["stages"] or {}
    chosen = {name: stage for name, stage in stages.items() if composed["stage"] in (None, name)}
    if not all(root in stage for stage in chosen.values()):
        return []
    return [f"stages.{name}.{root}" + (f".{rest}" if rest and stage[root] else "") for name, stage in chosen.items()]


def refers(node: Any, root: str) -> bool:
    """Whether an interpolation below ``node`` refers to the section ``root`` or to something in it."""
    if isinstance(node, Mapping):
        return any(refers(child, root) for child in node.values())
    if isinstance(node, list):
        return any(refers(child, root) for child in node)
    return isinstance(node, str) and re.search(rf"\$\{{{root}[.\[}}]", node) is not None
