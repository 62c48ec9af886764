"""Weights on disk: read checkpoints and safetensors files back into networks, export one as the other."""

import json
import logging
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.files import files_below, newness, write_aside
from arcsr_lightning.parts import OWN_MODULES, TRUSTED_MODULES, build_network

log = logging.getLogger(__name__)

DEBUG = "debug"  # the tag of runs that only try out whether they run (conf/debug)
PREFIX = "network."  # of the network's keys in a Lightning checkpoint
TRAINING = {"loops", "optimizer_states", "lr_schedulers", "global_step", "epoch", "pytorch-lightning_version"}
NEEDED = ("model", "method", "scale", "kernel_size")  # of a configuration, to rebuild its network and to describe it
SHIPPED = Path(__file__).parents[1] / "weights"  # the folder of those that come with the package, docs/weights.md
DEFAULT = "arcsr_small"
HUB = "hf:"  # what a repository of the Hugging Face Hub begins with
FILE = "model.safetensors"  # of a run, and of such a repository
DEPTH, WIDTH = 64, 10_000  # more levels of a configuration, or entries in one of them, are no run's


class Saved(NamedTuple):
    """The part of a weights file that concerns the network."""

    weights: dict[str, Tensor]  # by the network's own keys
    config: dict[str, Any]  # the resolved configuration of its run
    resumable: bool = False  # whether the file has what a training goes on with, too
    steps: int = 0  # that its stage had taken


def load_model(path: str | Path) -> nn.Module:
    """The network of a checkpoint or a ``.safetensors`` export, in eval mode, on the CPU.

    ``arcsr_small`` is the network that comes with the package (docs/weights.md), unless a file has that name, and
    ``hf:owner/name`` that of a repository of the Hugging Face Hub, which is downloaded once. EMA weights where there
    are any: a run that keeps them saves them as the checkpoint's weights.

    Raises:
        InputError: the file is missing, is no checkpoint, or names parts from outside this package and the modules in
            the environment variable ``ARCSR_TRUSTED_MODULES``.
    """
    return build_saved(read_saved(path), path)


def build_saved(saved: Saved, path: str | Path) -> nn.Module:
    """The network of what was read from ``path``, in eval mode, on the CPU.

    Raises:
        InputError: it names parts that are not trusted, or its weights do not fit its configuration.
    """
    try:
        network = build_network(saved.config["model"], trusted_modules())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    load_weights(network, saved, path)
    return network.eval()


def trusted_modules() -> tuple[str, ...]:
    """Where the class paths of a file may lead: this package's parts, and what ``ARCSR_TRUSTED_MODULES`` names."""
    named = (name.strip() for name in os.environ.get(TRUSTED_MODULES, "").split(","))
    return (*OWN_MODULES, *(name for name in named if name))


def find_weights(weights: str | None, log_dir: str | Path) -> Path:
    """The weights file that ``weights`` names: a path, or ``latest`` for the newest finished run below ``log_dir``.

    None is the latest, or the network that comes with the package where there is none yet. Which one it is is said;
    runs of ``debug=`` are passed over.

    Raises:
        InputError: there is no finished run yet.
    """
    if weights not in (None, "latest"):
        return file_of(weights)
    exports = [path for path in files_below(log_dir) if path.name == FILE and (path.parent / "finished.json").is_file()]
    for path in sorted(exports, key=newness, reverse=True):
        if DEBUG not in (read_saved(path).config.get("tags") or ()):
            log.info("weights=latest: %s", path)
            return path
    if weights is None:
        log.info("no finished run below %s: weights=%s, which comes with the package", log_dir, DEFAULT)
        return file_of(DEFAULT)
    raise InputError(
        f"weights=latest: no finished run below {log_dir}; train one, or name a file, weights=PATH, or what comes with "
        f"the package, weights={DEFAULT}"
    )


