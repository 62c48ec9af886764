"""ArcSR: customised treatment per pixel for blind image super-resolution, on PyTorch Lightning and Hydra."""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
# conf/ lies inside an installed wheel and beside src/ in a checkout.
CONF_DIR = next(folder for folder in (_HERE / "conf", _HERE.parents[1] / "conf") if folder.is_dir())

_HOMES = {"compose": "launch", "load_model": "runs.weights"}

__all__ = ["CONF_DIR", "__version__", "compose", "load_model"]


def __getattr__(name: str) -> Any:
    """Import ``compose`` and ``load_model`` when first asked for, so that the operators alone stay light."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
