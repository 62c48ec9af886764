"""Kinds of settings: what a value may be, as a test and in words."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from omegaconf import DictConfig


class Kind(NamedTuple):
    """What ``fits``, and in ``words`` that go after "must be"."""

    words: str
    fits: Callable[[Any], bool]


NOTHING = Kind("null", lambda value: value is None)
FROM_GROUPS = Kind("null, as the groups callbacks and logger decide", NOTHING.fits)


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number, within both ends."""
    words = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"
    return Kind(words, lambda value: type(value) is int and least <= value and (most is None or value <= most))


def number(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None
) -> Kind:
    """A finite number within the given ends; ``above`` and ``below`` are not reached."""
    ends = {"of {:g} or more": least, "above {:g}": above, "of {:g} or less": most, "below {:g}": below}
    bounds = " and ".join(words.format(end) for words, end in ends.items() if end is not None)

    def fits(value: Any) -> bool:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        low = (least is None or value >= least) and (above is None or value > above)
        return low and (most is None or value <= most) and (below is None or value < below)

    return Kind(f"a number {bounds}", fits)


def choice(*options: str | int) -> Kind:
    """One of some words or numbers."""
    *first, last = map(str, options)
    words = f"{', '.join(first)} or {last}" if first else last
    return Kind(words, lambda value: any(type(value) is type(option) and value == option for option in options))


def optional(kind: Kind) -> Kind:
    """As ``kind``, or null."""
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.fits(value))


def either(*kinds: Kind) -> Kind:
    """As one of ``kinds``."""
    return Kind(", or ".join(kind.words for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def list_of(kind: Kind, length: int | None = None, least: int = 0, distinct: bool = False) -> Kind:
    """A list whose elements are as ``kind``."""
    many = f" of {length}" if length else f" of {least} or more" if least else ""

    def fits(value: Any) -> bool:
        if not (isinstance(value, list) and all(map(kind.fits, value)) and len(value) >= least):
            return False
        return length in (None, len(value)) and not (distinct and len(set(value)) < len(value))

    return Kind(f"a list{many}{', all different' if distinct else ''}, each {kind.words}", fits)


def span(least: float | None = None, most: float | None = None, above: float | None = None) -> Kind:
    """[lowest, highest], two numbers within the given ends."""
    pair = list_of(number(least, most, above), length=2)
    bounds = pair.words.partition("each ")[2].replace("a number", "numbers", 1)
    return Kind(f"[lowest,highest], {bounds}", lambda value: pair.fits(value) and value[0] <= value[1])


def text(words: str, pattern: str) -> Kind:
    """Text of which a regular expression fits the whole."""
    return Kind(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) is not None)


ANYTHING = Kind("anything", lambda value: True)
ODD = Kind("an odd whole number, so that a kernel has a centre", lambda value: whole(1).fits(value) and value % 2 == 1)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = text("text", r".*\S.*")
PATH = text("a path (quoted where it looks like a number, in full where ~ begins it)", r"(?!~(/|$))[^\0]*[^\s\0][^\0]*")
FOLDER_NAME = text("the name of one folder", r"(?![.\s])[^/\\\0\n]{0,199}[^/\\\0\s]")
CLASS_PATH = text("a class path such as mylab.nets.Net", r"[^\W\d]\w*(\.[^\W\d]\w*)+")
METRIC = text("the name of a metric, such as val/psnr", r"(train|val|test)/\S+")
DURATION = text("a time as DD:HH:MM:SS", r"\d+:\d\d?:\d\d?:\d\d?")
OPTIONS = Kind("a section, whose settings are set by name", lambda value: isinstance(value, DictConfig))
PARTS = Kind(
    "a section with the class path of what it describes as _target_",
    lambda value: isinstance(value, DictConfig) and "_target_" in value,
)
