"""A network from the plain data that describes it, part by part.

A dict with ``_target_``, a class path, describes a part: the class is called with the other entries, of which those
that describe parts are built first. With ``_partial_: true`` the part that it is given to makes the call. Nothing else
has a meaning: whatever the data say, no more than classes derived from ``nn.Module`` are called, with settings by name.
"""

from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from arcsr_lightning.errors import InputError, first_line

OWN_MODULES = ("arcsr_lightning.networks", "arcsr_lightning.blocks", "arcsr_lightning.rivals")
TRUSTED_MODULES = "ARCSR_TRUSTED_MODULES"  # the environment variable that names further modules, comma-separated


def build_network(model: dict[str, Any], trusted: Iterable[str] | None = None) -> nn.Module:
    """The network that ``model`` describes.

    Args:
        model: resolved plain data.
        trusted: modules; those and what lies below them are where class paths may lead. None: anywhere.

    Raises:
        InputError: a class path leads elsewhere or to no class of ``nn.Module``, a setting does not fit its class, or
            what is described is no network.
    """
    network = _build(model, "model", None if trusted is None else tuple(trusted))
    if not (isinstance(network, nn.Module) and isinstance(getattr(network, "scale", None), int)):
        named = model.get("_target_") if isinstance(model, dict) else model
        raise InputError(f"model: {named!r} is no network; a network is an nn.Module with `scale`, a whole number")
    return network


def check_trusted(module: str, trusted: Iterable[str] | None, part: str, own: str) -> None:
    """Refuse what a file names, unless it lies in a module that is trusted, or below one.

    Args:
        module: where it lies.
        trusted: modules; None: all are.
        part: the setting and the class path, as the refusal names them.
        own: what of this package may stand there.

    Raises:
        InputError: the module is not trusted.
    """
    if trusted is not None and not any(module == one or module.startswith(f"{one}.") for one in trusted):
        raise InputError(
            f"{part} is from outside this package's {own}, and is not run; if you trust the file and the module, name "
            f"the module in the environment: {TRUSTED_MODULES}=MODULE"
        )


def _build(node: Any, where: str, trusted: tuple[str, ...] | None) -> Any:
    """What ``node`` describes; ``where`` is its dotted name."""
    if isinstance(node, list):
        return [_build(child, f"{where}.{number}", trusted) for number, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    children = {key: child for key, child in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return {key: _build(child, f"{where}.{key}", trusted) for key, child in children.items()}
    for key in children:
        if not isinstance(key, str) or key.startswith("_"):
            raise InputError(f"{where}.{key}: a part has _target_, _partial_ and settings by name, nothing else")
    later = node.get("_partial_", False)
    if not isinstance(later, bool):
        raise InputError(f"{where}._partial_: must be true or false, not {later!r}")
    part = _find_class(node["_target_"], where, trusted)
    settings = {key: _build(child, f"{where}.{key}", trusted) for key, child in children.items()}
    if later:
        return partial(part, **settings)
    try:
        return part(**settings)
    except InputError:
        raise
    except Exception as error:  # a class may fail of its settings in any way
        raise InputError(f"{where}: {node['_target_']}: {type(error).__name__}: {first_line(error)}") from error


def _find_class(path: Any, where: str, trusted: tuple[str, ...] | None) -> type[nn.Module]:
    """The class at ``path``; a module that is not trusted is not even imported."""
    names = path.split(".") if isinstance(path, str) else []
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise InputError(f"{where}._target_: must be a class path such as mylab.nets.Net, not {path!r}")
    home = path.rpartition(".")[0]
    check_trusted(home, trusted, f"{where}._target_: {path!r}", "networks, blocks and rivals")
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{where}._target_: {path!r}: {first_line(error)}; is it installed, or on PYTHONPATH?"
        ) from error
    except Exception as error:
        raise InputError(
            f"{where}._target_: {path!r}: importing {home} failed, {type(error).__name__}: {first_line(error)}"
        ) from error
    part = getattr(module, names[-1], None)
    if not (isinstance(part, type) and issubclass(part, nn.Module)):
        raise InputError(f"{where}._target_: {path!r} is no class derived from nn.Module")
    # Of what was imported into the module that was named.
    check_trusted(part.__module__, trusted, f"{where}._target_: {path!r}", "networks, blocks and rivals")
    return part
