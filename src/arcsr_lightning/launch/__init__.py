"""The only part that knows Hydra: commands, configurations, and the objects built from them."""

from hydra.utils import instantiate

from arcsr_lightning.launch import resolvers  # registers them
from arcsr_lightning.launch.checks import SettingsCheck
from arcsr_lightning.launch.commands import command, compose
from arcsr_lightning.launch.folders import FolderChoice
from arcsr_lightning.launch.messages import USER_ERRORS, explain
from arcsr_lightning.launch.objects import (
    build_data,
    build_loss,
    build_module,
    build_network,
    build_test_set,
    build_trainer,
    close_loggers,
    prepare_network,
    record_configuration,
    sum_of_rates,
)
from arcsr_lightning.launch.search import SearchSeed
from arcsr_lightning.launch.sweeps import SweepPlan
from arcsr_lightning.runs.settings import as_plain_data

__all__ = [
    "USER_ERRORS",
    "FolderChoice",
    "SearchSeed",
    "SettingsCheck",
    "SweepPlan",
    "as_plain_data",
    "build_data",
    "build_loss",
    "build_module",
    "build_network",
    "build_test_set",
    "build_trainer",
    "close_loggers",
    "command",
    "compose",
    "explain",
    "instantiate",
    "prepare_network",
    "record_configuration",
    "resolvers",
    "sum_of_rates",
]