def shipped() -> dict[str, Path]:
    """The weights that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def file_of(weights: str | Path) -> Path:
    """The file that is meant: this one or, where there is none, that of the shipped weights of this name."""
    if str(weights).startswith(HUB):
        return download(str(weights).removeprefix(HUB))
    path = Path(weights)
    return path if path.is_file() else shipped().get(str(weights), path)


def read_saved(path: str | Path) -> Saved:
    """Weights and configuration of a ``.ckpt`` or ``.safetensors`` file; nothing in it is executed.

    Raises:
        InputError: the file is missing or is no checkpoint of this package.
    """
    path = file_of(path)
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        names = ", ".join(shipped())
        raise InputError(f"{path}: {what}; give a checkpoint (.ckpt), an export (.safetensors) or a name ({names})")
    saved = read_safetensors(path) if is_safetensors(path) else read_checkpoint(path)
    if not (saved.weights and all(map(is_dense, saved.weights.values()))):
        raise InputError(f"{path}: not a checkpoint of this package (no network in it)")
    if not is_plain(saved.config):
        raise InputError(f"{path}: not a checkpoint of this package (its configuration is not resolved, plain data)")
    if not isinstance(saved.config, dict) or any(key not in saved.config for key in NEEDED):
        raise InputError(f"{path}: not a checkpoint of this package (its configuration lacks {', '.join(NEEDED)})")
    return saved


def download(repository: str) -> Path:
    """The weights in a repository of the Hugging Face Hub, ``owner/name``: the cached file where it is up to date.

    Raises:
        InputError: huggingface_hub is not installed, or there is nothing to be had.
    """
    try:
        from huggingface_hub import hf_hub_download  # an extra
    except ModuleNotFoundError as error:
        raise InputError(f'{HUB}{repository} needs huggingface_hub: pip install ".[hub]" in the clone') from error
    try:
        return Path(hf_hub_download(repository, FILE))
    except (OSError, ValueError) as error:  # whatever happens on the way, and names that are none
        line = f"no {FILE} to be had from the Hugging Face Hub ({first_line(error)})"
        raise InputError(f"{HUB}{repository}: {line}; the name is owner/name") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does, whatever its name; a cut one keeps what its name says."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return path.suffix.lower() == ".safetensors" or start[8:] == b"{"


def is_dense(value: Any) -> bool:
    """Whether ``value`` is an ordinary tensor of numbers in memory."""
    dense = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return dense and not value.is_quantized


def is_plain(config: Any) -> bool:
    """Whether ``config`` is dicts, lists and scalars only, with no interpolation left that could build something else.

    Level by level and within bounds: a file may hold data that contain themselves.
    """
    level = [config]
    for _ in range(DEPTH):
        if not all(map(is_plain_node, level)):
            return False
        level = [child for node in level for child in children_of(node)]
        if not level or len(level) > WIDTH:
            return not level
    return False


def is_plain_node(node: Any) -> bool:
    if isinstance(node, dict):
        return all(isinstance(key, str) for key in node)
    return "${" not in node if isinstance(node, str) else node is None or isinstance(node, list | bool | int | float)


def children_of(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def read_checkpoint(path: Path) -> Saved:
    """Read a checkpoint of a training.

    Raises:
        InputError: it is none of this package, or damaged.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"].items()
        weights = {key.removeprefix(PREFIX): value for key, value in state if key.startswith(PREFIX)}
        config = checkpoint["hyper_parameters"]["config"]
        resumable = checkpoint.keys() >= TRAINING and "fit_loop" in checkpoint["loops"]
        steps = int(checkpoint.get("global_step", 0))
    except pickle.UnpicklingError as error:  # torch's words would recommend to load whatever is in it
        line = "not a checkpoint of this package, or a damaged one (more than tensors and plain data, or less)"
        raise InputError(f"{path}: {line}") from error
    except Exception as error:  # archives, pickles and torch each fail in their own ways on a damaged file
        raise InputError(f"{path}: not a checkpoint of this package, or a damaged one ({first_line(error)})") from error
    return Saved(weights, config, resumable, steps)


def read_safetensors(path: Path) -> Saved:
    """Read a network as ``write_safetensors`` leaves it.

    Raises:
        InputError: it is no such file, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        weights = safetensors.torch.load_file(path)
        config = json.loads(metadata.get("config", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a safetensors file, or a damaged one ({first_line(error)})") from error
    return Saved(weights, config)


def load_weights(network: nn.Module, saved: Saved, path: str | Path) -> None:
    """Put saved weights into a network of the same architecture.

    Raises:
        InputError: they belong to another architecture or scale, or are no finite numbers of their kind; says where
            first.
    """
    own = network.state_dict()
    for key in sorted(own.keys() ^ saved.weights.keys()):
        where = "the file" if key in own else "the model"
        raise InputError(f"{path}: weights of another architecture: {where} has no {key!r}; {described(saved.config)}")
    for key, value in own.items():
        if value.shape != saved.weights[key].shape:
            raise InputError(
                f"{path}: weights of another architecture or scale: {key!r} is {tuple(saved.weights[key].shape)} in "
                f"the file and {tuple(value.shape)} in the model; {described(saved.config)}"
            )
        check_numbers(key, value, saved.weights[key], path)
    network.load_state_dict(saved.weights)


def check_numbers(key: str, own: Tensor, saved: Tensor, path: str | Path) -> None:
    """Raise InputError where saved weights are of another kind of number than the network's own, or not finite."""
    if saved.is_floating_point() != own.is_floating_point() or saved.is_complex():
        raise InputError(f"{path}: damaged, {key!r} is of {saved.dtype}, not of {own.dtype}; use another file")
    if not torch.isfinite(saved).all():
        raise InputError(f"{path}: weights that are not finite, first {key!r}; use those of an earlier step")


def described(config: dict[str, Any]) -> str:
    """The settings that rebuild a saved network, as one would type them."""
    settings = {key: config.get(key) for key in ("method", "scale", "kernel_size")}
    return "the file was trained with " + ", ".join(f"{key}={value}" for key, value in settings.items())


def write_safetensors(saved: Saved, output: str | Path) -> None:
    """Write a network as ``.safetensors``, its configuration in the metadata."""
    weights = {key: value.detach().cpu().contiguous() for key, value in saved.weights.items()}
    with write_aside(output) as path:  # not save_file, which leaves a file that its owner alone can read
        path.write_bytes(safetensors.torch.save(weights, metadata={"config": json.dumps(saved.config)}))
