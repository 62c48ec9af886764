"""Every setting of every command with values of every kind: refused in one line, or what is made of them is sound."""

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import compose
from arcsr_lightning.launch.schema import TABLES
from arcsr_lightning.launch.settings_check import check_settings, kind_of, settings_in
from tests.conftest import slow

COMPOSED = {
    "train": ["data=sample", "size=tiny", "model=arcsr", "kernel_size=7", "stages={one:{share:1}}"],
    "evaluate": ["data=sample"],
    "predict": ["input=a.png", "output=b.png", "weights=w.ckpt"],
    "export": ["weights=w.ckpt", "output=b.onnx"],
    "demo": [],
    "prepare": ["data=folder", "data.root=a", "data.val_root=b"],
}
WORDS = ("", " ", "abc", "no", "off", "yes", "null", "1", "nan", "true", "[1]", "../x", "a\0b", "é\n")
NUMBERS = (-1, 0, 1, 2, 3, 2**31, 2**63, -0.0, 0.5, 1.0, 2.0, 1e-300, 1e300, math.nan, math.inf, -math.inf)
OTHERS = {
    bool: ("yes", "no", "off", "", 0, 1, None, [], [True], {}),
    int: ("abc", "1", "", math.nan, math.inf, 1.5, True, [], {}),
    float: ("abc", "1.5", "", math.nan, math.inf, -math.inf, True, [], {}),
    str: ("", " ", 5, 1.5, True, {}),
    list: ("abc", "", 5, True, {}),
    DictConfig: ("abc", "", 5, True, [], [{}]),
}
# Numbers that are written as whole ones, a list that may be empty, and what is of albumentations.
WIDER = "|".join(
    [
        r"stages.one.share|arcsr.kernel_share|.*region_size|trainer.fast_dev_run|data\.\w+\.paths",
        r"data.augment.transforms.(focus.\w+_limit|view.\w+)",
    ]
)
simple = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.integers(), st.floats(), st.sampled_from(WORDS), st.text()
)
lists = st.one_of(st.lists(simple, max_size=3), st.lists(st.lists(simple, max_size=2), max_size=2))
anything = st.one_of(simple, lists, st.just({}), st.just({"a": 1}))


@pytest.fixture(scope="module")
def composed():
    return {command: compose(typed, command) for command, typed in COMPOSED.items()}


@pytest.fixture(scope="module")
def names(composed):
    """The settings of every command that have a value, sections too."""
    return {command: sorted({name for name, _, _ in settings_in(cfg)}) for command, cfg in composed.items()}


def refused(command: str, cfg: DictConfig, name: str, value: Any) -> str | None:
    """The line that is said against a value of a setting, None where it is let through."""
    cfg = cfg.copy()
    OmegaConf.update(cfg, name, value, merge=False, force_add=True)
    try:
        check_settings(command, cfg)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("count", [30, slow(2000)])
@pytest.mark.parametrize("command", TABLES)
def test_whatever_a_setting_is_it_is_taken_or_refused_in_one_line(composed, names, command, count):
    @settings(max_examples=count, derandomize=True, deadline=None, database=None)
    @given(name=st.sampled_from(names[command]), value=anything)
    def try_one(name, value):
        line = refused(command, composed[command], name, value)
        assert line is None or (line.isprintable() and re.match(r"[\w.]+=.*: must be ", line))

    try_one()


@pytest.mark.parametrize("command", TABLES)
def test_a_value_of_another_type_than_what_stands_there_is_refused(composed, command):
    """The type of what a configuration of this package holds is known without the table."""
    taken = []
    for name, own, written in settings_in(composed[command]):
        kind = kind_of(command, name)
        if not written or kind is None or type(own) not in OTHERS or re.fullmatch(WIDER, name):
            continue
        taken += [f"{name}={value!r}" for value in OTHERS[type(own)] if kind.fits(value)]
    assert taken == []
