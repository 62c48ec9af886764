"""The commands as their users type them: what they leave behind, and what they say about bad input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from arcsr_lightning import evaluate, load_model, predict, train
from tests.conftest import WITHOUT_PICTURES

TINY = [
    "experiment=quickstart",
    "model=arcsr",
    "arcsr.estimator_width=4",
    "arcsr.estimator_levels=2",
    "arcsr.width=4",
    "arcsr.blocks=1",
    "data.batch_size=2",
    "data.train.patch_size=64",
    "data.val.draws=1",
    "data.test.draws=1",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "callbacks.summary=null",
    "print_config=false",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder in which a tiny quickstart was trained, by the real command, from nowhere near the repository."""
    folder = tmp_path_factory.mktemp("workplace")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    command = [sys.executable, "-m", "arcsr_lightning.train", *TINY]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def here(workplace, monkeypatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def the_run(folder: Path, task: str = "quickstart") -> Path:
    """The run that got furthest: one that fails leaves a folder too."""
    return sorted((folder / "logs" / task / "runs").glob("*/metrics.json"))[-1].parent


def test_training_leaves_everything_a_reader_looks_for(workplace):
    run_folder = the_run(workplace)
    names = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file()}
    assert {
        "checkpoints/last.ckpt",
        "checkpoints/best_0000002.ckpt",
        "config.yaml",
        "csv/version_0/metrics.csv",
        "images/panel.png",
        "images/val_0000002.png",
        "metrics.json",
        "model.safetensors",
        "per_image.csv",
    } <= names
    assert not any(".part-" in name for name in names)


def test_the_table_and_metrics_json_say_the_same(workplace):
    rows = json.loads((the_run(workplace) / "metrics.json").read_text())["rows"]
    assert [(row["method"], row["noise_level"], row["images"]) for row in rows] == [
        ("bicubic", 0, 2),
        ("arcsr", 0, 2),
        ("bicubic", 10, 2),
        ("arcsr", 10, 2),
    ]
    table = (workplace / "output.txt").read_text()
    assert all(f"{row['psnr_rgb']:.2f}" in table and f"{row['ssim_y']:.4f}" in table for row in rows)
    with (the_run(workplace) / "per_image.csv").open() as file:
        images = list(csv.DictReader(file))
    mean = np.mean([float(i["psnr_y"]) for i in images if i["method"] == "arcsr" and float(i["noise_level"]) == 10])
    assert mean == pytest.approx(rows[3]["psnr_y"])


def test_evaluation_of_the_newest_run_repeats_its_figures(here, run):
    run(evaluate, "data.test.draws=1", "trainer=cpu")
    trained, evaluated = (json.loads((the_run(here, t) / "metrics.json").read_text()) for t in ("quickstart", "eval"))
    assert evaluated["rows"] == trained["rows"]
    assert evaluated["protocol"] == trained["protocol"]


def test_prediction_equals_the_network(here, run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "lr.png")
    weights = the_run(here) / "model.safetensors"
    arguments = [f"input={tmp_path}/lr.png", f"output={tmp_path}/sr.png", f"weights={weights}", "kernels=true"]
    run(predict, *arguments)
    from arcsr_lightning.data.images import to_tensor, to_uint8

    expected = to_uint8(load_model(weights)(to_tensor(pixels)[None]).sr[0])
    np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "sr.png")).astype(int), expected, atol=1)
    assert Image.open(tmp_path / "sr_kernels.png").size[0] > 300


