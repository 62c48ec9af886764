"""The stand-ins of GoPro and REDS are read as those are; what a lab does first runs on them."""

import sys

import numpy as np
import pytest
from PIL import Image

from arcsr_lightning.data import gopro_pairs, reds_pairs
from tests import lab_size
from tests.conftest import picture, write


def three_pairs(folder, height, width):
    """Frames in GoPro's layout, whose blurred twins have half their light."""
    for seed in range(3):
        sharp = picture(height, width, seed)
        write(folder / f"train/GOPR0001/sharp/{seed:06}.png", sharp)
        write(folder / f"train/GOPR0001/blur/{seed:06}.png", sharp // 2)
    return folder


@pytest.mark.parametrize(("data", "listed", "other"), [("gopro", gopro_pairs, "test"), ("reds", reds_pairs, "val")])
def test_every_stand_in_is_another_pair_of_the_layout(data, listed, other, tmp_path):
    pairs = lab_size.pairs_in([three_pairs(tmp_path / "of", 64, 80)])
    lab_size.build(tmp_path / data, data, pairs, 40)
    train, rest = listed(tmp_path / data, "train"), listed(tmp_path / data, other)
    assert (len(train), len(rest)) == (30, 10)
    pixels = [np.asarray(Image.open(pair.hr)) for pair in (*train, *rest)]
    assert len({frame.tobytes() for frame in pixels}) == 40
    for pair, sharp in zip((*train, *rest), pixels, strict=True):
        blurred = Image.open(pair.degraded)
        assert pair.at_lr_size == (data == "reds")
        assert blurred.size == ((20, 16) if data == "reds" else (80, 64))
        same_scene = np.asarray(blurred.resize((80, 64), Image.Resampling.BICUBIC), float)
        assert np.abs(same_scene - sharp / 2).mean() < 2


@pytest.mark.slow
def test_what_a_lab_does_first_runs(tmp_path, capsys, monkeypatch):
    pairs = three_pairs(tmp_path / "of", 256, 320)
    monkeypatch.setattr(
        sys, "argv", ["lab_size.py", str(tmp_path / "lab"), "--of", str(pairs), "--frames=32", "--batch=2"]
    )
    lab_size.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == ["gopro"] * 4 + ["reds"] * 4
    assert rows[0][-1].startswith("64 frames") and "store 0.02 GB" in rows[0][-1]  # 64 * 256 * 320 * 3 bytes
    for _, frames, store, _ in (rows[:4], rows[4:]):
        assert frames[-1].rpartition("loss is")[2] == store[-1].rpartition("loss is")[2]  # the same samples
