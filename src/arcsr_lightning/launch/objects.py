"""Configurations as objects: networks, losses, test images."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import Dataset

from arcsr_lightning import parts
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.messages import REFUSALS, explain
from arcsr_lightning.runs.settings import as_plain_data
from arcsr_lightning.runs.weights import trusted_modules

T = TypeVar("T")


def build_network(model: DictConfig | dict[str, Any]) -> nn.Module:
    """The network that ``cfg.model`` describes, of classes from anywhere.

    Raises:
        InputError: there is no such class, a setting does not fit it, or it is no network.
    """
    return parts.build_network(as_plain_data(model) if isinstance(model, DictConfig) else model)


def build_loss(cfg: DictConfig) -> nn.Module:
    """What a stage trains on, with what the loss owns (discriminators, say)."""
    return instantiate(cfg.loss, _convert_="all")


def prepare_network(cfg: DictConfig, network: nn.Module) -> dict[str, float]:
    """Do with the network what a stage does before its first step, if anything; returns figures worth a record.

    What says that it ``is_prepared`` stays as it is: a kernel code that was fitted already, as loaded weights have it,
    is the one that their restorer reads.
    """
    prepared = getattr(network, "is_prepared", False)
    return instantiate(cfg.prepare)(network) if cfg.prepare and not prepared else {}


def maker(cfg: DictConfig, key: str) -> Callable[..., Any]:
    """What makes the ``optimizer`` of parameters or the ``scheduler`` of an optimiser; its errors name the setting."""
    return naming_errors(key, instantiate(cfg[key], _convert_="all"))


def naming_errors(key: str, make: Callable[..., T]) -> Callable[..., T]:
    """``make``, whose errors name the settings that it was made of.

    Raises:
        InputError: ``make`` refuses its settings.
    """

    def made(*args: Any, **settings: Any) -> T:
        try:
            return make(*args, **settings)
        except REFUSALS as error:
            raise InputError(f"{key}: {error}") from error

    return made


def build_test_set(config: dict[str, Any], noise_level: float) -> Dataset:
    """The test images of a finished run, as ``config``, which its metrics.json holds, describes them.

    Raises:
        InputError: a class path leads elsewhere than to this package's data and the modules in the environment variable
            ``ARCSR_TRUSTED_MODULES``, or a file or setting is at fault.
    """
    test = config["data"]["test"]
    for path in class_paths(test):
        check_data_part(path)
    try:
        return instantiate(test, noise_level=noise_level)
    except InstantiationException as error:
        if (line := explain(error)) is None:
            raise
        raise InputError(line) from error


def class_paths(node: Any) -> Iterator[Any]:
    """Every ``_target_`` in plain data."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from class_paths(child)


def check_data_part(path: Any) -> None:
    """Raise InputError where a class path out of a file leads elsewhere than to parts of data that are trusted.

    A module that is not trusted is not even imported; what is imported into one that is, is not trusted for that.
    """
    trusted = ("arcsr_lightning.data", "arcsr_lightning.degradation", *trusted_modules())
    part = f"data.test: {path!r}"
    parts.check_trusted(path if isinstance(path, str) else "", trusted, part, "data")
    parts.check_trusted(get_object(path).__module__, trusted, part, "data")
