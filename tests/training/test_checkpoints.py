"""Trainings that are cut off, by a crash, their time limit or a full disk, end as if they had not been."""

import csv
import itertools
import os
import random
import resource
import shutil
import signal
import time

import pytest
from pytorch_lightning.callbacks import Timer

from arcsr_lightning import train
from arcsr_lightning.runs.weights import read_saved
from tests.conftest import slow
from tests.training.interruptions import SETTINGS, assert_same_end, checkpoints, end_of, last_step, same, wait_for

# ---------------------------------------------------------------- SIGKILL


def moments(number):
    """Random parts of the time after a training's first checkpoint, one from each of ``number`` equal spans."""
    rng = random.Random(number)
    return [pytest.param((span + rng.random()) / number, id=f"{span + 1} of {number}") for span in range(number)]


def first_logged_step(folder):
    """Of the latest of the processes that trained in a folder."""
    latest = max(folder.glob("csv/version_*"), key=lambda path: int(path.name.removeprefix("version_")))
    with (latest / "metrics.csv").open() as file:
        return next(int(row["step"]) for row in csv.DictReader(file) if row["train/loss"])


@pytest.mark.parametrize(
    "part", [*moments(1), *(pytest.param(*each.values, id=each.id, marks=pytest.mark.slow) for each in moments(20))]
)
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(start, whole, tmp_path, part):
    uninterrupted, duration = whole
    moment, folder, status = part * duration, tmp_path / "run", 0
    while status != -signal.SIGKILL:  # not over by then
        shutil.rmtree(folder, ignore_errors=True)
        process = start(folder)
        wait_for(folder / "checkpoints/last.ckpt", process)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        status, moment = end_of(process), moment / 2
        assert status in (0, -signal.SIGKILL), folder.with_suffix(".log").read_text()
    checkpoints(folder)  # none is half-written
    reached = last_step(folder)
    assert end_of(start(folder)) == 0, folder.with_suffix(".log").read_text()
    assert reached == 6 or first_logged_step(folder) == reached  # counted from 0
    assert_same_end(folder, uninterrupted)


# ---------------------------------------------------------------- the time limit


@pytest.mark.parametrize(("batches", "step"), [slow(1, 3), (2, 2)])
def test_the_steps_since_the_last_validation_outlive_the_time_limit(
    configure, tmp_path, at_batch, monkeypatch, batches, step
):
    settings = (*SETTINGS, "callbacks.last.every_n_train_steps=6", "trainer.val_check_interval=12")
    settings += (f"trainer.accumulate_grad_batches={batches}",)
    train.train(configure(tmp_path / "whole", *settings))
    seconds = []
    at_batch(dict.fromkeys(range(12), lambda: seconds.append(1)))
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: len(seconds))
    train.train(configure(tmp_path / "cut", *settings, "trainer.max_time=00:00:00:03"))
    assert last_step(tmp_path / "cut") == step
    (tmp_path / "cut/finished.json").unlink()
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    own, expected = (checkpoints(tmp_path / name)["checkpoints/last.ckpt"] for name in ("cut", "whole"))
    assert all(same(own[part], expected[part]) for part in ("state_dict", "current_model_state", "optimizer_states"))


# ---------------------------------------------------------------- another place


def test_the_best_checkpoint_moves_with_its_run(configure, tmp_path, monkeypatch):
    psnr = itertools.count(30.0, -1.0)
    monkeypatch.setattr("arcsr_lightning.training.module.mean_scores", lambda rows: {"psnr_rgb": next(psnr)})
    settings = ("trainer.val_check_interval=1", "test=false", "allow_config_change=true")
    train.train(configure(tmp_path / "here", *settings, "trainer.max_steps=1"))
    (tmp_path / "here").rename(tmp_path / "there")
    metrics = train.train(configure(tmp_path / "there", *settings, "trainer.max_steps=2", "ckpt_path=last"))
    (best,) = (tmp_path / "there/checkpoints").glob("best_*.ckpt")
    assert best.name == "best_0000001.ckpt" and metrics["val/psnr"] == 30
    assert same(read_saved(tmp_path / "there/model.safetensors").weights, read_saved(best).weights)


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def largest_file():
    """``largest_file(size)``: files cannot grow beyond so many bytes, or can again, until the test is over."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(configure, whole, tmp_path, at_batch, largest_file):
    at_batch({2: lambda: largest_file(200_000)})
    with pytest.raises(
        ValueError, match=r"last.ckpt: File too large: cannot save .* 0\.\d MiB; those before it are kept"
    ):
        train.train(configure(tmp_path, *SETTINGS))
    largest_file(resource.RLIM_INFINITY)
    assert {name: state["global_step"] for name, state in checkpoints(tmp_path).items()} == {
        "checkpoints/best_0000002.ckpt": 2,
        "checkpoints/last.ckpt": 2,
    }
    train.train(configure(tmp_path, *SETTINGS, "ckpt_path=last"))
    assert_same_end(tmp_path, whole[0])


def test_a_disk_that_is_full_for_a_while_need_not_stop_the_run(configure, whole, tmp_path, at_batch, largest_file):
    seen = []

    def freed():
        seen.extend(sorted(path.name for path in (tmp_path / "checkpoints").iterdir()))
        largest_file(resource.RLIM_INFINITY)

    at_batch({2: lambda: largest_file(200_000), 3: freed})  # before the next validation, which may be the best
    train.train(configure(tmp_path, *SETTINGS, "trainer.plugins.checkpoint_io.on_disk_full=continue"))
    assert seen == ["best_0000002.ckpt", "last.ckpt"]
    assert_same_end(tmp_path, whole[0])


def test_on_disk_full_is_stop_or_continue(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(train, *tiny, "trainer.plugins.checkpoint_io.on_disk_full=wait")
    assert "checkpoint_io.on_disk_full=wait: must be stop or continue" in capsys.readouterr().err
