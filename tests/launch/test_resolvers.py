"""What configurations compute."""

import pytest
from omegaconf import OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.resolvers import table_rows

NAMED = OmegaConf.create({"default": {"known": ["a", "b"], "unknown": ["b"]}, "all": {"known": ["a", "b", "c"]}})


@pytest.mark.parametrize(
    ("methods", "kernels", "rows"),
    [
        ("default", "known", "a,b"),
        ("default", "unknown", "b"),
        ("all", "known", "a,b,c"),
        (["c", "mine"], "known", "c,mine"),
    ],
)
def test_the_rows_of_a_table_are_named_or_listed(methods, kernels, rows):
    given = OmegaConf.create({"methods": methods}).methods
    assert table_rows(given, kernels, NAMED) == rows


def test_rows_of_no_name_are_refused():
    with pytest.raises(InputError, match=r"methods=c: no such rows; give default or all, or a list, methods=\[c\]"):
        table_rows("c", "known", NAMED)
