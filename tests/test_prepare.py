"""arcsr-prepare as its users type it: what it leaves behind, killed or not, and what trainings make of it."""

import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from arcsr_lightning import compose, prepare
from arcsr_lightning.data import image_files
from arcsr_lightning.data.store import open_store
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import alone_in
from arcsr_lightning.launch import build_data
from tests.data.samples import contents


@pytest.mark.parametrize("data", ["gopro", "reds", "folder", "pairs", "sample"])
def test_a_prepared_data_set_gives_the_same_samples(tmp_path, run, capsys, monkeypatch, request, data):
    monkeypatch.chdir(tmp_path)
    fixtures = {"gopro": "gopro_tree", "reds": "reds_tree", "folder": "photos"}
    root = request.getfixturevalue(fixtures[data]) if data in fixtures else None
    choice = [f"data={data}", *([f"data.root={root}"] if root else [])]
    choice += [f"data.val_root={root}"] if data == "folder" else []
    if data == "pairs":
        frames = request.getfixturevalue("reds_tree")
        folders = {"hr": "{0}_sharp/000", "lr": "{0}_blur_bicubic/X4/000"}
        choice += [
            f"data.{split}_{side}={frames / split / folder.format(split)}"
            for split in ("train", "val")
            for side, folder in folders.items()
        ]
    run(prepare, *choice)
    assert f"stores/{data}: complete" in capsys.readouterr().out

    blur = ["degradation=gaussian_iso", "degradation.blur.kernel_size=5"] if data in ("folder", "sample") else []
    small = ["data.train.patch_size=32", *blur]
    from_files, from_store = (
        build_data(compose([*choice, *small, f"data.store={place}"])) for place in ("null", f"stores/{data}")
    )
    for name in ("make_train", "make_val", "make_test"):
        makes, stored_makes = getattr(from_files, name), getattr(from_store, name)
        make, stored_make = (makes, stored_makes) if callable(makes) else (makes[1], stored_makes[1])
        dataset, stored = make(), stored_make()
        assert stored.read.stored and not dataset.read.stored
        assert torch.equal(stored[0]["lr"], dataset[0]["lr"]) and torch.equal(stored[0]["hr"], dataset[0]["hr"])


@pytest.mark.parametrize("data", ["gopro", "reds"])
def test_measured_kernels_reach_training_and_test(tmp_path, run, capsys, monkeypatch, request, data):
    monkeypatch.chdir(tmp_path)
    choice = [f"data={data}", f"data.root={request.getfixturevalue(f'{data}_tree')}", "data.kernels=measured"]
    choice += ["kernel_size=5"]
    run(prepare, *choice)
    assert "kernels of 4 pairs measured" in capsys.readouterr().out
    run(prepare, *choice)
    assert "kernels of 0 pairs measured" in capsys.readouterr().out
    module = build_data(compose([*choice, f"data.store=stores/{data}", "data.train.patch_size=32"]))
    assert module.make_train()[0]["kernel"].shape == (25, 8, 8)
    assert module.make_test[0]()[0]["kernel"].shape == (25, 16, 20)


def test_data_without_pairs_have_no_kernels_to_measure(run, photos):
    with pytest.raises(SystemExit) as ended:
        run(prepare, "data=folder", f"data.root={photos}", f"data.val_root={photos}", "data.kernels=measured")
    assert ended.value.code


KILLED = """
import os, signal, sys, time
from itertools import count
from pathlib import Path
from arcsr_lightning import prepare

frames, unfinished = count(1), Path("stores/folder/unfinished.jsonl")

def die(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(".rgb") and next(frames) == 21:
        while unfinished.read_text().count("\\n") < 20:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
prepare.main()
"""


def test_a_killed_command_goes_on_where_it_was(tmp_path, run, capsys, monkeypatch):
    """Killed between a frame and its name; what it leaves in the end is what it leaves when it is let alone."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(60):
        cv2.imwrite(f"images/{number:02}.png", noise.integers(0, 256, (500, 500, 3), dtype=np.uint8))
    arguments = ["data=folder", "data.root=images", "data.val_root=images", "num_workers=1"]
    unfinished = tmp_path / "stores" / "folder" / "unfinished.jsonl"
    command = [sys.executable, "-c", KILLED, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert process.returncode == -signal.SIGKILL, process.stderr
    with pytest.raises(InputError, match=r"no finished store of frames; run arcsr-prepare"):
        open_store("stores/folder", image_files("images"))
    assert unfinished.read_text().count("\n") == 20
    run(prepare, *arguments)
    assert "complete, 40 frames written now" in capsys.readouterr().out
    run(prepare, *arguments, "data.store=other")
    assert contents(tmp_path / "stores" / "folder") == contents(tmp_path / "other")


def bad_input() -> dict[str, tuple]:
    """name -> (arguments, what the line must say)."""
    return {
        "no data": ([], ["data", "folder", "gopro", "reds"]),
        "no root": (["data=gopro"], ["data.root"]),
        "no folder": (["data=reds", "data.root={tmp}/nowhere"], ["{tmp}/nowhere"]),
        "no store": (["data=sample", "data.store=null"], ["data.store=PATH"]),
        "a file as store": (["data=sample", "data.store={tmp}/file"], ["{tmp}/file"]),
        "unknown setting": (["data=sample", "verfy=true"], ["verfy"]),
        "damaged image": (["data=folder", "data.root={tmp}", "data.val_root={tmp}"], ["{tmp}/cut.png", "damaged"]),
    }


@pytest.mark.parametrize("name", bad_input())
def test_bad_input_gets_one_clear_line(name, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = bad_input()[name]
    (tmp_path / "file").write_text("")
    (tmp_path / "cut.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()[:-20])
    with pytest.raises(SystemExit) as exit_:
        run(prepare, *(argument.format(tmp=tmp_path) for argument in arguments))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert exit_.value.code == 1
    assert len(errors) == 1
    for word in words:
        assert word.format(tmp=tmp_path) in errors[0]


def test_two_commands_do_not_share_a_store(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with alone_in(tmp_path / "store", "me"), pytest.raises(SystemExit):
        run(prepare, "data=sample", "data.store=store")
    assert "error: store: another arcsr-prepare is at work in this store; wait until it ends" in capsys.readouterr().err
    run(prepare, "data=sample", "data.store=store")
