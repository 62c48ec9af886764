"""What a run's card says of its training."""

import csv
import json

import pytest

from arcsr_lightning import compose
from arcsr_lightning.launch import sum_of_rates
from arcsr_lightning.runs.stages import stages_of
from tests.conftest import slow


def rates(method: str, protocol: str) -> dict[str, float]:
    """The learning rate summed over the steps of every stage, at the paper's 400 000 steps."""
    stages = stages_of(compose(["data=sample", f"model={method}", f"protocol={protocol}"]))
    return {stage.name: sum_of_rates(stage.config, stage.config.trainer.max_steps) for stage in stages}


@pytest.mark.parametrize(
    "method", ["arcsr", "manet", *map(slow, ("dasr", "cmos", "rrdb", "udke", "manet_reblur", "cmos_proxy"))]
)
def test_by_the_paper_s_rule_every_method_goes_as_far_as_arcsr(method):
    """1e-4 for 20, half for 20, a quarter for 40, an eighth for 120, a sixteenth for 200 thousand steps."""
    assert sum(rates(method, "paper").values()) == pytest.approx(6.75)


def test_redegnet_is_trained_as_published_by_both():
    assert rates("redegnet", "paper") == rates("redegnet", "published") == {"restore": pytest.approx(40)}


@pytest.mark.parametrize(
    ("method", "stages", "expected"),
    [
        slow("rrdb", ["restore"], 31.0),
        slow("dasr", ["everything"], 15.6),
        ("manet", ["true_kernels", "estimated_kernels"], 20.5),
        ("cmos", ["given_maps", "estimated_maps"], 29.7),
    ],
)
def test_how_far_the_publications_take_their_restorers(method, stages, expected):
    found = rates(method, "published")
    assert sum(found[stage] for stage in stages) == pytest.approx(expected, abs=0.05)


def test_the_sum_of_rates_is_that_of_the_steps_that_were_taken(trained):
    with (trained / "csv/version_0/metrics.csv").open() as file:
        taken = [float(row["lr-Adam"]) for row in csv.DictReader(file) if row["lr-Adam"]]
    (stage,) = json.loads((trained / "metrics.json").read_text())["method"]["schedule"]
    assert len(taken) == stage["steps"] == 4
    assert stage["lr_sum"] == pytest.approx(sum(taken))
