"""Trainings on two processes, by the real command: the same curves, scores and weights as on one; sweeps of them."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from arcsr_lightning.train import train
from tests.training.interruptions import PATIENCE, last_checkpoint, last_step, same, wait_for

GO_ON = ("ckpt_path=last", "allow_config_change=true", "test=false")
STEPS = ("trainer.max_steps=4", "scheduler=multistep", "scheduler.milestones=[1,3]")


@pytest.fixture
def type_in(tiny, tmp_path):
    """``type_in(*overrides)``: arcsr-train as typed in an empty folder, with two processes a run."""

    def command(*overrides):
        return subprocess.run(
            [sys.executable, "-m", "arcsr_lightning.train", *tiny, *STEPS, "trainer=ddp_cpu", *overrides],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("ARCSR_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return command


@pytest.fixture(scope="module")
def alone(configure, tmp_path_factory):
    """The same training on one process."""
    folder = tmp_path_factory.mktemp("alone")
    train(configure(folder, *STEPS))
    return folder


def curves(folder, first_step=0):
    """All that was logged, but for throughput and the number of a pass, which is another in a run that goes on."""
    rows = []
    for path in folder.glob("csv/*/metrics.csv"):
        with path.open() as file:
            rows += [
                {
                    name: float(value)
                    for name, value in row.items()
                    if value and name not in ("train/images_per_s", "epoch")
                }
                for row in csv.DictReader(file)
            ]
    return sorted((row for row in rows if row["step"] >= first_step), key=lambda row: (row["step"], sorted(row)))


def assert_same(two, one, first_step=0):
    expected = curves(one, first_step)
    assert {"train/loss", "val/psnr", "test/psnr"} <= {name for row in expected for name in row}
    for row, known in zip(curves(two, first_step), expected, strict=True):
        assert row == pytest.approx(known, rel=1e-5, abs=1e-5)
    saved, known = map(last_checkpoint, (two, one))
    for part in ("state_dict", "current_model_state"):
        torch.testing.assert_close(saved[part], known[part], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_sweep_of_runs_on_two_processes_goes_on_after_a_failed_one_and_trains_as_on_one(type_in, alone, tmp_path):
    done = type_in("hydra.mode=MULTIRUN", "task_name=sweep", "data.batch_size=3,2")
    assert done.returncode == 1
    (sweep,) = tmp_path.glob("logs/*/*/*")
    failed, finished = sorted(
        (path.parent for path in sweep.glob("*/.hydra")), key=lambda job: not (job / "FAILED").exists()
    )
    line = (
        "data.batch_size counts the samples of all processes: with 2 of them it must be a positive multiple of 2, got 3"
    )
    assert (failed / "FAILED").read_text() == line + "\n"
    assert done.stderr.splitlines().count(f"error: {line}") == 1
    assert "Traceback" not in done.stderr
    assert [path.parent for path in sweep.rglob("metrics.json")] == [finished]
    assert_same(finished, alone)


def test_two_processes_go_on_with_the_run_of_one_in_its_folder(type_in, configure, alone, tmp_path):
    folder = tmp_path / "logs/quickstart/runs/earlier"
    train(configure(folder, *STEPS, "trainer.max_steps=2", "test=false"))
    done = type_in("ckpt_path=last", "allow_config_change=true")
    assert done.returncode == 0, done.stderr
    assert list(folder.parent.iterdir()) == [folder]
    assert_same(folder, alone, first_step=2)


@pytest.mark.slow
def test_two_processes_that_go_on_after_a_validation_end_in_the_same_weights(type_in, tmp_path):
    """Bit for bit, with statistics that a step uses before it is over: those of the first process, in every step."""
    cues = ("arcsr.estimator_levels=3", "model.estimator.cues=[1,3]")
    states = []
    for name, stops in (("whole", (4,)), ("interrupted", (2, 4))):
        for stop in stops:
            done = type_in(*cues, f"task_name={name}", f"trainer.max_steps={stop}", *GO_ON)
            assert done.returncode == 0, done.stderr
        (folder,) = tmp_path.glob(f"logs/{name}/runs/*")
        states.append(last_checkpoint(folder)["current_model_state"])
    assert same(*states)


@pytest.mark.slow
def test_a_signal_to_any_process_of_a_run_ends_them_all_after_the_same_step(tiny, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    endless = ("trainer.max_steps=1000000", "trainer.val_check_interval=500000", "callbacks.last.every_n_train_steps=5")
    command = [sys.executable, "-m", "arcsr_lightning.train", *tiny, "trainer=ddp_cpu", *endless]
    with log.open("w") as output:
        run = subprocess.Popen([*command, f"hydra.run.dir={folder}"], stdout=output, stderr=output)
    try:
        wait_for(folder / "checkpoints/last.ckpt")
        (other,) = (
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if f"PPid:\t{run.pid}\n" in (path.parent / "status").read_text() and b"LOCAL_RANK=1" in path.read_bytes()
        )
        os.kill(other, signal.SIGTERM)
        assert run.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        run.kill()
    assert f"stopped by SIGTERM after step {last_step(folder)}; go on with ckpt_path=last" in log.read_text()
