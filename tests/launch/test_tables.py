"""The tables of a sweep are those of the jobs so far, whatever became of the last of them."""

import csv
import subprocess
import sys

import pytest

from arcsr_lightning import evaluate, train
from arcsr_lightning.errors import InputError
from tests.conftest import SMALL_BLUR

SHORT = ("trainer.max_steps=2", "task_name=study")


@pytest.fixture
def sweep(run, tiny, tmp_path, monkeypatch, capsys):
    """``sweep(*typed)``: (exit status, standard error, folder) of a sweep of small trainings."""
    monkeypatch.chdir(tmp_path)

    def command(*typed):
        status = 0
        try:
            run(train, "-m", *tiny, *SHORT, *typed)
        except SystemExit as ended:
            status = ended.code
        (folder,) = (tmp_path / "logs/study/multiruns").iterdir()
        return status, capsys.readouterr().err, folder

    return command


def test_after_a_failed_job_the_tables_hold_those_before_it(sweep):
    status, said, folder = sweep("weights=null,nowhere.ckpt")
    assert status == 1
    assert said.count("table of all jobs so far: ") == 2
    assert "nowhere" in (folder / "results.md").read_text()
    assert (folder / "results.csv").read_text().count("arcsr") >= 1


def test_a_study_without_tables_says_why_and_fails_nothing(sweep, monkeypatch):
    def refuse(folder):
        raise InputError("these cannot be compared")

    monkeypatch.setattr("arcsr_lightning.launch.tables.compare", refuse)
    status, said, folder = sweep("seed=0,1", "train=false")
    assert status == 0
    assert said.count("no table of all jobs: these cannot be compared\n") == 2
    assert len(list(folder.glob("*/finished.json"))) == 2
    assert all("no table of all jobs" in log.read_text() for log in folder.glob("*/study.log"))


def test_a_run_alone_has_none(run, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(train, *tiny, *SHORT, "train=false")
    assert not list(tmp_path.rglob("results*"))


def test_a_sweep_of_evaluations_ends_in_a_table(configure, trained, photos, run, tmp_path, monkeypatch):
    train.train(configure(tmp_path / "other", "seed=1", "test=false"))
    monkeypatch.chdir(tmp_path)
    data = ("data=folder", f"data.test_root={photos}", "data.num_workers=0", *SMALL_BLUR)
    weights = ",".join(f"{folder}/model.safetensors" for folder in (trained, tmp_path / "other"))
    run(evaluate, "-m", *data, "callbacks.panel=null", f"weights={weights}")
    (table,) = tmp_path.glob("logs/eval/multiruns/*/results.csv")
    with table.open() as file:
        rows = [(row["seed"], row["noise_level"], row["state"]) for row in csv.DictReader(file)]
    assert rows == [(seed, level, "finished") for seed in "01" for level in ("0.0", "10.0")]


def test_a_training_imports_no_tables():
    code = "import sys, arcsr_lightning.train; print('arcsr_lightning.results' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
