"""What configurations compute."""

import pytest
from omegaconf import OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.resolvers import steps, table_rows

NAMED = OmegaConf.create({"default": {"known": ["a", "b"], "unknown": ["b"]}, "all": {"known": ["a", "b", "c"]}})


@pytest.mark.parametrize("total", [1, 2, 5, 15, 1001, 2667, 46_602, 266_667])
@pytest.mark.parametrize("periods", [1, 2, 4, 5])
def test_so_many_periods_hold_all_steps_so_that_no_other_begins(total, periods):
    part = steps(1 / periods, _root_=OmegaConf.create({"trainer": {"max_steps": total}}))
    assert part - 1 < total / periods <= part


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
