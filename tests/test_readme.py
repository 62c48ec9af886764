"""The README's table of methods says what the configurations build."""

import re
from pathlib import Path

import pytest
import torch

from arcsr_lightning import CONF_DIR, compose
from arcsr_lightning.launch import build_loss, build_network
from arcsr_lightning.runs.stages import stages_of
from arcsr_lightning.scores.cost import macs, parameters
from tests.conftest import slow

README = Path(__file__).parents[1] / "README.md"
VARIANTS = ("cmos_proxy", "redegnet_gan")  # whose networks are those of cmos and redegnet


def table() -> dict[str, list[str]]:
    """Cells by method; a row may speak for several."""
    rows = [line.strip("| ").split(" | ") for line in README.read_text("utf-8").splitlines() if " M | " in line]
    return {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}


def test_every_method_has_a_row():
    assert set(table()) == {path.stem for path in CONF_DIR.glob("model/*.yaml")}


@pytest.mark.parametrize("method", [slow(name) if name in VARIANTS else name for name in sorted(table())])
def test_a_row_says_what_is_built(method):
    cfg = compose(["data=sample", f"model={method}"])
    with torch.device("meta"):
        network = build_network(cfg.model)
    _, size, cost, _, sources, _ = table()[method]
    assert size == f"{parameters(network) / 1e6:.2f} M"
    assert cost == f"{macs(network) / 1e9:.1f}"
    if cfg.train:
        losses = [build_loss(stage.config) for stage in stages_of(cfg)]
        assert sources == ", ".join(dict.fromkeys(source for loss in losses for source in loss.supervision))