def test_a_folder_is_restored_in_the_modes_of_its_pictures(here, run, tmp_path):
    rng = np.random.default_rng(0)
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(rng.integers(0, 256, (9, 8), dtype=np.uint8)).save(source / "grey.png")
    Image.fromarray(rng.integers(0, 256, (9, 8, 4), dtype=np.uint8)).save(source / "alpha.png")
    cv2.imwrite(str(source / "deep.png"), rng.integers(0, 65536, (9, 8, 3), dtype=np.uint16))
    run(predict, f"input={source}", f"output={target}")
    assert Image.open(target / "grey.png").mode == "L"
    assert Image.open(target / "alpha.png").mode == "RGBA"
    assert cv2.imread(str(target / "deep.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert {Image.open(path).size for path in target.iterdir()} == {(32, 36)}


def bad_input() -> dict[str, tuple]:
    """name -> (command, arguments, what the line must say); {run} is the trained run, {tmp} an empty folder."""
    gopro = ["experiment=arcsr_gopro", "debug=limit", "print_config=false"]
    return {
        "unknown setting": (train, [*TINY, "optimizer.learning_rate=1"], ["learning_rate"]),
        "unknown option": (train, ["data=sample", "model=swinir"], ["model/swinir", "arcsr"]),
        "unknown experiment": (train, ["experiment=quikstart"], ["experiment/quikstart", "quickstart"]),
        "even kernel": (train, [*TINY, "kernel_size=6"], ["kernel_size", "odd", "6"]),
        "channels": (train, [*TINY, "arcsr.estimator_width=6"], ["6 is not divisible by 4"]),
        "scale": (train, [*TINY, "scale=5"], ["scale=5: must be 2, 3 or 4"]),
        "normalisation": (train, [*TINY, "model.restorer.normalisation=l2"], ["'l2'", "unit_energy"]),
        "crop": (train, [*TINY, "data.train.patch_size=2048"], ["smaller than the crop", "data.train.patch_size"]),
        "kernel too small": (train, [*TINY, "kernel_size=3"], ["kernel_size 3 cannot hold", "at least 7"]),
        "no root": (train, gopro, ["data.root"]),
        "missing folder": (train, [*gopro, "data.root={tmp}/nowhere"], ["{tmp}/nowhere", "missing"]),
        "empty folder": (train, ["data=folder", "data.root={tmp}", "data.val_root={tmp}"], ["{tmp}", "no images"]),
        "no kernels to supervise": (train, [*TINY, "ablation=no_kernel", "loss.kernel_weight=1"], ["kernel_weight=0"]),
        "unknown metric": (train, [*TINY, *WITHOUT_PICTURES, "test=false", "optimized_metric=val/lpips"],
                           ["val/lpips", "val/psnr"]),
        "other scale's weights": (train, [*TINY, "scale=2", "kernel_size=13", "weights={run}/model.safetensors"],
                                  ["{run}/model.safetensors", "scale=4"]),
        "other width's checkpoint": (train, [*TINY, "arcsr.width=8", "ckpt_path={run}/checkpoints/last.ckpt"],
                                     ["{run}/checkpoints/last.ckpt", "architecture"]),
        "missing checkpoint": (train, [*TINY, "ckpt_path={tmp}/no.ckpt"], ["{tmp}/no.ckpt", "no such file"]),
        "not a checkpoint": (evaluate, ["weights={tmp}/text.ckpt"], ["{tmp}/text.ckpt", "not a checkpoint"]),
        "no run yet": (evaluate, ["paths.log_dir={tmp}/logs"], ["weights=latest", "{tmp}/logs"]),
        "evaluation at another scale": (evaluate, ["scale=2"], ["scale=4", "scale=2"]),
        "no input": (predict, ["output={tmp}/x.png"], ["input"]),
        "missing picture": (predict, ["input={tmp}/no.png", "output={tmp}/x.png"], ["{tmp}/no.png", "missing"]),
        "truncated picture": (predict, ["input={tmp}/cut.png", "output={tmp}/x.png"], ["{tmp}/cut.png", "truncated"]),
        "would overwrite": (predict, ["input={tmp}/whole.png", "output={tmp}/text.ckpt"], ["exists", "overwrite=true"]),
        "would replace its input": (predict, ["input={tmp}/whole.png", "output={tmp}"], ["would replace the input"]),
        "no format": (predict, ["input={tmp}/whole.png", "output={tmp}/x.xyz"], ["x.xyz", ".png"]),
        "no such device": (predict, ["input={tmp}/whole.png", "output={tmp}/x.png", "device=tpu"], ["device=tpu"]),
    }  # fmt: skip


@pytest.mark.parametrize("name", bad_input())
def test_bad_input_gets_one_clear_line(name, here, run, tmp_path, capsys):
    module, arguments, words = bad_input()[name]
    (tmp_path / "text.ckpt").write_text("hello")
    picture = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))[1].tobytes()
    (tmp_path / "whole.png").write_bytes(picture)
    (tmp_path / "cut.png").write_bytes(picture[: len(picture) // 2])
    if name == "empty folder":
        tmp_path = tmp_path / "empty"
        tmp_path.mkdir()
    places = {"tmp": tmp_path, "run": the_run(here)}
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(SystemExit) as exit_:
        run(module, *(argument.format(**places) for argument in arguments))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert exit_.value.code == 1
    assert len(errors) == 1
    for word in words:
        assert word.format(**places) in errors[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_process_that_fails_prints_its_line_and_no_traceback(here):
    command = [sys.executable, "-m", "arcsr_lightning.evaluate", "weights=nowhere.ckpt"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: nowhere.ckpt: no such file; give a checkpoint (.ckpt), an export (.safetensors) or a name (arcsr_small)"
    ]


def test_resuming_goes_on_in_the_folder_of_the_newest_run(here, run):
    runs = here / "logs" / "quickstart" / "runs"
    newest = max(runs.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    before = set(runs.iterdir())
    more = ("trainer.max_steps=4", "ckpt_path=last", "allow_config_change=true", "test=false")
    run(train, *TINY, *WITHOUT_PICTURES, *more)
    assert set(runs.iterdir()) == before
    assert torch.load(newest, weights_only=True)["global_step"] == 4


@pytest.mark.slow  # tests/results/test_commands.py has a sweep that does, too
def test_a_sweep_goes_on_after_a_failed_job(here, run, capsys):
    with pytest.raises(SystemExit):
        run(train, "--multirun", *TINY, *WITHOUT_PICTURES, "test=false", "arcsr.estimator_width=6,4", "task_name=sweep")
    (sweep,) = (here / "logs" / "sweep" / "multiruns").iterdir()
    (failed,), (finished,) = sweep.glob("*/FAILED"), sweep.glob("*/finished.json")
    assert "a DMconv splits its channels into quarters: 6" in failed.read_text()
    assert "a DMconv splits its channels into quarters: 6" in capsys.readouterr().err.strip().splitlines()[-1]
    assert "arcsr.estimator_width-4" in finished.parent.name
    run(evaluate, f"weights={finished.parent}/model.safetensors", "data.test.draws=1", "trainer=cpu")


def test_a_traceback_is_shown_when_asked_for(here, run, monkeypatch, capsys):
    monkeypatch.delenv("ARCSR_TRACEBACK", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit, match="1"):
        run(evaluate, "weights=nowhere.ckpt")
    assert "Traceback" in capsys.readouterr().err
