"""What is refused of a configuration before a command begins, and before it writes anything."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import ends_the_command
from arcsr_lightning.launch.settings_check import check_settings
from arcsr_lightning.launch.typed import typed_settings
from arcsr_lightning.runs.settings import check_read

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
    if config_name == "train":
        overrides = OverridesParser.create().parse_overrides(list(typed))
        check_read(cfg, {one.package or one.key_or_group: one.input_line for one in overrides}, in_sweep)
