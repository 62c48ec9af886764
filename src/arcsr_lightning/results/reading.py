"""The files of a study, each read whole and of the shape that tables need; else an InputError names it in one line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from arcsr_lightning.errors import InputError, first_line

NUMBER = (int, float)
NAMES = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list", type(None): "null"}


def read_text(path: Path) -> str:
    """A file of text in UTF-8."""
    return _read(path, lambda: path.read_text(encoding="utf-8"))


def read_json(path: Path, shape: Any, cure: str) -> Any:
    """A JSON file of the given shape (:func:`check_shape`)."""
    return _checked(path, _read(path, lambda: json.loads(path.read_text(encoding="utf-8")), cure), shape, cure)


def read_yaml(path: Path, shape: Any, cure: str) -> Any:
    """A YAML file of the given shape (:func:`check_shape`), its interpolations not resolved."""
    return _checked(path, _read(path, lambda: OmegaConf.to_container(OmegaConf.load(path)), cure), shape, cure)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""

    def rows() -> list[dict[str, str]]:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return _read(path, rows)


def number_in(row: dict[str, str], column: str, path: Path) -> float:
    """The number in a row of the CSV file ``path``."""
    try:
        return float(row[column])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: damaged, {row.get(column)!r} as {column} is no number") from None


def check_shape(value: Any, shape: Any, name: str = "") -> None:
    """Raise ValueError where ``value`` is not of a shape; says where.

    Args:
        value: of JSON or YAML.
        shape: a type, or a tuple of types; ``[shape]`` for a list of such values; ``{key: shape}`` for a mapping with
            these keys and any others. What stands under a key that ends with ``?`` may be missing or null.
        name: of the value, dotted.
    """
    if isinstance(shape, dict):
        _check_type(value, (dict,), name)
        for key, inner in shape.items():
            known = key.removesuffix("?")
            if known != key and value.get(known) is None:
                continue
            if known not in value:
                raise ValueError(f"{known} is missing" + (f" in {name}" if name else ""))
            check_shape(value[known], inner, f"{name}.{known}".lstrip("."))
    elif isinstance(shape, list):
        _check_type(value, (list,), name)
        for number, one in enumerate(value):
            check_shape(one, shape[0], f"{name}[{number}]")
    else:
        _check_type(value, shape if isinstance(shape, tuple) else (shape,), name)


def _check_type(value: Any, types: tuple[type, ...], name: str) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        allowed = " or ".join(NAMES[one] for one in types)
        found = NAMES.get(type(value), "true or false")
        raise ValueError(f"{name or 'the file'} must be {allowed}, not {found}")


def _read(path: Path, read: Callable[[], Any], cure: str = "") -> Any:
    try:
        return read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from error
    except (ValueError, RecursionError, csv.Error, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: damaged ({first_line(error)})" + (f"; {cure}" if cure else "")) from error


def _checked(path: Path, value: Any, shape: Any, cure: str) -> Any:
    try:
        check_shape(value, shape)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {cure}") from None
    return value
