"""What is refused of a configuration before a command begins, and before it writes anything.

A table (``launch.schema``) says what every setting may be. Settings that no pattern of it fits are left to whoever
reads them, and so are those of classes from other packages than ``KNOWN``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arcsr_lightning import CONF_DIR
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import ends_the_command
from arcsr_lightning.launch.kinds import Kind
from arcsr_lightning.launch.schema import TABLES
from arcsr_lightning.launch.typed import typed_settings
from arcsr_lightning.runs.settings import check_read

KNOWN = ("arcsr_lightning.", "torch.", "pytorch_lightning.", "albumentations.")  # whose classes the table is about
NO_DATA = (
    "data is not set; type experiment=quickstart for a small training on built-in photographs, or data=folder "
    "data.root=PATH data.val_root=PATH for your own images; --help lists the others"
)


class SettingsCheck(Callback):
    """Checks the configuration of a run, and what the jobs of a sweep have in common."""

    @ends_the_command
    def on_run_start(self, config: DictConfig, config_name: str, **kwargs: Any) -> None:
        check(config_name, config, typed_settings(config.hydra), in_sweep=environment.is_a_job_apart())

    @ends_the_command
    def on_multirun_start(self, config: DictConfig, config_name: str, **kwargs: Any) -> None:
        check_settings(config_name, config)


def check(config_name: str, cfg: DictConfig, typed: Sequence[str], in_sweep: bool = False) -> None:
    """Refuse a setting that is not what it may be, and what was typed for a training and would change nothing.

    Args:
        config_name: ``train``, ``evaluate``, ``predict``, ``export``, ``demo`` or ``prepare``.
        cfg: its configuration, as composed.
        typed: the overrides that made it so.
        in_sweep: they are those of all jobs of a sweep.

    Raises:
        InputError: says what would be right, or where the setting is to be made instead.
    """
    if config_name == "train" and cfg.get("data") and "name" not in cfg.data:  # debug=fdr, say, sets parts of it
        raise InputError(NO_DATA)
    check_settings(config_name, cfg)
    overrides = OverridesParser.create().parse_overrides(list(typed))
    by_name = {one.package or one.key_or_group: one.input_line for one in overrides}
    check_classes(cfg, by_name)
    if config_name == "train":
        check_read(cfg, by_name, in_sweep)


def check_settings(command: str, cfg: DictConfig) -> None:
    """Refuse the first setting that is not what it may be; those that are written out before those that refer to one.

    Args:
        command: ``train``, ``evaluate``, ``predict``, ``export``, ``demo`` or ``prepare``.
        cfg: its configuration, as composed; Hydra's own part is not looked at.

    Raises:
        InputError: names the setting, what it is and what it may be.
    """
    settings = list(settings_in(cfg))
    for written in (True, False):
        for name, value, is_written in settings:
            kind = kind_of(command, name)
            if is_written == written and kind is not None and not kind.fits(value):
                raise InputError(f"{name}={shown(value)}: must be {kind.words}")
    if command in ("predict", "demo") and isinstance(cfg.tile, int) and cfg.overlap > cfg.tile // 2:
        raise InputError(f"overlap={cfg.overlap}: must be at most half of tile={cfg.tile}; set overlap={cfg.tile // 2}")
    if command == "train" and lacks_kernels(cfg):
        raise InputError("model.estimator=null: this restorer needs kernels; model/restorer=plain does without")


def check_classes(cfg: DictConfig, typed: Mapping[str, str]) -> None:
    """Refuse what was typed for a callback or a logger without a class, which would be passed over.

    Args:
        cfg: the configuration of a command, as composed.
        typed: by its dotted name, what was typed for a setting or a group.

    Raises:
        InputError: says what chooses a class.
    """
    for key, text in typed.items():
        group, name, *_ = [*key.split("."), ""]
        section = OmegaConf.select(cfg, f"{group}.{name}") if group in ("callbacks", "logger") and name else None
        if isinstance(section, DictConfig) and section and "_target_" not in section:
            chosen = (
                f"{group}={name}"
                if (CONF_DIR / group / f"{name}.yaml").is_file()
                else f"+{group}.{name}._target_=CLASS"
            )
            raise InputError(
                f"{text}: {group}.{name} has no _target_, so that nothing is made of it; type {chosen}, too"
            )


def lacks_kernels(cfg: DictConfig) -> bool:
    """Whether an ArcSR has no estimator, and a restorer that cannot do without."""
    keys = ("model._target_", "model.estimator", "model.restorer.convolution._target_")
    network, estimator, convolution = (OmegaConf.select(cfg, key) for key in keys)
    is_arcsr = network == "arcsr_lightning.networks.ArcSR" and estimator is None
    return is_arcsr and convolution != "arcsr_lightning.blocks.PlainConv"


def settings_in(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """All nodes of a configuration that have a value: dotted name, value, and whether it is written out there.

    Those that refer to what does not exist are left out, as whoever resolves them says so better.
    """
    for key in cfg:
        name = f"{prefix}{key}"
        if name == "hydra" or OmegaConf.is_missing(cfg, key):
            continue
        try:
            node = cfg[key]
            value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_list(node) else node
        except OmegaConfBaseException:
            continue
        is_written = not OmegaConf.is_interpolation(cfg, key)
        yield name, value, is_written
        if is_written and isinstance(node, DictConfig):
            below = settings_in(node, f"{name}.")
            yield from below if is_known(node) else (one for one in below if one[0] == f"{name}._target_")


def is_known(node: DictConfig) -> bool:
    """Whether a section is plain, or describes something of the packages that the table is about."""
    target = OmegaConf.to_container(node, resolve=False).get("_target_")
    return not isinstance(target, str) or target.startswith(KNOWN)


@cache
def kind_of(command: str, name: str) -> Kind | None:
    """What a setting may be, None where the table does not know it."""
    names = [name]
    alike = (("stages.", ""), ("data.train.parts.", "data.train."), ("arcsr.kernel_optimizer", "optimizer."))
    for section, same in alike:
        _, _, below = name.removeprefix(section).partition(".")
        if name.startswith(section) and below:
            names.append(same + below)
    return next((kind for one in names for pattern, kind in patterns(command) if pattern.fullmatch(one)), None)


@cache
def patterns(command: str) -> list[tuple[re.Pattern[str], Kind]]:
    """The tables of a command, their patterns as regular expressions."""
    rules = chain.from_iterable(table.items() for table in TABLES.get(command, ()))
    return [(re.compile(expression(name)), kind) for name, kind in rules]


def expression(pattern: str) -> str:
    escaped = re.escape(pattern).replace(r"\*\*\.", r"(?:.+\.)?").replace(r"\*\*", ".+")
    return escaped.replace(r"\*", "[^.]+")


def shown(value: Any) -> str:
    """A value as one would type it, short and in one line."""
    if isinstance(value, DictConfig):
        return "{...}"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    words = {None: "null", True: "true", False: "false", "": "(nothing)"}
    text = words[value] if value is None or isinstance(value, bool) or value == "" else str(value)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= 80 else f"{text[:77]}..."
